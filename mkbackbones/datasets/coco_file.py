"""COCO annotation files, as they are written."""

from __future__ import annotations

import json
from typing import Any

from .polygons import mask_to_polygons
from .records import Instance

__all__ = ['CocoFile', 'coco_annotation', 'is_no_mask', 'no_mask']


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


def coco_annotation(instance: Instance, *, with_mask: bool = False) -> dict:
    """An instance as COCO has it, without ids.

    Args:
        instance (Instance): The object.
        with_mask (bool): Say that a mask is missing where it is: see :func:`no_mask`.
    """
    annotation: dict[str, Any] = dict(
        category_id=instance.label + 1, bbox=list(instance.bbox), iscrowd=int(instance.crowd)
    )
    annotation['area'] = instance.area
    if instance.mask is not None:
        x, y, _, _ = instance.bbox
        annotation['segmentation'] = mask_to_polygons(instance.mask, x, y)
    elif with_mask:
        annotation['segmentation'] = no_mask(annotation['bbox'])
    return annotation


def no_mask(bbox: list[float]) -> list[list[float]]:
    """The segmentation of a box without a mask in a set that has masks.

    mmdet and pycocotools ask every annotation of such a file for its segmentation, and fail where
    there is none. An odd number of values is a polygon without a mask for both: mmdet's
    ``LoadAnnotations(with_mask=True)`` ignores the object, pycocotools draws no pixel.

    Args:
        bbox (list[float]): x, y, width and height in pixels.
    """
    x, y = bbox[:2]
    return [[x, y, x, y, x]]


def is_no_mask(segmentation: object) -> bool:
    """Whether a segmentation is what :func:`no_mask` gives."""
    return (
        isinstance(segmentation, list)
        and len(segmentation) == 1
        and isinstance(segmentation[0], list)
        and len(segmentation[0]) == 5
    )
