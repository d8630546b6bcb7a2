"""The goals of speed and memory, as data, and whether a profile meets them."""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

from .results import Profile, ratio

if TYPE_CHECKING:
    from .spec import Precision

DETECTION, SEGMENTATION = '4x800x1344', '8x512x512'
PRECISION: Precision = 'bf16'
TIMM_SWIN = ('timm:swin-t', 'timm:swin-t:fused=yes')
TIMM_VIT = ('timm:vit-b',)


@dataclass(frozen=True)
class Goal:
    """A ratio of two backbones that must not exceed a limit.

    Attributes:
        name (str): What is asked.
        quantity (str): ``train_ms``, ``inference_ms``, ``train_peak_mib`` (names of a ``Row``).
        numerator (str): Name of a backbone.
        denominators (tuple[str, ...]): Backbones to compare with; the best of them counts.
        size (str): Images x height x width.
        limit (float): Largest ratio allowed.
    """

    name: str
    quantity: str
    numerator: str
    denominators: tuple[str, ...]
    size: str
    limit: float


def variants(arch: str, size: str, stock: tuple[str, ...]) -> list[Goal]:
    """What is asked of every variant of an architecture: KUA's cost, inference, folding."""
    vanilla = (f'{arch}/VanillaK',)
    goals = [Goal('KUA near VanillaK', 'train_ms', f'{arch}/KUA', vanilla, size, 1.15)]
    for key in ('VanillaK', 'SimpleK', 'KUA', 'SpatialK'):
        name = f'inference of {key} near stock timm'
        goals.append(Goal(name, 'inference_ms', f'{arch}/{key}', stock, size, 1.25))
    for key in ('VanillaK:act=none', 'SimpleK:act=none', 'LinearK'):
        name = f'folded {key} as fast as stock'
        goals.append(Goal(name, 'inference_ms', f'{arch}/{key}:fold=yes', (arch,), size, 1.02))
    return goals


#: name, quantity, numerator, denominators, size, limit
GOALS = [
    Goal('stock Swin-T 1.25x mmdet', 'train_ms', 'swin-t', ('mmdet:swin-t',), DETECTION, 1 / 1.25),
    Goal('stock Swin-T no slower than timm', 'train_ms', 'swin-t', TIMM_SWIN, DETECTION, 1.0),
    Goal('stock ViT-B 2.4x mmseg', 'train_ms', 'vit-b', ('mmseg:vit-b',), SEGMENTATION, 1 / 2.4),
    Goal(
        'SpatialK no slower than stock mmdet',
        'train_ms',
        'swin-t/SpatialK',
        ('mmdet:swin-t',),
        DETECTION,
        1.0,
    ),
    Goal(
        'SpatialK memory near stock timm',
        'train_peak_mib',
        'swin-t/SpatialK',
        TIMM_SWIN,
        DETECTION,
        1.25,
    ),
    Goal(
        'VanillaK at 0.6 of stock mmseg',
        'train_ms',
        'vit-b/VanillaK',
        ('mmseg:vit-b',),
        SEGMENTATION,
        0.6,
    ),
    *variants('swin-t', DETECTION, TIMM_SWIN),
    *variants('vit-b', SEGMENTATION, TIMM_VIT),
]


@dataclass(frozen=True)
class Verdict:
    """How a profile does on a goal.

    Attributes:
        goal (Goal): The goal.
        denominator (str): The backbone that was compared with: the best one.
        ratio (tuple[float, float, float] | None): Median, smallest and largest ratio over the
            rounds; None if one of the two was not measured.
    """

    goal: Goal
    denominator: str
    ratio: tuple[float, float, float] | None

    @property
    def holds(self) -> bool | None:
        """Whether the median meets the limit; None if it was not measured."""
        return None if self.ratio is None else self.ratio[0] <= self.goal.limit


def check_goals(profile: Profile) -> list[Verdict]:
    """Compare a profile with every goal."""
    return [check_goal(goal, profile) for goal in GOALS]


def check_goal(goal: Goal, profile: Profile) -> Verdict:
    """Compare a profile with a goal."""
    found = (profile.find(name, goal.size, PRECISION) for name in goal.denominators)
    rows = [
        (median, row)
        for row in found
        if row is not None and (median := row.median(goal.quantity)) is not None
    ]
    numerator = profile.find(goal.numerator, goal.size, PRECISION)
    if numerator is None or not rows:
        return Verdict(goal, goal.denominators[0], None)
    _, best = min(rows, key=itemgetter(0))
    return Verdict(goal, best.backbone, ratio(numerator, best, goal.quantity))
