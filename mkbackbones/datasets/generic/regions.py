"""Annotated regions of tools that mix boxes, areas and other marks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..boxes import clean_box
from ..errors import DatasetError
from ..records import Instance, Record
from ..windows import Window
from .listed import Listed, ListedImages

__all__ = ['Region', 'RegionImages', 'region_instances', 'regions_of']


@dataclass
class Region:
    """One annotated region.

    Args:
        label (str): Class name.
        kind (str): What the tool calls it, for messages.
        where (str): File and place, for messages.
        corners (Callable[[int, int], tuple[float, float, float, float]] | None): For a box: left,
            top, right and bottom in an image of that width and height, in pixels.
        window (Callable[[int, int], Window] | None): For an area: its pixels in such an image.
            With neither the region has no area.
    """

    label: str
    kind: str
    where: str
    corners: Callable[[int, int], tuple[float, float, float, float]] | None = None
    window: Callable[[int, int], Window] | None = None

    @property
    def is_object(self) -> bool:
        """Whether it is a box or an area."""
        return self.corners is not None or self.window is not None


def region_instances(
    regions: Sequence[Region], classes: Sequence[str], width: int, height: int
) -> tuple[list[Instance], list[str]]:
    """The objects, and what was mended or left out.

    Args:
        regions (Sequence[Region]): Those of one image.
        classes (Sequence[str]): Allowed names; an instance's label is the index.
        width (int): Image width in pixels.
        height (int): Image height in pixels.

    Raises:
        DatasetError: An unknown class, or a region far outside of the image.
    """
    instances, fixes = [], []
    for region in regions:
        if not region.is_object:
            fixes.append(f'{region.kind} without an area dropped: {region.where}')
            continue
        if region.label not in classes:
            raise DatasetError(
                f'{region.where}: unknown class {region.label!r}, not one of {", ".join(classes)}'
            )
        label = list(classes).index(region.label)
        if region.corners is not None:
            box, fix = clean_box(*region.corners(width, height), width, height, region.where)
            fixes += [] if fix is None else [f'{fix}: {region.where}']
            instances += [] if box is None else [Instance(label, box)]
            continue
        window = None if region.window is None else region.window(width, height)
        if window is not None and window.any():
            instances.append(Instance.from_mask(label, window.mask, x=window.x, y=window.y))
        else:
            fixes.append(f'{region.kind} without a pixel in the image dropped: {region.where}')
    return instances, fixes


def regions_of(entries: Sequence[Listed]) -> list[Region]:
    """The regions of all entries, those with a fault left out."""
    return [item for entry in entries for item in entry.annotations if isinstance(item, Region)]


class RegionImages(ListedImages):
    """Images of a list whose annotations are regions, or the faults of those that are none."""

    def read(self, index: int) -> Record:
        """Image ``index``, in the order of the files.

        Raises:
            DatasetError: A file with a fault.
        """
        entry, image = self._listed(index)
        for item in entry.annotations:
            if isinstance(item, DatasetError):
                raise item
        instances, fixes = region_instances(
            entry.annotations, self.classes, image.width, image.height
        )
        return self._record(index, image, instances, fixes)
