"""From class maps to instances and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from scipy import ndimage

from .errors import DatasetError
from .records import IGNORE, Instance, Record
from .windows import draw_polygons

__all__ = [
    'INSTANCE_RULES',
    'MIN_AREA',
    'apply_rule',
    'boxes_as_masks',
    'components',
    'instances_to_seg_map',
    'specks_fix',
]

MIN_AREA = 9
"""Smallest component in pixels that counts as an instance."""

InstanceRule = Literal['source', 'components', 'class', 'boxes']
INSTANCE_RULES: tuple[InstanceRule, ...] = get_args(InstanceRule)
_EIGHT = np.ones((3, 3), bool)


def components(seg_map: np.ndarray, min_area: int = MIN_AREA) -> tuple[list[Instance], int]:
    """Instances of a class map: the 8-connected components of every class but 0.

    Args:
        seg_map (np.ndarray): Class index per pixel, (height, width); class c has label c - 1;
            :data:`IGNORE` is no class.
        min_area (int): Smaller components, in pixels, are left out.

    Returns:
        tuple[list[Instance], int]: The instances, class by class, and how many were left out.
    """
    instances, dropped = [], 0
    for value in _values(seg_map):
        parts, count = ndimage.label(seg_map == value, _EIGHT)
        for index, window in enumerate(ndimage.find_objects(parts, count), start=1):
            inside = parts[window] == index
            if inside.sum() < min_area:
                dropped += 1
                continue
            top, left = window[0].start, window[1].start
            instances.append(Instance.from_mask(value - 1, inside, x=left, y=top))
    return instances, dropped


def specks_fix(dropped: int, where: str, min_area: int = MIN_AREA) -> list[str]:
    """The fixes of a record whose components below ``min_area`` were left out."""
    return [f'component below {min_area} pixels left out of the instances: {where}'] * dropped


def instances_to_seg_map(instances: Iterable[Instance], shape: tuple[int, int]) -> np.ndarray:
    """Class map of instances.

    The smaller of two overlapping masks is on top, so that a defect on a larger one stays. Crowds,
    and the boxes of instances without a mask, are :data:`IGNORE` where no other mask lies.

    Args:
        instances (Iterable[Instance]): Any number.
        shape (tuple[int, int]): Height and width in pixels.

    Returns:
        np.ndarray: Label + 1 per pixel, 0 for the background, (height, width) uint8.
    """
    seg_map = np.zeros(shape, np.uint8)
    instances = list(instances)
    certain = [item for item in instances if item.mask is not None and not item.crowd]
    for item in instances:
        if item.mask is None or item.crowd:
            item.paint(seg_map, IGNORE)
    for item in sorted(certain, key=lambda item: -item.area):
        item.paint(seg_map, item.label + 1)
    return seg_map


def boxes_as_masks(record: Record) -> Record:
    """Give every box without a mask the mask that its four corners enclose.

    Args:
        record (Record): As a converter gives it.

    Raises:
        DatasetError: A box that holds the centre of no pixel.
    """
    shape = (record.height, record.width)
    instances = []
    for item in record.instances:
        if item.mask is None:
            x, y, width, height = item.bbox
            corners = [x, y, x + width, y, x + width, y + height, x, y + height]
            window = draw_polygons([corners], shape, record.file_name)
            if not window.any():
                raise DatasetError(f'{record.file_name}: no pixel lies in the box {item.bbox}')
            item = Instance.from_mask(
                item.label, window.mask, x=window.x, y=window.y, crowd=item.crowd
            )
        instances.append(item)
    seg_map = instances_to_seg_map(instances, shape)
    if record.seg_map is not None:
        # What the source says counts; the boxes were to be ignored.
        seg_map = np.where(record.seg_map == IGNORE, seg_map, record.seg_map)
    return replace(record, instances=instances, seg_map=seg_map)


def apply_rule(record: Record, rule: InstanceRule, min_area: int = MIN_AREA) -> Record:
    """Derive a record's instances as the user asks for.

    Args:
        record (Record): As a converter gives it.
        rule (str): ``source`` leaves it as it is; ``components`` makes an instance of every
            8-connected component of a class; ``class`` makes one instance of all pixels of a
            class; ``boxes`` keeps the boxes and drops masks and class map.
        min_area (int): For ``components``: smaller ones, in pixels, are left out.

    Raises:
        DatasetError: ``components`` or ``class`` for a record without a class map.
    """
    if rule == 'source':
        return record
    if rule == 'boxes':
        boxes = [replace(item, mask=None) for item in record.instances]
        return replace(record, instances=boxes, seg_map=None)
    if record.seg_map is None:
        raise DatasetError(f'{record.file_name} has no mask to make instances of')
    if rule == 'components':
        instances, dropped = components(record.seg_map, min_area)
        # The converter's own remark on its components is void now.
        fixes = [fix for fix in record.fixes if not fix.startswith('component below ')]
        fixes += specks_fix(dropped, record.file_name, min_area)
        return replace(record, instances=instances, fixes=fixes)
    values = _values(record.seg_map)
    instances = [Instance.from_mask(value - 1, record.seg_map == value) for value in values]
    return replace(record, instances=instances)


def _values(seg_map: np.ndarray) -> list[int]:
    return np.unique(seg_map[(seg_map > 0) & (seg_map != IGNORE)]).tolist()
