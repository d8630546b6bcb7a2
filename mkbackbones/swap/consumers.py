"""The parts of a model that read the backbone's maps, and their input channels."""

from __future__ import annotations

from mmengine.config import ConfigDict

from .features import Features, SwapError

#: Arguments of necks and heads that hold channels of the backbone.
CHANNEL_KEYS = ('in_channels', 'c1_in_channels')


def consumers(model: ConfigDict, where: str) -> list[tuple[str, ConfigDict]]:
    """The parts that read the backbone's maps, with their places."""
    necks = parts_of(model, 'neck', where)
    readers = [
        (place, neck)
        for place, neck in necks
        if neck.get('type') != 'mkbackbones.SimpleFeaturePyramid'
    ][:1]
    if not any(key in neck for _, neck in readers for key in CHANNEL_KEYS):
        for name in model:
            if name not in ('backbone', 'neck', 'data_preprocessor', 'train_cfg', 'test_cfg'):
                readers += parts_of(model, name, where)
    return readers


def parts_of(model: ConfigDict, name: str, where: str) -> list[tuple[str, ConfigDict]]:
    """A part of the model, or the parts of a list, with their places.

    A head inside a head (mmseg's K-Net) counts too: it says in ``in_index`` what it reads.
    """
    value = model.get(name)
    if isinstance(value, list | tuple):
        found = [(f'{where}.{name}[{i}]', part) for i, part in enumerate(value)]
    else:
        found = [(f'{where}.{name}', value)]
    found = [(place, part) for place, part in found if isinstance(part, dict)]
    for place, part in list(found):
        found += [
            (f'{place}.{key}', inner)
            for key, inner in part.items()
            if isinstance(inner, dict) and 'in_index' in inner
        ]
    return found


def drop_unused_outputs(
    model: ConfigDict, old: Features, where: str, changes: list[str]
) -> list[int]:
    """Find the outputs that something reads, and renumber those who read them.

    Swin normalises each output with parameters of its own: without a reader they would get no
    gradient, which distributed training rejects.

    Returns:
        list[int]: Positions of the outputs that are read.
    """
    total = len(old.channels)
    readers = consumers(model, where)
    neck = readers[0][1] if readers and readers[0][0].startswith(f'{where}.neck') else None
    if neck is not None:
        start = neck.get('start_level', 0)
        used = list(range(start, total))
        if start and list(neck.get('in_channels', ())) == list(old.channels):
            changes.append(f'{readers[0][0]}.start_level: {start} -> 0, its inputs start there')
            neck.start_level = 0
            neck.in_channels = list(neck.in_channels[start:])
            if neck.get('end_level', -1) > 0:
                neck.end_level -= start
            return used
        return list(range(total))
    # A head without channels of its own (mmseg's K-Net) reads through the one inside it.
    readers = [
        (place, head)
        for place, head in readers
        if 'in_index' in head or any(key in head for key in CHANNEL_KEYS)
    ]
    if any('in_index' not in head for _, head in readers):
        return list(range(total))
    used = sorted({i % total for _, head in readers for i in outputs_read(head)})
    if len(used) < total:
        for place, head in readers:
            index = head.in_index
            moved = [used.index(i % total) for i in ([index] if isinstance(index, int) else index)]
            moved = moved[0] if isinstance(index, int) else moved
            if moved != index:
                changes.append(f'{place}.in_index: {index} -> {moved}')
                head.in_index = moved
    return used


def outputs_read(head: ConfigDict) -> list[int]:
    """Positions of the outputs that a head of mmseg reads."""
    index = head.in_index
    first = [0] if head.get('c1_in_channels') else []  # the low-level maps of DeepLabV3+
    return first + ([index] if isinstance(index, int) else list(index))


def check_cascade(model: ConfigDict, old: Features, new: Features, where: str) -> None:
    """Refuse a cascade of mmseg's heads whose maps would no longer be of one size.

    Raises:
        SwapError: They would not.
    """
    heads = [head for head in parts_of(model, 'decode_head', where) if 'in_index' in head[1]]
    indices = [i for _, head in heads for i in outputs_read(head)]
    before, after = ({features.strides[i] for i in indices} for features in (old, new))
    if isinstance(model.get('decode_head'), list) and len(before) == 1 and len(after) > 1:
        places = ' and '.join(f'{place}.in_index' for place, _ in heads)
        raise SwapError(
            f'the heads of the cascade want maps of one size, but {places} read strides '
            f'{sorted(after)} of the new backbone; let them read the same output first'
        )


def fit_consumers(
    model: ConfigDict, old: Features, new: Features, where: str, changes: list[str]
) -> None:
    """Give the neck, or the heads where no neck stands between, their new input channels.

    Raises:
        SwapError: A number of channels is none of the old backbone's.
    """
    for place, part in consumers(model, where):
        if 'rfp_backbone' in part:
            raise SwapError(f'{place} ({part.type}) holds a second backbone; swap both by hand')
        if part.get('type') == 'JPU':
            raise SwapError(
                f"{place} (JPU) hands the backbone's maps on to the heads; swap by hand"
            )
        if 'shared_head' in part:
            raise SwapError(
                f'{place}.shared_head ({part.shared_head.type}) is a stage of the old backbone; '
                'start from a config with a neck'
            )
        for key in CHANNEL_KEYS:
            if key not in part:
                continue
            fitted = fit_channels(part, key, old, new, f'{place}.{key}')
            if fitted != part[key]:
                changes.append(f'{place}.{key}: {part[key]} -> {fitted}')
                part[key] = fitted


def fit_channels(
    part: ConfigDict, key: str, old: Features, new: Features, place: str
) -> int | list[int]:
    """The new value of one argument that holds channels.

    mmseg's heads say in ``in_index`` which outputs they read; elsewhere the old channels tell.

    Raises:
        SwapError: They tell nothing.
    """
    value = part[key]
    values = [value] if isinstance(value, int) else list(value)
    index = part.get('in_index') if key == 'in_channels' else None
    indices = [index] if isinstance(index, int) else index
    if indices is None and values == list(old.channels):
        indices = range(len(values))
    if indices is None:
        try:
            indices = [old.channels.index(channels) for channels in values]
        except ValueError:
            indices = []
        if len(set(old.channels)) < len(old.channels) and len(set(new.channels)) > 1:
            indices = []  # the old channels do not tell the outputs apart
    fitted = [new.channels[i] for i in indices]
    if len(fitted) != len(values) or [old.channels[i] for i in indices] != values:
        raise SwapError(
            f'{place} is {value}, which does not follow from the outputs of the old backbone '
            f'({", ".join(map(str, old.channels))} channels); change it by hand'
        )
    return fitted[0] if isinstance(value, int) else type(value)(fitted)
