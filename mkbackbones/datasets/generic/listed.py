"""Sources whose annotation files list many images each: what COCO and the like share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import ClassVar

from ..errors import DatasetError
from ..images import LoadedImage
from ..naming import first_few, folder_split
from ..sources import Source, normal_form
from .base import FileSet, image_names, without_masks

__all__ = ['Listed', 'ListedImages', 'split_of']


@dataclass
class Listed:
    """An image as a file lists it.

    Args:
        file_name (str): As stated, with or without folders.
        size (tuple[int, int] | None): Stated width and height.
        listed_in (str): Name of the file in the source.
        split (str | None): The official split, as the file tells it; None goes by the folders.
        annotations (list): Whatever the reader makes of them.
        other_names (tuple[str, ...]): Names that the file may have instead.
    """

    file_name: str
    size: tuple[int, int] | None
    listed_in: str
    split: str | None = None
    annotations: list = field(default_factory=list)
    other_names: tuple[str, ...] = ()


class ListedImages(FileSet):
    """A file set of the images that annotation files list.

    Args:
        source (Source): The set.
        entries (Sequence[Listed]): The images, in order.
        bit_depth (int): Used bits of images that store 16.
        notes (Sequence[str]): Remarks for the summary.
        skip_bad (bool): Leave missing images to ``read``.

    Raises:
        DatasetError: A missing image, or one that is listed twice.
    """

    _one_file: ClassVar[str] = 'remove one of the files'

    def __init__(
        self,
        source: Source,
        entries: Sequence[Listed],
        bit_depth: int,
        notes: Sequence[str],
        skip_bad: bool,
    ) -> None:
        files, _ = without_masks(image_names(source))
        finder = _Finder(files)
        found = [finder.find(entry) for entry in entries]
        missing = [entry.file_name for entry, name in zip(entries, found) if name is None]
        if missing and not skip_bad:
            raise DatasetError(
                f'{source.path} is incomplete: {len(missing)} of {len(entries)} images are '
                f'missing: {first_few(missing)}'
            )
        self._missing = missing
        self._stated = {entry.split for entry in entries if entry.split is not None}
        kept = [(entry, name) for entry, name in zip(entries, found) if name is not None]
        first: dict[str, str] = {}
        for entry, name in kept:
            if name in first:
                if first[name] == entry.listed_in:
                    raise DatasetError(
                        f'{source.where(name)} is listed twice in {first[name]}: make it one image'
                    )
                raise DatasetError(
                    f'{source.where(name)} is listed twice, in {first[name]} and '
                    f'{entry.listed_in}: {self._one_file}'
                )
            first[name] = entry.listed_in
        unlisted = [name for name in files if name not in first]
        notes = list(notes)
        if unlisted and not missing:
            notes.append(
                f'{len(unlisted)} images left out, since no file lists them: {first_few(unlisted)}'
            )
        splits = [entry.split or folder_split(name) for entry, name in kept]
        super().__init__(source, [name for _, name in kept], bit_depth, splits, notes)
        self._entries = [entry for entry, _ in kept]

    def __len__(self) -> int:
        return len(self._images) + len(self._missing)

    @property
    def splits(self) -> set[str]:
        """The official splits of the images, also of the missing ones."""
        return super().splits | self._stated

    def _listed(self, index: int) -> tuple[Listed, LoadedImage]:
        """Entry and image; the missing ones come last.

        Raises:
            DatasetError: A missing image, or one with a fault.
        """
        if index >= len(self._images):
            name = self._missing[index - len(self._images)]
            raise DatasetError(f'{self._source.where(name)} is missing')
        entry = self._entries[index]
        return entry, self._load(index, entry.size, self._source.where(entry.listed_in))


def split_of(file_name: str) -> str | None:
    """The split in the name of an annotation file, else in that of its folder."""
    stem = PurePosixPath(file_name).stem.replace('instances', 'annotations')
    return folder_split(f'{stem}/x') or folder_split(file_name)


class _Finder:
    """Image files by the end of their path."""

    def __init__(self, names: Sequence[str]) -> None:
        self._by_name = defaultdict(list)
        self._folders: set[str] = set()
        for name in names:
            path = PurePosixPath(normal_form(name))
            self._by_name[path.name].append(name)
            self._folders.update(path.parts[:-1])

    def find(self, entry: Listed) -> str | None:
        """The file of an entry: the whole stated path, else its name alone; nearest to the list.

        Raises:
            DatasetError: Several files fit equally.
        """
        for stated in (entry.file_name, *entry.other_names):
            found = self._find(stated, entry)
            if found is not None:
                return found
        return None

    def _find(self, stated: str, entry: Listed) -> str | None:
        stated = _without_dots(normal_form(stated.replace('\\', '/')))
        candidates = self._by_name.get(PurePosixPath(stated).name, [])
        whole = [name for name in candidates if f'/{normal_form(name)}'.endswith(f'/{stated}')]
        # A path of another machine ends with that below the source.
        whole = whole or [name for name in candidates if stated.endswith(f'/{normal_form(name)}')]
        candidates = whole or [name for name in candidates if self._may_be(stated, name)]
        if len(candidates) > 1:
            split, folder = entry.split, PurePosixPath(entry.listed_in).parent
            for near in (
                [name for name in candidates if PurePosixPath(name).is_relative_to(folder)],
                [name for name in candidates if split and folder_split(name) == split],
            ):
                if len(near) == 1:
                    return near[0]
            raise DatasetError(
                f'{entry.listed_in}: {entry.file_name} may be {first_few(candidates)}: state more '
                'of the path in file_name'
            )
        return candidates[0] if candidates else None

    def _may_be(self, stated: str, name: str) -> bool:
        """Whether nothing speaks against a file of that name in other folders.

        A stated folder that the source has, but not on the way to the file, does: the image that
        was meant is missing.
        """
        splits = {folder_split(stated), folder_split(name)} - {None}
        folders = set(PurePosixPath(normal_form(name)).parts[:-1])
        stated_folders = set(PurePosixPath(stated).parts[:-1])
        return len(splits) < 2 and not (stated_folders & self._folders) - folders


def _without_dots(path: str) -> str:
    parts = [part for part in path.split('/') if part not in ('', '.', '..')]
    return '/'.join(parts)
