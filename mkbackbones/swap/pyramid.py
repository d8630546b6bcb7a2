"""Necks that make scales, or take their place: between plain and hierarchical backbones."""

from __future__ import annotations

from mmengine.config import ConfigDict

from .consumers import Reader
from .features import Features, SwapError

#: What a plain ViT's pyramid is called in a config.
PYRAMID = 'mkbackbones.SimpleFeaturePyramid'
#: Channels of a pyramid in front of heads.
PYRAMID_CHANNELS = 256
#: How the necks of plain ViTs scale their inputs, unless told.
RESCALES = (4, 2, 1, 0.5)


def pyramid_levels(stride: int, count: int) -> list[int]:
    """Strides of the outputs that a pyramid over maps of a stride can have."""
    return [stride * 2**i // 4 for i in range(count)]


def replace_fpn(
    model: ConfigDict, reader: Reader, old: Features, new: Features, changes: list[str]
) -> None:
    """Let a pyramid do the work of an FPN: it has its scales, and its channels.

    Raises:
        SwapError: It cannot start at the FPN's first stride.
    """
    first = old.strides[reader.positions[0]]
    levels = pyramid_levels(new.strides[-1], 4)
    if first not in levels:
        raise SwapError(
            f'the heads want maps from stride {first} on; a pyramid over stride '
            f'{new.strides[-1]} starts at one of {", ".join(map(str, levels))}'
        )
    pyramid = ConfigDict(
        type=PYRAMID,
        in_channels=new.channels[-1],
        out_channels=reader.part.out_channels,
        num_outs=reader.part.num_outs,
        start_level=levels.index(first),
    )
    if isinstance(model.neck, list | tuple):
        model.neck = [pyramid, *model.neck[1:]]
    else:
        model.neck = pyramid
    changes.append(f'{reader.place}: FPN -> {dict(pyramid)}')


def put_pyramid_in_front(
    model: ConfigDict,
    readers: list[Reader],
    old: Features,
    new: Features,
    where: str,
    changes: list[str],
) -> tuple[dict[int, int], dict[int, int]]:
    """Make the scales that a plain ViT does not have, as many as something reads.

    Returns:
        tuple[dict[int, int], dict[int, int]]: For the position of each old output that is read:
        where it now lies, and its stride.

    Raises:
        SwapError: A neck wants strides that are none of the pyramid's.
    """
    used = sorted({i for reader in readers for i in reader.positions})
    levels = pyramid_levels(new.strides[-1], 8)
    # A part that does not say which outputs it reads gets all of them, one for one.
    strict = any(r.is_neck or ('in_index' not in r.part and len(r.positions) > 1) for r in readers)
    level_of = {}
    for i in used:
        wanted = old.strides[i]
        if strict and wanted not in levels:
            raise SwapError(
                f'{readers[0].place} wants maps of stride {wanted}; a pyramid over stride '
                f'{new.strides[-1]} has {", ".join(map(str, levels))}'
            )
        # Heads of mmseg scale what they read; the nearest stride will do.
        level_of[i] = (
            min(range(4), key=lambda n: abs(levels[n] - wanted))
            if not strict
            else (levels.index(wanted))
        )
    made = sorted(set(level_of.values()))
    if strict and len(made) < len(used):
        raise SwapError(
            f'{readers[0].place} reads several maps of one stride, which a pyramid does not have; '
            'start from a config without dilation'
        )
    pyramid = ConfigDict(
        type=PYRAMID,
        in_channels=new.channels[-1],
        out_channels=PYRAMID_CHANNELS,
        num_outs=made[-1] - made[0] + 1,
        start_level=made[0],
    )
    gaps = [level for level in range(made[0], made[-1]) if level not in made]
    if gaps:  # their parameters would get no gradient
        pyramid.skip_levels = gaps
    neck = model.get('neck')
    rest = [] if neck is None else list(neck) if isinstance(neck, list | tuple) else [neck]
    model.neck = [pyramid, *rest] if rest else pyramid
    changes.append(f'{where}.neck: {dict(pyramid)} in front')
    return (
        {i: made.index(level) for i, level in level_of.items()},
        {i: levels[level] for i, level in level_of.items()},
    )


def drop_rescaling(model: ConfigDict, old: Features, where: str, changes: list[str]) -> Features:
    """Undo what a neck does to the equal scales of a plain ViT: the new backbone has its own.

    Returns:
        Features: What stands in the place of the old backbone's outputs: those behind a neck that
        went, or those that a neck which stays now has to find.
    """
    neck = model.get('neck')
    first = neck[0] if isinstance(neck, list | tuple) and neck else neck
    kind = str(first.get('type')).rpartition('.')[2] if isinstance(first, dict) else None
    rest = list(neck[1:]) if isinstance(neck, list | tuple) else []
    place = f'{where}.neck[0]' if isinstance(neck, list | tuple) else f'{where}.neck'
    stride = old.strides[-1]
    if kind == 'Feature2Pyramid':
        scales = first.get('rescales', RESCALES)
        scaled = Features(old.channels, tuple(int(stride / scale) for scale in scales))
        model.neck = rest or None
        changes.append(f'{place}: Feature2Pyramid -> none, the new backbone has several scales')
    elif kind == 'MultiLevelNeck':
        scales = list(first.get('scales', (0.5, 1, 2, 4)))
        scaled = Features(old.channels, tuple(int(stride / scale) for scale in scales))
        first.scales = [1] * len(scales)
        changes.append(f'{place}.scales: {scales} -> {first.scales}, the inputs have scales now')
    elif kind in ('SimpleFeaturePyramid', 'SimpleFPN'):
        start, dim = (
            first.get('start_level', 0),
            first.get('in_channels', first.get('backbone_channel')),
        )
        dim = dim if isinstance(dim, int) else dim[-1]
        outs = first.get('num_outs', 5)
        levels = range(start, min(start + outs, 4))
        strides = pyramid_levels(stride, 4)
        scaled = Features(tuple(dim * (i + 1) for i in levels), tuple(strides[i] for i in levels))
        fpn = ConfigDict(
            type='FPN',
            in_channels=list(scaled.channels),
            out_channels=first.get('out_channels', PYRAMID_CHANNELS),
            num_outs=outs,
        )
        changes.append(f'{place}: {kind} -> FPN with {outs} outputs')
        model.neck = [fpn, *rest] if rest else fpn
    else:
        scaled = old
    return scaled
