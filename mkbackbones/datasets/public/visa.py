"""VisA: 12 objects, 10,821 images, pixel masks of their anomalies."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import DatasetError
from ..metainfo import ANOMALY
from ..naming import natural_order
from ..sources import Source
from .masked import MaskedSample, MaskedSet
from .mvtec_ad import check_categories

__all__ = ['SETUPS', 'Visa']

SETUPS = ('2cls_highshot', '2cls_fewshot', '1cls')

_IMAGE = re.compile(r'((?:.*/)?([^/]+)/Data)/Images/(Normal|Anomaly)/([^/]+)\.(jpe?g)', re.I)


class Visa(MaskedSet):
    """Records of VisA as supervised segmentation of one class, ``anomaly``.

    The masks number the kinds of anomaly object by object, without a table in common; any value
    above 0 is an anomaly here. The authors publish three splits as CSV files: ``2cls_highshot``
    and ``2cls_fewshot`` have anomalies in training, ``1cls`` has none. Without the CSV there is no
    official split. An image that a split does not list (few-shot) is left out.

    Args:
        src (str | Path): Folder or zip of ``<object>/Data/Images/{Normal,Anomaly}/*.JPG`` with
            ``<object>/Data/Masks/Anomaly/*.png`` and ``split_csv/*.csv``.
        categories (Sequence[str]): Only these objects; all by default.
        setup (str): Which of :data:`SETUPS` is the official split.

    Raises:
        DatasetError: No such source, an unknown layout, object or setup, missing masks, or a
            split file that names images that are not there.
    """

    classes: tuple[str, ...] = ANOMALY['classes']

    def __init__(
        self, src: str | Path, categories: Sequence[str] = (), setup: str = SETUPS[0]
    ) -> None:
        if setup not in SETUPS:
            raise DatasetError(f'VisA: unknown setup {setup!r}, not one of {", ".join(SETUPS)}')
        source = Source(src, 'VisA')
        found = ((name, _IMAGE.fullmatch(name)) for name in natural_order(source.names))
        images: dict[str, tuple[str, ...]] = {
            name: match.groups() for name, match in found if match
        }
        if not images:
            raise DatasetError(
                f'{source.path} does not look like VisA: expected '
                '<object>/Data/Images/{Normal,Anomaly}/*.JPG with <object>/Data/Masks/Anomaly/*.png'
            )
        check_categories(categories, {row[1] for row in images.values()}, source)
        splits = _read_split(source, setup)
        samples = [
            _sample(name, row, splits.get(_key(name)))
            for name, row in images.items()
            if (not categories or row[1] in categories) and (not splits or _key(name) in splits)
        ]
        source.require((item.mask for item in samples if item.mask), source.names, 'mask')
        if splits:
            there = {row[1] for row in images.values()}
            listed = (key for key in splits if key.split('/')[0] in there)
            source.require(listed, (_key(name) for name in images), 'image')
            notes = [f'official split: {setup}']
        else:
            notes = [f'no split_csv/{setup}.csv, hence no official split']
        super().__init__(source, samples, notes)


def _sample(name: str, row: tuple[str, ...], split: str | None) -> MaskedSample:
    data, category, state, stem, _ = row
    state = state.lower()
    mask = f'{data}/Masks/Anomaly/{stem}.png' if state == 'anomaly' else None
    return MaskedSample(f'{category}_{state}_{stem}', name, mask, split=split)


def _key(name: str) -> str:
    """The image's name as the split files have it, from the object's folder on."""
    return '/'.join(name.split('/')[-5:])


def _read_split(source: Source, setup: str) -> dict[str, str]:
    """Image to split; empty where the file is not there."""
    name = next((name for name in source.names if name.endswith(f'split_csv/{setup}.csv')), None)
    if name is None:
        return {}
    rows = csv.DictReader(io.StringIO(source.read(name).decode('utf-8-sig')))
    splits = {}
    for row in rows:
        split, image = row.get('split'), row.get('image')
        if split not in ('train', 'test') or not image:
            raise DatasetError(
                f'{source.where(name)}, line {rows.line_num}: expected the columns '
                f'object,split,label,image,mask with split train or test'
            )
        splits[image] = split
    return splits
