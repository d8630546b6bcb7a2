"""Sources with one annotation file an image: what VOC, labelme and YOLO share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Generic, Protocol, TypeVar

from ..errors import DatasetError
from ..naming import first_few
from ..records import Instance, Record
from ..sources import Source
from ..windows import Window
from .base import (
    FileSet,
    attempt,
    class_names,
    image_names,
    other_formats,
    without_masks,
)
from .pairing import Unannotated, pair_files

__all__ = ['AnnotatedFiles', 'Annotation', 'FilePerImage']

Content = TypeVar('Content')


class Annotation(Protocol):
    """The content of one file."""

    size: tuple[int, int] | None

    @property
    def labels(self) -> list[str]: ...

    def instances(
        self, classes: tuple[str, ...], width: int, height: int
    ) -> tuple[list[Instance], list[str]]: ...

    def ignored(self, width: int, height: int) -> Window | None: ...


File = TypeVar('File', bound=Annotation)


class FilePerImage(FileSet, Generic[Content]):
    """A file set whose images have an annotation file each, or none."""

    def _parse_files(self, names: Sequence[str | None], skip_bad: bool) -> list[Content]:
        """Parse the file of each image, and return the contents of those without a fault."""
        self._files = [
            self._empty() if name is None else attempt(partial(self._parse, name), skip_bad)
            for name in names
        ]
        return [file for file in self._files if not isinstance(file, DatasetError)]

    def _tell_faults(self) -> None:
        """Raise the faults that were kept, if there are any."""
        faults = [str(file) for file in self._files if isinstance(file, DatasetError)]
        if faults:
            raise DatasetError(
                f'{self._source.path} has no file without a fault that names a class; '
                f'{len(faults)} of {len(self._files)} have one: {first_few(faults, 3)}'
            )

    def _file(self, index: int) -> Content:
        """The content of an image's file.

        Raises:
            DatasetError: A file with a fault.
        """
        file = self._files[index]
        if isinstance(file, DatasetError):
            raise file
        return file

    @abstractmethod
    def _empty(self) -> Content:
        """The content of an image without a file."""

    @abstractmethod
    def _parse(self, name: str) -> Content:
        """Read a file of the source."""


class AnnotatedFiles(FilePerImage[File], Generic[File]):
    """Records of images with annotation files, matched by stem.

    Args:
        src (str | Path): Folder or zip.
        classes (Sequence[str] | None): Names in their order; None takes those found, sorted.
        unannotated (Unannotated): What an image without a file is; see
            :func:`~mkbackbones.datasets.generic.pairing.pair_files`.
        bit_depth (int): Used bits of images that store 16.
        skip_bad (bool): Leave faults to :meth:`read`.

    Raises:
        DatasetError: No such source, no annotation file, or files without a partner.
    """

    what: ClassVar[str]
    suffix: ClassVar[str]

    def __init__(
        self,
        src: str | Path,
        classes: Sequence[str] | None = None,
        unannotated: Unannotated = 'error',
        bit_depth: int = 16,
        skip_bad: bool = False,
    ) -> None:
        source = Source(src, self.what)
        names = [name for name in source.names if name.lower().endswith(self.suffix)]
        if not names:
            hint = other_formats(source, self.what)
            raise DatasetError(f'{source.path} holds no {self.what} file (*{self.suffix}){hint}')
        files, notes = self._find_images(source, names)
        pairs, remarks = pair_files(
            source,
            files,
            names,
            unannotated=unannotated,
            skip_bad=skip_bad,
            own=self.what,
        )
        notes += remarks
        images = [image for image, _ in pairs]
        super().__init__(source, images, bit_depth, self._official(source, images), notes)
        self._names = [name for _, name in pairs]
        self._good = self._parse_files(self._names, skip_bad)
        for index, (image, name) in enumerate(pairs):
            if name is not None and not isinstance(self._files[index], DatasetError):
                check = partial(self._checked, image, name, self._file(index))
                self._files[index] = attempt(check, skip_bad)
        self._good = [file for file in self._files if not isinstance(file, DatasetError)]
        if not classes and not any(file.labels for file in self._good):
            self._tell_faults()
        self.classes = class_names(classes, (name for file in self._good for name in file.labels))

    def read(self, index: int) -> Record:
        """Image ``index`` in the natural order of the names.

        Raises:
            DatasetError: A file with a fault.
        """
        file = self._file(index)
        image = self._load(index, file.size, self._source.where(self._names[index] or ''))
        instances, fixes = file.instances(self.classes, image.width, image.height)
        ignored = file.ignored(image.width, image.height)
        return self._record(index, image, instances, fixes, ignored=ignored)

    def _checked(self, image: str, name: str, file: File) -> File:
        self._check(image, name, file)
        return file

    def _check(self, image: str, name: str, file: File) -> None:
        """Raise DatasetError where a file belongs to another image than that of its stem."""

    def _find_images(self, source: Source, names: list[str]) -> tuple[list[str], list[str]]:
        """The images of a source with these annotations, and notes."""
        return without_masks(image_names(source))

    def _official(self, source: Source, images: list[str]) -> list[str | None] | None:
        """The official split of each image; None goes by the folders."""
        return None
