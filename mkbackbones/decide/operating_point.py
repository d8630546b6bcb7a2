"""The score from which an image raises an alarm, chosen on validation images."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..files import written_aside
from .interval import Share, share_of
from .ranks import exceeded_in

__all__ = [
    'OperatingPoint',
    'Outcome',
    'Wish',
    'choose_threshold',
    'digest_of',
    'outcome_of',
    'trade_off',
]

VERSION = 1


@dataclass(frozen=True)
class Wish:
    """What is asked of an inspection; one of the two.

    Args:
        max_false_alarms (float, optional): Share of the good images that may raise an alarm, above
            0 and below 1; 0.005 for 5 in 1,000 good parts.
        min_recall (float, optional): Share of the defective images that have to, above 0 and below
            1.

    Raises:
        ValueError: None or both are given, or one is out of range.
    """

    max_false_alarms: float | None = None
    min_recall: float | None = None

    def __post_init__(self) -> None:
        given = {n: v for n, v in asdict(self).items() if v is not None}
        if len(given) != 1:
            raise ValueError('a wish is one of max_false_alarms and min_recall')
        (name, value) = next(iter(given.items()))
        if not 0 < value < 1:
            raise ValueError(f'{name}={value} is not allowed; it must be above 0 and below 1')

    @property
    def kind(self) -> str:
        """The images that tell: good ones of false alarms, defective ones of recall."""
        return 'good' if self.max_false_alarms is not None else 'defective'

    @property
    def share(self) -> float:
        """Of those, how many may be on the wrong side."""
        if self.max_false_alarms is not None:
            return self.max_false_alarms
        return 1 - (self.min_recall or 0)

    @property
    def fewest(self) -> int:
        """How many of them it takes to tell."""
        return math.ceil(1 / self.share * (1 - 1e-9)) - 1

    def check_number(self, number: int) -> None:
        """Raise ValueError if so many validation images of the kind cannot tell."""
        if number < self.fewest:
            could = ''
            if number > 1:
                least = math.ceil(1000 / (number + 1)) / 1000
                could = f', or a wish of {least if self.kind == "good" else 1 - least:.3f}'
            raise ValueError(
                f'{number} {self.kind} validation images cannot tell that {self}: it takes at '
                f'least {self.fewest} of them{could}'
            )

    def __str__(self) -> str:
        if self.max_false_alarms is not None:
            return f'at most {self.max_false_alarms:.2%} of the good images raise an alarm'
        return f'at least {self.min_recall:.2%} of the defective images raise an alarm'


@dataclass(frozen=True)
class Outcome:
    """What a threshold gives on some images.

    Args:
        recall (Share | None): Of the defective images, those with an alarm; None without any.
        false_alarms (Share | None): Of the good images, those with one; None without any.
    """

    recall: Share | None
    false_alarms: Share | None


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, and what it was chosen by.

    Args:
        threshold (float): An image raises an alarm if its score lies *above* it.
        wish (Wish): What was asked for.
        classes (list[str]): Classes of the model.
        checkpoint (str): Name of its file.
        validation (Outcome): What it gives on the images that it was chosen on.
        test (Outcome | None): And on those that it was not.
        digest (str): Of the checkpoint, see :func:`digest_of`; empty if it is not known.
    """

    threshold: float
    wish: Wish
    classes: list[str]
    checkpoint: str
    validation: Outcome
    test: Outcome | None = None
    digest: str = ''

    def is_for(self, checkpoint: Path) -> bool:
        """Whether it was chosen for a checkpoint, as far as is known."""
        digest = digest_of(checkpoint)
        if self.digest and digest:
            return self.digest == digest
        return self.checkpoint == checkpoint.name

    def save(self, path: Path) -> None:
        """Write a JSON file, whole or not at all."""
        content = {'version': VERSION, **asdict(self)}
        for split in ('validation', 'test'):
            outcome = getattr(self, split)
            content[split] = outcome and {
                field.name: share and share._asdict()
                for field in fields(outcome)
                for share in [getattr(outcome, field.name)]
            }
        with written_aside(path) as work:
            work.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')

    @classmethod
    def load(cls, path: Path) -> OperatingPoint:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: The file is something else, or of a later version.
        """
        try:
            content = json.loads(Path(path).read_text(encoding='utf-8'))
            needed = {field.name for field in fields(cls)} - {'digest'}
            lacking = {'version', *needed} - set(content)
            if lacking:
                raise ValueError(f'it has no {min(lacking)}')
            if content.pop('version') != VERSION:
                raise ValueError('another version wrote it')
            content['wish'] = Wish(**content['wish'])
            for split in ('validation', 'test'):
                content[split] = content[split] and read_outcome(content[split])
            found = cls(**content)
            if not math.isfinite(found.threshold):
                raise ValueError('the threshold is no number')
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f'{path} cannot be read as an operating point ({error}); calibrate-threshold '
                'writes one'
            ) from error
        return found


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


def read_outcome(content: dict[str, Any]) -> Outcome:
    """An outcome as it was written."""
    return Outcome(**{name: share and Share(**share) for name, share in content.items()})


def choose_threshold(score: np.ndarray, defective: np.ndarray, wish: Wish) -> float:
    """The threshold by which a new image, drawn like these, meets a wish.

    For false alarms, the score that a new good image exceeds seldom enough; for recall, the one
    that a new defective image falls short of seldom enough (:func:`exceeded_in`).

    Args:
        score (ndarray): Score of each image, (n,).
        defective (ndarray): Whether it has a defect, bool, (n,).
        wish (Wish): What is asked for.

    Raises:
        ValueError: There are too few images to tell.
    """
    upwards = 1 if wish.kind == 'good' else -1
    scores = score[~defective] if wish.kind == 'good' else score[defective]
    wish.check_number(len(scores))
    found: Any = exceeded_in(upwards * scores, wish.share)  # there are enough
    return upwards * found


def outcome_of(
    score: np.ndarray, defective: np.ndarray, groups: np.ndarray, threshold: float
) -> Outcome:
    """What a threshold gives.

    Args:
        score (ndarray): Score of each image, (n,).
        defective (ndarray): Whether it has a defect, bool, (n,).
        groups (ndarray): Name of its group, (n,).
        threshold (float): Scores above it raise an alarm.
    """
    alarm = score > threshold
    return Outcome(
        recall=share_of(alarm[defective], groups[defective]),
        false_alarms=share_of(alarm[~defective], groups[~defective]),
    )


def trade_off(score: np.ndarray, defective: np.ndarray) -> tuple[np.ndarray, ...]:
    """Recall against false alarms, for every threshold that makes a difference.

    Returns:
        tuple: Thresholds, rising; share of the good images above each; share of the defective ones.
    """
    thresholds = np.concatenate([[-np.inf], np.unique(score)])
    good, bad = np.sort(score[~defective]), np.sort(score[defective])
    shares = [
        1 - np.searchsorted(each, thresholds, 'right') / max(len(each), 1) for each in (good, bad)
    ]
    return thresholds, shares[0], shares[1]
