"""COCO annotation files, as they are written."""

from __future__ import annotations

import json

from mkbackbones.datasets.polygons import mask_to_polygons
from mkbackbones.datasets.records import Instance

__all__ = ['CocoFile', 'coco_annotation']


class CocoFile:
    """One COCO annotation file; ids count from 1 in the order in which images are added.

    Args:
        classes (tuple[str, ...]): The categories; class i has the id i + 1.
    """

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.categories = [dict(id=index, name=name) for index, name in enumerate(classes, start=1)]
        self.images: list[dict] = []
        self.annotations: list[dict] = []

    def add(self, file_name: str, width: int, height: int, annotations: list[dict]) -> None:
        """Add an image with the dicts that :func:`coco_annotation` made."""
        image_id = len(self.images) + 1
        self.images.append(dict(id=image_id, file_name=file_name, width=width, height=height))
        for annotation in annotations:
            ids = dict(id=len(self.annotations) + 1, image_id=image_id)
            self.annotations.append(annotation | ids)

    def to_json(self) -> str:
        """The content of the file."""
        content = dict(images=self.images, annotations=self.annotations, categories=self.categories)
        return json.dumps(content, separators=(',', ':'))


def coco_annotation(instance: Instance) -> dict:
    """An instance as COCO has it, without ids."""
    annotation = dict(
        category_id=instance.label + 1, bbox=list(instance.bbox), iscrowd=int(instance.crowd)
    )
    if instance.mask is None:
        annotation['area'] = instance.bbox[2] * instance.bbox[3]
    else:
        annotation['area'] = int(instance.mask.sum())
        annotation['segmentation'] = mask_to_polygons(instance.mask)
    return annotation
