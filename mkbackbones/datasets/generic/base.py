"""What the generic sources share: images, names and splits by folder, class names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np

from mkbackbones.datasets.images import LoadedImage, is_image, load_image
from mkbackbones.datasets.instances import instances_to_seg_map
from mkbackbones.datasets.naming import folder_split, natural_order, unique_stems
from mkbackbones.datasets.records import DatasetError, FileFault, Instance, Record
from mkbackbones.datasets.sources import Source

__all__ = ['FileSet', 'attempt', 'class_names', 'image_names', 'polygon_mask']

Parsed = TypeVar('Parsed')


class FileSet:
    """A converter whose images are files of a source.

    Args:
        source (Source): The set.
        images (Sequence[str]): Names of the images.
        bit_depth (int): Used bits of images that store 16.
        splits (Sequence[str | None] | None): Official split of each; None goes by the folders.
        notes (Sequence[str]): Remarks for the summary.
    """

    classes: tuple[str, ...]
    image_dir = 'images/{split}'
    has_masks = False

    def __init__(
        self,
        source: Source,
        images: Sequence[str],
        bit_depth: int = 16,
        splits: Sequence[str | None] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.notes = list(notes)
        self._source, self._images, self._bits = source, list(images), bit_depth
        self._stems = unique_stems(self._images)
        self._splits = splits or [folder_split(name) for name in self._images]

    def __len__(self) -> int:
        return len(self._images)

    def _load(
        self, index: int, size: tuple[int, int] | None = None, size_from: str = ''
    ) -> LoadedImage:
        name = self._images[index]
        content, where = self._source.read(name), self._source.where(name)
        return load_image(content, where, size=size, size_from=size_from, bits=self._bits)

    def _record(
        self,
        index: int,
        image: LoadedImage,
        instances: list[Instance],
        fixes: list[str],
        seg_map: np.ndarray | None = None,
    ) -> Record:
        """The record; the class map follows from the instances unless it is given."""
        if seg_map is None and self.has_masks:
            seg_map = instances_to_seg_map(instances, (image.height, image.width))
        return Record(
            self._splits[index],
            self._stems[index] + image.suffix,
            image.content,
            image.width,
            image.height,
            instances,
            seg_map,
            fixes=image.fixes + fixes,
        )


def image_names(source: Source) -> list[str]:
    """All images of a source in natural order.

    Raises:
        DatasetError: There is none.
    """
    names = natural_order(name for name in source.names if is_image(name))
    if not names:
        raise DatasetError(f'{source.path} holds no image')
    return names


def attempt(parse: Callable[[], Parsed], skip_bad: bool) -> Parsed | DatasetError:
    """Parse; with ``skip_bad`` a fault is kept, to be raised when that image is read."""
    try:
        return parse()
    except DatasetError as error:
        if not skip_bad:
            raise FileFault(str(error)) from error
        return error


def class_names(given: Sequence[str] | None, found: Iterable[str]) -> tuple[str, ...]:
    """The classes in their order: as given, else those found, sorted.

    Raises:
        DatasetError: One is given twice, or there is none.
    """
    names = tuple(given) if given else tuple(natural_order(set(found)))
    if len(set(names)) < len(names):
        raise DatasetError(f'a class is given twice: {", ".join(names)}')
    if not names:
        raise DatasetError('no object is annotated: name the classes with --classes')
    return names


def polygon_mask(polygons: Sequence[Sequence[float]], shape: tuple[int, int]) -> np.ndarray:
    """Union of polygons, drawn as pycocotools does, so that evaluation sees the same pixels.

    Args:
        polygons (Sequence[Sequence[float]]): x0, y0, x1, y1, ... each, in pixels.
        shape (tuple[int, int]): Height and width in pixels; what lies outside is cut off.

    Returns:
        np.ndarray: (height, width) bool.
    """
    from pycocotools import mask as coco_mask

    runs = coco_mask.frPyObjects([list(map(float, polygon)) for polygon in polygons], *shape)
    return coco_mask.decode(coco_mask.merge(runs)).astype(bool)
