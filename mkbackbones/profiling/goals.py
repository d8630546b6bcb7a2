"""The goals of speed and memory, as data, and whether a profile meets them."""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import get_args

from .results import Profile, over_busy, ratio
from .spec import Loop, Precision

DETECTION, SEGMENTATION = '4x800x1344', '8x512x512'
PRECISION: Precision = 'bf16'
TIMM_SWIN = ('timm:swin-t', 'timm:swin-t:fused=yes')
TIMM_VIT = ('timm:vit-b',)
MMDET = ('mmdet:swin-t',)
MMSEG = ('mmseg:vit-b',)


KEYS = ('VanillaK', 'SimpleK', 'KUA', 'SpatialK')
#: Whose thread runs the backward pass, see ``spec.py``.
LOOPS: tuple[Loop, ...] = get_args(Loop)


@dataclass(frozen=True)
class Goal:
    """A ratio of two backbones that must not exceed a limit.

    Attributes:
        name (str): What is asked.
        quantity (str): ``train_ms``, ``inference_busy_ms``, ``train_peak_mib`` and the like (names
            of a ``Row``).
        numerator (str): Name of a backbone.
        denominators (tuple[str, ...]): Backbones to compare with; the best of them counts. None:
            what its own kernels take.
        size (str): Images x height x width.
        limit (float): Largest ratio allowed.
    """

    name: str
    quantity: str
    numerator: str
    denominators: tuple[str, ...]
    size: str
    limit: float


def recorded(name: str, loop: Loop) -> str:
    """A backbone as :class:`~mkbackbones.engine.RecordBackboneHook` has it run, in a loop."""
    return f'{name}:recorded=yes:loop={loop}'


def of_every_key(arch: str, timm: tuple[str, ...], size: str) -> list[Goal]:
    """What is asked of an architecture with any key.

    Args:
        arch (str): Its short name.
        timm (tuple[str, ...]): timm's of it, with stock keys.
        size (str): Images x height x width.
    """
    goals = []
    for name in (arch, *(f'{arch}/{key}' for key in KEYS)):
        for loop in LOOPS:
            for kind in ('train', 'inference'):
                what = f'{kind}, {loop} loop: what the kernels take'
                goals.append(Goal(what, f'{kind}_ms', recorded(name, loop), (), size, 1.15))
    for key in KEYS:
        name = f'{arch}/{key}'
        plain = recorded(name, 'plain')
        stock = (recorded(arch, 'plain'),)
        goals += [
            Goal(f'{key} over our stock', 'train_busy_ms', plain, stock, size, 1.35),
            Goal(f'{key} over our stock', 'inference_busy_ms', plain, stock, size, 1.3),
            Goal(f'inference of {key} near stock timm', 'inference_ms', plain, timm, size, 1.15),
            Goal(f'memory of {key} near stock timm', 'train_peak_mib', name, timm, size, 1.1),
        ]
    for key in ('VanillaK:act=none', 'SimpleK:act=none', 'LinearK'):
        name = f'folded {key} as fast as stock'
        goals.append(Goal(name, 'inference_ms', f'{arch}/{key}:fold=yes', (arch,), size, 1.02))
    return goals


def against_peers() -> list[Goal]:
    """Train steps by the wall clock, in both loops."""
    limits = [
        ('stock Swin-T of mmdet', 'swin-t', MMDET, DETECTION, 0.45),
        ('SpatialK of stock mmdet', 'swin-t/SpatialK', MMDET, DETECTION, 0.70),
        ('SpatialK of stock timm', 'swin-t/SpatialK', TIMM_SWIN, DETECTION, 0.80),
        ('stock ViT-B of timm', 'vit-b', TIMM_VIT, SEGMENTATION, 0.75),
        ('VanillaK of stock timm', 'vit-b/VanillaK', TIMM_VIT, SEGMENTATION, 1.15),
    ]
    return [
        Goal(
            f'{what}, {loop} loop',
            'train_ms',
            recorded(name, loop),
            tuple(f'{peer}:loop={loop}' for peer in peers),
            size,
            limit,
        )
        for what, name, peers, size, limit in limits
        for loop in LOOPS
    ]


#: Of backbones as they are, without recordings, in our loop.
AS_THEY_ARE = [
    Goal('stock Swin-T 1.25x mmdet', 'train_ms', 'swin-t', MMDET, DETECTION, 1 / 1.25),
    Goal('stock Swin-T no slower than timm', 'train_ms', 'swin-t', TIMM_SWIN, DETECTION, 1.0),
    Goal('stock ViT-B 2.4x mmseg', 'train_ms', 'vit-b', MMSEG, SEGMENTATION, 1 / 2.4),
    Goal('SpatialK as stock mmdet', 'train_ms', 'swin-t/SpatialK', MMDET, DETECTION, 1.0),
    Goal('VanillaK 0.6 of stock mmseg', 'train_ms', 'vit-b/VanillaK', MMSEG, SEGMENTATION, 0.6),
    *(
        goal
        for arch, timm, size in (
            ('swin-t', TIMM_SWIN, DETECTION),
            ('vit-b', TIMM_VIT, SEGMENTATION),
        )
        for goal in (
            Goal('KUA near VanillaK', 'train_ms', f'{arch}/KUA', (f'{arch}/VanillaK',), size, 1.15),
            *(
                Goal(f'{key} near stock timm', 'inference_ms', f'{arch}/{key}', timm, size, 1.25)
                for key in KEYS
            ),
        )
    ),
]
GOALS = [
    *AS_THEY_ARE,
    *against_peers(),
    *of_every_key('swin-t', TIMM_SWIN, DETECTION),
    *of_every_key('vit-b', TIMM_VIT, SEGMENTATION),
]


@dataclass(frozen=True)
class Verdict:
    """How a profile does on a goal.

    Attributes:
        goal (Goal): The goal.
        denominator (str): The backbone that was compared with: the best one; empty where the limit
            is that of its own kernels.
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
    numerator = profile.find(goal.numerator, goal.size, PRECISION)
    if not goal.denominators:
        return Verdict(goal, '', None if numerator is None else over_busy(numerator, goal.quantity))
    found = (profile.find(name, goal.size, PRECISION) for name in goal.denominators)
    rows = [
        (median, row)
        for row in found
        if row is not None and (median := row.median(goal.quantity)) is not None
    ]
    if numerator is None or not rows:
        return Verdict(goal, goal.denominators[0], None)
    _, best = min(rows, key=itemgetter(0))
    return Verdict(goal, best.backbone, ratio(numerator, best, goal.quantity))
