"""All data sets by name: what the command needs to know to offer one."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mkbackbones.datasets import metainfo
from mkbackbones.datasets.records import Converter

__all__ = ['CATALOGUE', 'Argument', 'Entry', 'source']


@dataclass(frozen=True)
class Argument:
    """A command-line argument that becomes a keyword argument of the converter.

    Args:
        flag (str): E.g. ``'--src'``; the keyword is ``src``.
        help (str): One line.
        is_source (bool): A path that is read: it must not lie in the output folder.
        options (Mapping): Further arguments of ``ArgumentParser.add_argument``.
    """

    flag: str
    help: str
    is_source: bool = False
    options: Mapping = field(default_factory=dict)

    @property
    def keyword(self) -> str:
        """Name of the converter's keyword argument."""
        return self.flag.lstrip('-').replace('-', '_')


@dataclass(frozen=True)
class Entry:
    """A data set.

    Args:
        converter (str): ``module:callable`` of the converter, imported when it is used. It gets
            the arguments as keywords.
        help (str): One line.
        example (str): Arguments of an example, ``--out`` included.
        arguments (tuple[Argument, ...]): What it is called with.
        palette (tuple | None): RGB colours of the classes; None lets colours be made.
        takes_skip_bad (bool): Whether the converter wants ``skip_bad``, to leave missing files to
            ``read``.
        can_be_split (bool): False for a set that is generated split by split.
    """

    converter: str
    help: str
    example: str
    arguments: tuple[Argument, ...] = ()
    palette: tuple | None = None
    takes_skip_bad: bool = False
    can_be_split: bool = True

    def make(self, values: Mapping, *, skip_bad: bool = False) -> Converter:
        """Build the converter.

        Args:
            values (Mapping): Keyword to value; more than the entry's arguments is ignored.
            skip_bad (bool): Passed on where the converter takes it.

        Raises:
            DatasetError: The source cannot be used.
        """
        keywords = {item.keyword: values[item.keyword] for item in self.arguments}
        if self.takes_skip_bad:
            keywords['skip_bad'] = skip_bad
        return pkgutil.resolve_name(self.converter)(**keywords)


def source(what: str, flag: str = '--src') -> Argument:
    """The argument for a folder or zip."""
    return Argument(flag, what, is_source=True, options=dict(required=True, type=Path))


def _count(flag: str, default: int, help: str = 'number of images') -> Argument:
    return Argument(flag, f'{help}; default: %(default)s', options=dict(type=int, default=default))


CATALOGUE: dict[str, Entry] = {
    'neu-det': Entry(
        'mkbackbones.datasets.neu_det:NeuDet',
        'Convert NEU-DET (1800 images, boxes) to COCO on a split without leaks.',
        '--src downloads/NEU-DET.zip --out data/neu-det',
        (source('the NEU-DET folder or its .zip'),),
        palette=tuple(metainfo.NEU_DET['palette']),
    ),
    'neu-seg': Entry(
        'mkbackbones.datasets.neu_seg:NeuSeg',
        'Convert the 899 unrotated masks of NEU-Seg to class maps and COCO instances.',
        '--src downloads/NEU_Seg.zip --images downloads/NEU-DET.zip --out data/neu-seg',
        (
            source('the NEU-Seg folder or its .zip'),
            source('the NEU-DET folder or its .zip', '--images'),
        ),
        palette=tuple(metainfo.NEU_SEG_INSTANCES['palette']),
    ),
    'synthetic': Entry(
        'mkbackbones.datasets.synthetic:SyntheticDefects.from_counts',
        'Generate the procedural defect set: boxes, instance masks and class maps.',
        '--out data/synthetic --size 128 --seed 0',
        (
            _count('--seed', 0, 'seed of the images'),
            _count('--size', 128, 'image side in pixels'),
            _count('--num-train', 240),
            _count('--num-val', 60),
            _count('--num-test', 60),
        ),
        palette=tuple(metainfo.SYNTHETIC_INSTANCES['palette']),
        can_be_split=False,
    ),
}
