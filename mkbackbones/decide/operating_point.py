"""The score from which an image raises an alarm, as a file that somebody signs."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..arguments import is_int
from ..exported_files import is_exported
from ..files import written_aside
from .by_class import ByClass, ClassOutcome, ClassPoint
from .interval import Share
from .thresholds import Outcome, Wish

__all__ = ['OperatingPoint', 'Tiles', 'digest_of']

VERSION = 2
#: Of a file that names tiles, so that releases that know of none refuse it.
WITH_TILES = 3
#: Versions that are read; 1 had no thresholds by class.
KNOWN = (1, VERSION, WITH_TILES)


@dataclass(frozen=True)
class Tiles:
    """How pictures were cut whose scores a threshold was chosen by.

    Args:
        tile (int): Longest side of a tile in pixels.
        overlap (int): Least that neighbours share in pixels.
    """

    tile: int
    overlap: int

    def __str__(self) -> str:
        return f'tiles of {self.tile} pixels with an overlap of {self.overlap}'


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, and what it was chosen by.

    Args:
        threshold (float): An image raises an alarm if its score lies *above* it.
        wish (Wish): What was asked for.
        classes (list[str]): Classes of the model.
        checkpoint (str): Name of its file: a checkpoint, or an exported one.
        validation (Outcome): What it gives on the images that it was chosen on.
        test (Outcome | None): And on those that it was not.
        digest (str): Of that file, see :func:`digest_of`; empty if it is not known.
        by_class (ByClass | None): Thresholds of the classes, by which images then raise alarms.
        tiles (Tiles | None): How images were cut, whose scores are others; None: not at all.
    """

    threshold: float
    wish: Wish
    classes: list[str]
    checkpoint: str
    validation: Outcome
    test: Outcome | None = None
    digest: str = ''
    by_class: ByClass | None = None
    tiles: Tiles | None = None

    @property
    def is_of_export(self) -> bool:
        """Whether it was chosen for an exported file, whose scores no checkpoint has."""
        return is_exported(self.checkpoint)

    @property
    def above(self) -> float | dict[str, float]:
        """The score above which an image raises an alarm, or those of its classes."""
        return self.threshold if self.by_class is None else self.by_class.limits

    def is_for(self, checkpoint: Path) -> bool:
        """Whether it was chosen for a file, as far as is known."""
        digest = digest_of(checkpoint)
        if self.digest and digest:
            return self.digest == digest
        return self.checkpoint == checkpoint.name

    def save(self, path: Path) -> None:
        """Write a JSON file, whole or not at all."""
        content = {'version': VERSION if self.tiles is None else WITH_TILES, **plain(self)}
        if self.tiles is None:
            del content['tiles']
        with written_aside(path) as work:
            work.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')

    @classmethod
    def load(cls, path: Path) -> OperatingPoint:
        """Read what :meth:`save` wrote, now or in an earlier version.

        Raises:
            ValueError: The file is something else, or of a later version.
        """
        try:
            content = read_json(Path(path))
            needed = {field.name for field in fields(cls)} - {'digest', 'by_class', 'tiles'}
            lacking = {'version', *needed} - set(content)
            if lacking:
                raise ValueError(f'it has no {min(lacking)}')
            version = content.pop('version')
            if version not in KNOWN:
                raise ValueError(f'its version is {version}, and 1 to {WITH_TILES} are known')
            if (version == WITH_TILES) != ('tiles' in content):
                raise ValueError(f'tiles are of version {WITH_TILES}, and its version is {version}')
            content['wish'] = Wish(**content['wish'])
            for split in ('validation', 'test'):
                content[split] = content[split] and read_outcome(content[split])
            content['by_class'] = content.get('by_class') and read_by_class(content['by_class'])
            content['tiles'] = read_tiles(content['tiles']) if 'tiles' in content else None
            found = cls(**content)
            numbers = [found.threshold]
            if found.by_class is not None:
                check_names(found)
                numbers += found.by_class.limits.values()
            if not all(math.isfinite(number) for number in numbers):
                raise ValueError('a threshold is no number')
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f'{path} cannot be read as an operating point ({error}); calibrate-threshold '
                'writes one'
            ) from error
        return found


def read_json(path: Path) -> Any:
    """What a JSON file holds; a picture, say, is told without what a decoder has to say of it."""
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError('it is no JSON') from error


def plain(value: Any) -> Any:
    """Data classes and shares as JSON has them."""
    if isinstance(value, Share):
        return value._asdict()
    if hasattr(value, '__dataclass_fields__'):
        if isinstance(value, Wish):
            return asdict(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    return value


def read_shares(content: dict[str, Any]) -> dict[str, Share | None]:
    """Shares by name, as they were written."""
    return {name: share and Share(**share) for name, share in content.items()}


def read_outcome(content: dict[str, Any]) -> Outcome:
    """An outcome as it was written."""
    return Outcome(**read_shares(content))


def read_by_class(content: dict[str, Any]) -> ByClass:
    """Thresholds of classes as they were written."""
    points = []
    for each in content['points']:
        test = each['test'] and ClassOutcome(**read_shares(each['test']))
        validation = ClassOutcome(**read_shares(each['validation']))
        points.append(
            ClassPoint(
                **{**each, 'wish': Wish(**each['wish']), 'validation': validation, 'test': test}
            )
        )
    test = content['test'] and read_outcome(content['test'])
    return ByClass(tuple(points), content['rest'], read_outcome(content['validation']), test)


def read_tiles(content: dict[str, Any]) -> Tiles:
    """Tiles as they were written.

    Raises:
        ValueError: There are none such.
    """
    tiles = Tiles(**content)
    if not is_int(tiles.tile) or not is_int(tiles.overlap):
        raise ValueError(f'{tiles} are none: both have to be whole numbers')
    if not 0 <= 2 * tiles.overlap <= tiles.tile or not tiles.tile:
        raise ValueError(f'{tiles} are none: the overlap is at most half of a tile')
    return tiles


def check_names(point: OperatingPoint) -> None:
    """Raise ValueError unless thresholds of classes are those of the model's."""
    names = [each.name for each in point.by_class.points] if point.by_class else []
    unknown = [name for name in names if name not in point.classes]
    if unknown or len(set(names)) < len(names):
        raise ValueError(f'by_class names {(unknown or names)[0]}, which is not one of its classes')


def digest_of(path: Path) -> str:
    """What tells a file's content from others: 16 hexadecimal digits of its SHA-256.

    Of what is no file here, such as an address, an empty string.
    """
    if not path.is_file():
        return ''
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()[:16]
