"""The one writer: records to images, COCO files and class maps on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2

from mkbackbones.datasets.atomic import atomic_output
from mkbackbones.datasets.polygons import mask_to_polygons
from mkbackbones.datasets.records import SPLITS, Converter, DatasetError, Instance, Record
from mkbackbones.datasets.summary import Summary

__all__ = ['write_dataset']

_LAYOUT = ('annotations', 'images', 'masks')


def write_dataset(
    converter: Converter,
    out: str | Path,
    *,
    overwrite: bool = False,
    on_record: Callable[[], None] | None = None,
) -> Summary:
    """Write a data set; on any error nothing is left behind.

    Layout: images in the converter's ``image_dir``, ``annotations/{train,val,test}.json`` in COCO
    format and, where records have a class map, ``masks/{split}/<stem>.png``.

    Args:
        converter (Converter): Source of the records.
        out (str | Path): Folder to create.
        overwrite (bool): Replace a non-empty folder.
        on_record (Callable[[], None] | None): Called after each image, for a progress bar.

    Returns:
        Summary: Counts per split and class.

    Raises:
        DatasetError: The output exists, or the source has a fault.
    """
    with atomic_output(Path(out), overwrite=overwrite, expected=_LAYOUT) as root:
        summary = Summary(converter.classes, notes=converter.notes)
        files = {split: _CocoFile(converter.classes) for split in SPLITS}
        for record in converter:
            _check(record, converter.classes)
            files[record.split].add(record)
            summary.add(record)
            folder = root / converter.image_dir.format(split=record.split)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / record.file_name).write_bytes(record.image)
            if record.seg_map is not None:
                _write_seg_map(root / 'masks' / record.split, record)
            if on_record is not None:
                on_record()
        (root / 'annotations').mkdir()
        for split, file in files.items():
            (root / 'annotations' / f'{split}.json').write_text(file.to_json())
    return summary


class _CocoFile:
    """One COCO annotation file; ids count from 1 in the order of the records."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.categories = [dict(id=index, name=name) for index, name in enumerate(classes, start=1)]
        self.images: list[dict] = []
        self.annotations: list[dict] = []

    def add(self, record: Record) -> None:
        image_id = len(self.images) + 1
        size = dict(width=record.width, height=record.height)
        self.images.append(dict(id=image_id, file_name=record.file_name, **size))
        for instance in record.instances:
            annotation = _annotation(instance)
            annotation.update(id=len(self.annotations) + 1, image_id=image_id)
            self.annotations.append(annotation)

    def to_json(self) -> str:
        content = dict(images=self.images, annotations=self.annotations, categories=self.categories)
        return json.dumps(content, separators=(',', ':'))


def _annotation(instance: Instance) -> dict:
    annotation = dict(category_id=instance.label + 1, bbox=list(instance.bbox), iscrowd=0)
    if instance.mask is None:
        annotation['area'] = instance.bbox[2] * instance.bbox[3]
    else:
        annotation['area'] = int(instance.mask.sum())
        annotation['segmentation'] = mask_to_polygons(instance.mask)
    return annotation


def _check(record: Record, classes: tuple[str, ...]) -> None:
    """What every data set must fulfil, whatever its source."""
    name = f'{record.split}/{record.file_name}'
    if record.split not in SPLITS:
        raise DatasetError(f'{name}: split {record.split!r} is none of {", ".join(SPLITS)}')
    for instance in record.instances:
        x, y, width, height = instance.bbox
        if not 0 <= instance.label < len(classes):
            raise DatasetError(f'{name}: label {instance.label} of {len(classes)} classes')
        if width < 1 or height < 1:
            raise DatasetError(f'{name}: empty box {instance.bbox}')
        if x < 0 or y < 0 or x + width > record.width or y + height > record.height:
            raise DatasetError(
                f'{name}: box {instance.bbox} (x, y, width, height) leaves the image of '
                f'{record.width}x{record.height} pixels'
            )
    shape = None if record.seg_map is None else record.seg_map.shape
    if shape not in (None, (record.height, record.width)):
        raise DatasetError(
            f'{name}: class map of {shape[1]}x{shape[0]} pixels for an image of '
            f'{record.width}x{record.height}'
        )


def _write_seg_map(folder: Path, record: Record) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    png = cv2.imencode('.png', record.seg_map)[1]
    (folder / record.file_name).with_suffix('.png').write_bytes(png.tobytes())
