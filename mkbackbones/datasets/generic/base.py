"""What the generic sources share: images, names and splits by folder, class names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np

from ..errors import DatasetError, FileFault
from ..formats import reader_hint
from ..images import LoadedImage, is_image, load_image
from ..instances import instances_to_seg_map
from ..naming import (
    first_few,
    folder_split,
    natural_order,
    stem_of,
    unique_stems,
)
from ..records import IGNORE, Instance, Record
from ..sources import Source
from ..text import check_class_name
from ..windows import Window

__all__ = ['FileSet', 'attempt', 'class_names', 'image_names', 'other_formats', 'without_masks']

Parsed = TypeVar('Parsed')

_MASKS = """
masks mask segmentationclass segmentationobject segmentationclassaug segmentationclasspng
segmentationobjectpng segmentationclassvisualization groundtruth ground_truth
"""
_MASK_FOLDERS = frozenset(_MASKS.split())


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

    @property
    def splits(self) -> set[str]:
        """The official splits that the source has images for."""
        return {split for split in self._splits if split is not None}

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
        ignored: Window | None = None,
    ) -> Record:
        """The record; the class map follows from the instances unless it is given.

        Raises:
            DatasetError: All objects were dropped: nobody said that the image has no defect.
        """
        dropped = [fix for fix in fixes if fix.partition(': ')[0].endswith('dropped')]
        if dropped and not instances:
            raise DatasetError(
                f'{self._source.where(self._images[index])} would count as free of defects, since '
                f'all of its objects were dropped ({first_few(dropped, 2)}): mend them, or remove '
                'the image'
            )
        if seg_map is None and self.has_masks:
            seg_map = instances_to_seg_map(instances, (image.height, image.width))
            if ignored is not None:
                rows, columns = ignored.place
                canvas = seg_map[rows, columns]
                canvas[ignored.mask & (canvas == 0)] = IGNORE
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


def other_formats(source: Source, own: str) -> str:
    """What else a source without files of the wanted kind may be, for the end of a message.

    Args:
        source (Source): The set.
        own (str): What the reader calls its own format.
    """
    for name in source.names:
        if name.lower().endswith(('.json', '.xml', '.txt')):
            found = reader_hint(source.read(name), own)
            if found:
                return f'{found} ({name})'
    return ''


def without_masks(images: Sequence[str]) -> tuple[list[str], list[str]]:
    """Images without the masks that lie beside them (SegmentationClass, masks), and notes.

    Args:
        images (Sequence[str]): Names of image files.
    """
    masks = [name for name in images if _MASK_FOLDERS & {part.lower() for part in name.split('/')}]
    pictures = set(images).difference(masks)
    stems = {stem_of(name) for name in pictures}
    paired = {name for name in masks if stem_of(name) in stems}
    if not paired:
        return list(images), []
    folders = sorted({name.rpartition('/')[0] for name in paired})
    note = f'{len(paired)} masks are no images and were passed over: {first_few(folders)}'
    return [name for name in images if name not in paired], [note]


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
    names = given or natural_order(set(found))
    names = tuple(check_class_name(name) for name in names)
    if any(not name for name in names):
        raise DatasetError('a class has no name')
    if len(set(names)) < len(names):
        raise DatasetError(f'a class is given twice: {", ".join(names)}')
    if not names:
        raise DatasetError('no object is annotated: name the classes with --classes')
    return names
