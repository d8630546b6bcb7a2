"""Pascal VOC: one XML an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from mkbackbones.datasets.generic.base import FileSet, attempt, class_names, image_names
from mkbackbones.datasets.generic.pairing import pair_files
from mkbackbones.datasets.naming import folder_split, stem_of
from mkbackbones.datasets.records import DatasetError, Record
from mkbackbones.datasets.sources import Source
from mkbackbones.datasets.voc import VocAnnotation, parse_voc

__all__ = ['Voc']

# trainval comes first, so that train and val, where they exist, have the last word.
_LISTS = dict(trainval='train', train='train', val='val', test='test')


class Voc(FileSet):
    """Records of images with VOC files, matched by stem.

    The official split is that of ``ImageSets/Main/{train,val,trainval,test}.txt`` where there are
    such lists, else that of the folders.

    Args:
        src (str | Path): Folder or zip.
        classes (Sequence[str] | None): Names in their order; None takes those found, sorted.
        unannotated (str): What an image without a file is; see
            :func:`~mkbackbones.datasets.generic.pairing.pair_files`.
        bit_depth (int): Used bits of images that store 16.
        skip_bad (bool): Leave faults to :meth:`read`.

    Raises:
        DatasetError: No such source, no VOC file, or files without a partner.
    """

    def __init__(
        self,
        src: str | Path,
        classes: Sequence[str] | None = None,
        unannotated: str = 'error',
        bit_depth: int = 16,
        skip_bad: bool = False,
    ) -> None:
        source = Source(src, 'VOC')
        names = [name for name in source.names if name.lower().endswith('.xml')]
        if not names:
            raise DatasetError(f'{source.path} holds no VOC file (*.xml)')
        pairs, notes = pair_files(
            source, image_names(source), names, unannotated=unannotated, skip_bad=skip_bad
        )
        images = [image for image, _ in pairs]
        super().__init__(source, images, bit_depth, _splits(source, images), notes)
        self._names = [name for _, name in pairs]
        self._files = [
            VocAnnotation(None, [])
            if name is None
            else attempt(lambda name=name: self._parse(name), skip_bad)
            for name in self._names
        ]
        good = [file for file in self._files if isinstance(file, VocAnnotation)]
        self.classes = class_names(classes, (item.name for file in good for item in file.objects))

    def read(self, index: int) -> Record:
        """Image ``index`` in the natural order of the names.

        Raises:
            DatasetError: A file with a fault.
        """
        file = self._files[index]
        if isinstance(file, DatasetError):
            raise file
        image = self._load(index, file.size, self._source.where(self._names[index] or ''))
        instances, fixes = file.instances(self.classes, image.width, image.height)
        return self._record(index, image, instances, fixes)

    def _parse(self, name: str) -> VocAnnotation:
        return parse_voc(self._source.read(name), self._source.where(name))


def _splits(source: Source, images: list[str]) -> list[str | None]:
    listed: dict[str, str] = {}
    for stem, split in _LISTS.items():
        for name in source.names:
            path = PurePosixPath(name)
            if path.parts[-3:] == ('ImageSets', 'Main', f'{stem}.txt'):
                lines = source.read(name).decode('utf-8', 'replace').splitlines()
                listed.update((line.strip(), split) for line in lines)
    if not listed:
        return [folder_split(name) for name in images]
    return [listed.get(stem_of(name), listed.get(PurePosixPath(name).name)) for name in images]
