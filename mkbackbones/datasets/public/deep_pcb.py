"""DeepPCB: 1,500 binarised crops of printed circuit boards, six kinds of defect, boxes."""

from __future__ import annotations

from pathlib import Path

from ..boxes import clean_box
from ..errors import DatasetError
from ..images import load_image
from ..metainfo import DEEP_PCB
from ..naming import stem_of
from ..records import Instance, Record
from ..sources import Source

__all__ = ['DeepPcb']

_LISTS = {'trainval.txt': 'train', 'test.txt': 'test'}


class DeepPcb:
    """Records of DeepPCB on its official split: ``trainval.txt`` (1,000) is train, ``test.txt``.

    The lists name ``x.jpg`` where the file is ``x_test.jpg``. The fields of a box are separated by
    spaces, though the README of the set says commas; both are read. Crops of one scanned board
    (``group*``) are a group; the official split has crops of most boards on both sides. The
    defect-free templates are not taken.

    Args:
        src (str | Path): Folder or zip that holds ``PCBData``.

    Raises:
        DatasetError: No such source, an unknown layout, or missing files.
    """

    classes: tuple[str, ...] = DEEP_PCB['classes']
    image_dir = 'images/{split}'

    def __init__(self, src: str | Path) -> None:
        self.notes: list[str] = []
        self._source = source = Source(src, 'DeepPCB')
        self._rows: list[tuple[str, str, str]] = []
        # The repository holds another test.txt, an example of its annotation tool.
        for name in source.names:
            if name.split('/')[-1] == 'trainval.txt':
                folder = name.removesuffix('trainval.txt')
                for file in _LISTS:
                    self._rows += _read_list(source, folder, file)
                break
        if not self._rows:
            raise DatasetError(
                f'{source.path} does not look like DeepPCB: expected PCBData with trainval.txt, '
                'test.txt, group*/<id>/*_test.jpg and group*/<id>_not/*.txt'
            )
        source.require((row[1] for row in self._rows), source.names, 'image')
        source.require((row[2] for row in self._rows), source.names, 'annotation')

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, index: int) -> Record:
        """Image ``index``, those for training first.

        Raises:
            DatasetError: A file with a fault.
        """
        split, image_name, boxes_name = self._rows[index]
        where = self._source.where(image_name)
        image = load_image(self._source.read(image_name), where)
        instances, fixes = self._boxes(boxes_name, image.width, image.height)
        return Record(
            split,
            stem_of(image_name).removesuffix('_test') + image.suffix,
            image.content,
            image.width,
            image.height,
            instances,
            group=image_name.split('/')[-3],
            fixes=image.fixes + fixes,
        )

    def _boxes(self, name: str, width: int, height: int) -> tuple[list[Instance], list[str]]:
        instances, fixes = [], []
        lines = self._source.read(name).decode('utf-8', 'replace').splitlines()
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f'{self._source.where(name)}, line {number}'
            try:
                *corners, kind = map(int, line.replace(',', ' ').split())
                x1, y1, x2, y2 = corners
            except ValueError:
                raise DatasetError(
                    f'{where}: {line.strip()!r}, expected five integers: x1 y1 x2 y2 type'
                ) from None
            if not 1 <= kind <= len(self.classes):
                raise DatasetError(f'{where}: type {kind}, allowed are 1 to {len(self.classes)}')
            box, fix = clean_box(x1, y1, x2, y2, width, height)
            if fix is not None:
                fixes.append(f'{fix}: {where}')
            if box is not None:
                instances.append(Instance(kind - 1, box))
        return instances, fixes


def _read_list(source: Source, folder: str, file: str) -> list[tuple[str, str, str]]:
    """Split, image and annotation of each line of a list."""
    rows, name = [], folder + file
    lines = source.read(name).decode('utf-8', 'replace').splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        fields = line.split()
        if len(fields) != 2:
            raise DatasetError(
                f'{source.where(name)}, line {number}: {line.strip()!r}, expected an image and '
                'an annotation'
            )
        image = f'{fields[0].removesuffix(".jpg").removesuffix("_test")}_test.jpg'
        rows.append((_LISTS[file], folder + image, folder + fields[1]))
    return rows
