"""What to profile, by name."""

from __future__ import annotations

from dataclasses import dataclass

from .goals import GOALS, PRECISION
from .sizes import SIZES
from .spec import Precision, Spec, expand, parse_spec


@dataclass(frozen=True)
class Job:
    """Backbones that are run side by side.

    Attributes:
        specs (tuple[Spec, ...]): The backbones.
        size (str): Images x height x width.
        precision (str): ``fp32``, ``bf16`` or ``fp16``.
    """

    specs: tuple[Spec, ...]
    size: str
    precision: Precision


def goal_jobs() -> list[Job]:
    """The backbones of the goals, at the goals' sizes."""
    jobs = []
    for size in dict.fromkeys(goal.size for goal in GOALS):
        names = [n for g in GOALS if g.size == size for n in (*g.denominators, g.numerator)]
        jobs.append(Job(tuple(parse_spec(n) for n in dict.fromkeys(names)), size, PRECISION))
    return jobs


def chart_jobs() -> list[Job]:
    """Every variant with 1 to 16 charts and, where it takes them, narrow charts."""
    jobs = []
    for arch, size in (('swin-t', SIZES['detection']), ('vit-b', SIZES['segmentation'])):
        keys = [parse_spec(f'{arch}/{k}') for k in ('VanillaK', 'SimpleK', 'KUA', 'SpatialK')]
        specs = [parse_spec(arch), *expand(keys, (1, 2, 4, 8, 16), ('full', 'half', '1/H'), False)]
        jobs.append(Job(tuple(specs), size, 'bf16'))
    return jobs


def peer_jobs() -> list[Job]:
    """The stock key and its peers at all sizes as used."""
    families = (
        ('swin-t', 'mmdet:swin-t', 'mmseg:swin-t', 'mmpretrain:swin-t', 'timm:swin-t',
         'timm:swin-t:fused=yes', 'swin-t/SpatialK'),
        ('vit-b', 'mmseg:vit-b', 'mmpretrain:vit-b', 'timm:vit-b', 'vit-b/VanillaK'),
        ('dinov3-b', 'timm:dinov3-b', 'dinov3-b/VanillaK'),
    )  # fmt: skip
    return [
        Job(tuple(parse_spec(name) for name in names), size, 'bf16')
        for names in families
        for size in SIZES.values()
    ]


def compiled_jobs() -> list[Job]:
    """Keys and peers as they are and as CUDA graphs, where a training has images of one size."""
    jobs = []
    for arch, peers, size in (
        ('vit-b', ('mmseg:vit-b', 'timm:vit-b'), SIZES['segmentation']),
        ('swin-t', ('mmdet:swin-t', 'timm:swin-t:fused=yes'), SIZES['lsj']),
    ):
        keys = (f'{arch}/{key}' for key in ('VanillaK', 'SimpleK', 'KUA', 'SpatialK'))
        plain = [parse_spec(name) for name in (*peers, arch, *keys)]
        specs = [twin for spec in plain for twin in (spec, spec.with_options(compile='graphs'))]
        jobs.append(Job(tuple(specs), size, 'bf16'))
    return jobs


PRESETS = {
    'goals': goal_jobs,
    'charts': chart_jobs,
    'peers': peer_jobs,
    'compiled': compiled_jobs,
}
