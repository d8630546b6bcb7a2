"""BSData: ball screw drives, pitting outlined with labelme."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ..errors import DatasetError
from ..generic.labelme import parse_labelme
from ..images import load_image
from ..instances import instances_to_seg_map
from ..metainfo import BSDATA
from ..naming import natural_order, stem_of
from ..records import Record
from ..sources import Source

__all__ = ['BsData', 'spindle_place']

_LABEL = re.compile(r'(?:.*/)?label/[^/]+\.json', re.IGNORECASE)
_TIMED = re.compile(r'\d+_\d{12}_(\d+_\d+)_crop_\d+')
_STILL = re.compile(r'(KGT\d+)-[SV]-\d+-(A\d+)_crop_\d+')


class BsData:
    """Records of BSData's 394 labelled images on the official split.

    The 710 images without a label file are left out. The authors assign them to no split, and
    some were taken after pitting was outlined at the same place, so they are no safe negatives.

    Images of one place on a spindle, photographed again and again while it wears, form a group;
    the official split has nearly all of these places on both sides.

    Args:
        src (str | Path): Folder or zip of the repository: ``data/**/*.jpg``, ``label/*.json`` and
            ``image_data.json``. Without the latter there is no official split.

    Raises:
        DatasetError: No such source, an unknown layout, or missing images.
    """

    classes: tuple[str, ...] = BSDATA['classes']
    image_dir = 'images/{split}'

    def __init__(self, src: str | Path) -> None:
        self._source = source = Source(src, 'BSData')
        labels = {stem_of(name): name for name in source.names if _LABEL.fullmatch(name)}
        images = {stem_of(name): name for name in source.names if name.lower().endswith('.jpg')}
        if not labels:
            raise DatasetError(
                f'{source.path} does not look like BSData: expected data/*.jpg with label/*.json'
            )
        source.require(
            (f'{stem}.jpg' for stem in labels), (f'{stem}.jpg' for stem in images), 'image'
        )
        self._splits = _read_splits(source)
        self._rows = [(stem, images[stem], labels[stem]) for stem in natural_order(labels)]
        bare = len(images.keys() - labels.keys())
        self.notes = [f'left out: {bare} images without a label file'] if bare else []

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, index: int) -> Record:
        """Image ``index`` in the natural order of the file names.

        Raises:
            DatasetError: A file with a fault.
        """
        stem, image_name, label_name = self._rows[index]
        where = self._source.where(label_name)
        annotation = parse_labelme(self._source.read(label_name), where)
        for item in annotation.shapes:
            item.label = item.label.lower()  # 'Pitting' in the files
        image = load_image(
            self._source.read(image_name),
            self._source.where(image_name),
            size=annotation.size,
            size_from=where,
        )
        instances, fixes = annotation.instances(self.classes, image.width, image.height)
        return Record(
            self._splits.get(stem),
            stem + image.suffix,
            image.content,
            image.width,
            image.height,
            instances,
            instances_to_seg_map(instances, (image.height, image.width)),
            spindle_place(stem),
            image.fixes + fixes,
        )


def spindle_place(stem: str) -> str | None:
    """What an image shows: the place on the spindle, from its file name.

    ``01_<time>_<position>_<angle>_crop_<n>`` gives position and angle;
    ``KGT<spindle>-<S or V>-<n>-A<row>_crop_<n>``, the same spindle clean and soiled, gives spindle
    and row.
    """
    if match := _TIMED.fullmatch(stem):
        return match.group(1)
    if match := _STILL.fullmatch(stem):
        return '-'.join(match.groups())
    return None


def _read_splits(source: Source) -> dict[str, str]:
    name = next((name for name in source.names if name.endswith('image_data.json')), None)
    if name is None:
        return {}
    try:
        rows = [
            (stem_of(row['filename']), row['train_test_split'])
            for row in json.loads(source.read(name))['images']
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f'{source.where(name)}: not the list of BSData ({error!r})') from None
    return {stem: split for stem, split in rows if split is not None}
