"""The parts of a model that read the backbone's maps, and their input channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.config import ConfigDict

from .features import Features, SwapError

#: Arguments of necks and heads that hold channels of the backbone.
CHANNEL_KEYS = ('in_channels', 'c1_in_channels')
#: Parts of a model that read no maps.
NOT_READERS = ('backbone', 'neck', 'data_preprocessor', 'train_cfg', 'test_cfg', 'init_cfg')


@dataclass
class Reader:
    """A part that reads outputs of the backbone.

    Attributes:
        place (str): Where it lies in the config.
        part (ConfigDict): Its config.
        positions (list[int]): Positions of the outputs that it reads.
        is_neck (bool): Whether it is a neck, which takes all outputs from one on.
    """

    place: str
    part: ConfigDict
    positions: list[int]
    is_neck: bool = False


def find_readers(
    model: ConfigDict, old: Features, where: str, scope: str, changes: list[str]
) -> list[Reader]:
    """The parts that read the backbone's maps: the first neck, or the heads where none stands.

    Args:
        model (ConfigDict): The model that has the backbone.
        old (Features): What its backbone gives.
        where (str): The model's place in the config.
        scope (str): Scope of the config; heads of mmseg read the last output unless told.
        changes (list[str]): Extended in place.

    Raises:
        SwapError: A part depends on the backbone in a way that is not understood.
    """
    total = len(old.channels)
    necks = parts_of(model, 'neck', where)[:1]
    for place, neck in necks:
        refuse_unknown(place, neck)
        if any(key in neck for key in CHANNEL_KEYS):
            start = neck.get('start_level', 0)
            end = neck.get('end_level', -1)
            stop = total if end in (-1, None) else end + 1
            channels = neck.get('in_channels')
            if isinstance(channels, int) and total == 1:
                start, stop = 0, 1
            return [Reader(place, neck, list(range(start, stop)), is_neck=True)]
    readers = []
    for name in model:
        if name in NOT_READERS:
            continue
        for place, head in parts_of(model, name, where):
            refuse_unknown(place, head)
            trim_unread(place, head, changes)
            # A head without channels of its own (mmseg's K-Net) reads through the one inside it.
            if any(key in head for key in CHANNEL_KEYS) or 'in_index' in head:
                readers.append(Reader(place, head, outputs_read(place, head, total, scope)))
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


def refuse_unknown(place: str, part: ConfigDict) -> None:
    """Refuse parts that hold, or hand on, more of the backbone than its maps.

    Raises:
        SwapError: This is one.
    """
    if 'rfp_backbone' in part:
        raise SwapError(f'{place} ({part.type}) holds a second backbone; swap both by hand')
    if part.get('type') == 'JPU':
        raise SwapError(f"{place} (JPU) hands the backbone's maps on to the heads; swap by hand")
    if 'shared_head' in part:
        raise SwapError(
            f'{place}.shared_head ({part.shared_head.type}) is a stage of the old backbone; '
            'start from a config with a neck'
        )


def trim_unread(place: str, head: ConfigDict, changes: list[str]) -> None:
    """Leave out the inputs that mmseg's EncHead takes and, without laterals, does not use."""
    index = head.get('in_index')
    unused = head.get('type') == 'EncHead' and not head.get('add_lateral', False)
    if unused and isinstance(index, list | tuple) and len(index) > 1:
        head.in_index = [index[-1]]
        head.in_channels = [head.in_channels[-1]]
        changes.append(f'{place}.in_index: {index} -> {head.in_index}, it uses the last one only')


def outputs_read(place: str, head: ConfigDict, total: int, scope: str) -> list[int]:
    """Positions of the outputs that a head reads.

    Raises:
        SwapError: The old backbone has no such output.
    """
    if 'in_index' not in head and scope != 'mmseg':
        return list(range(total))
    index = head.get('in_index', -1)
    first = [0] if head.get('c1_in_channels') else []  # the low-level maps of DeepLabV3+
    read = [index] if isinstance(index, int) else list(index)
    for one in read:
        if not -total <= one < total:
            raise SwapError(
                f'{place}.in_index is {index}, but the old backbone has {total} outputs, '
                f'0 to {total - 1}; mend the config first'
            )
    return first + [one % total for one in read]


def require_readers(readers: list[Reader], model: ConfigDict, old: Features, where: str) -> None:
    """Check that it is known what reads the backbone's maps.

    Raises:
        SwapError: Nothing is known to, or something else holds the old backbone's channels.
    """
    strange = channels_elsewhere(model, old, where, {id(reader.part) for reader in readers})
    if strange:
        raise SwapError(
            f'{strange[0]} holds the channels of the old backbone {old.channels}, and how it '
            'reads the maps is not known; set it by hand to those of the new backbone, and give '
            'the new backbone out_indices'
        )
    if not any(reader.positions for reader in readers):
        parts = [name for name in model if isinstance(model[name], dict | list | tuple)]
        parts = [name for name in parts if name not in NOT_READERS or name == 'neck']
        raise SwapError(
            f"no part of {where} is known to read the backbone's maps: none of "
            f'{", ".join(parts) or "its parts"} has {" or ".join(CHANNEL_KEYS)}; give the new '
            'backbone out_indices, and set the channels of what reads it by hand'
        )


def channels_elsewhere(
    node: object, old: Features, place: str, known: set[int], key: str = ''
) -> list[str]:
    """Places of lists that are the old backbone's channels, outside of the known readers."""
    found = []
    if isinstance(node, dict):
        for name, value in node.items():
            if (id(node) in known and name in CHANNEL_KEYS) or has_own_backbone(node, name):
                continue
            if name != 'backbone':
                found += channels_elsewhere(value, old, f'{place}.{name}', known, name)
    elif isinstance(node, list | tuple):
        named = any(word in key for word in ('channel', 'dim'))
        if named and len(node) > 1 and list(node) == list(old.channels):
            found.append(place)
        for i, value in enumerate(node):
            found += channels_elsewhere(value, old, f'{place}[{i}]', known)
    return found


def has_own_backbone(node: dict, name: str) -> bool:
    """Whether a part reads another backbone, e.g. ``teacher_neck`` beside ``teacher_backbone``."""
    others = [key.removesuffix('backbone') for key in node if key.endswith('_backbone')]
    return any(name.startswith(prefix) for prefix in others)


def renumber(reader: Reader, slots: Mapping[int, int], total: int, changes: list[str]) -> None:
    """Tell a reader where its outputs are among those that are left.

    Args:
        reader (Reader): The reader.
        slots (Mapping[int, int]): Old position to new one, of the outputs that are left.
        total (int): Outputs that there were.
        changes (list[str]): Extended in place.
    """
    part = reader.part
    if reader.is_neck:
        for key, default in (('start_level', 0), ('end_level', -1)):
            if part.get(key, default) not in (default, None):
                does = 'start' if key == 'start_level' else 'end'
                changes.append(
                    f'{reader.place}.{key}: {part[key]} -> {default}, its inputs {does} there'
                )
                part[key] = default
        return
    if 'in_index' not in part:
        return
    index = part.in_index
    moved: Any = [slots[i % total] for i in ([index] if isinstance(index, int) else index)]
    count = len(set(slots.values()))
    before = [index] if isinstance(index, int) else list(index)
    if [i % count for i in before] == moved and count == total:
        return
    moved = moved[0] if isinstance(index, int) else moved
    if moved != index:
        changes.append(f'{reader.place}.in_index: {index} -> {moved}')
        part.in_index = moved


def fit_channels(reader: Reader, old: Features, new: Mapping[int, int], changes: list[str]) -> None:
    """Give a reader its new input channels.

    mmseg's heads say in ``in_index`` which outputs they read; elsewhere the old channels tell.

    Args:
        reader (Reader): The reader, not renumbered yet.
        old (Features): What the old backbone gives.
        new (Mapping[int, int]): New channels, by position of the old output.
        changes (list[str]): Extended in place.

    Raises:
        SwapError: A number of channels is none of the old backbone's.
    """
    for key in CHANNEL_KEYS:
        if not reader.part.get(key):  # DeepLabV3+ says 0 for no low-level maps
            continue
        value, place = reader.part[key], f'{reader.place}.{key}'
        positions = channel_positions(reader, key, old, new)
        values = [value] if isinstance(value, int) else list(value)
        if positions is None or [old.channels[i] for i in positions] != values:
            raise SwapError(
                f'{place} is {value!r}, which does not follow from the outputs of the old backbone '
                f'({", ".join(map(str, old.channels))} channels); change it by hand'
            )
        fitted: Any = [new[i] for i in positions if i in new]
        fitted = fitted[0] if isinstance(value, int) else type(value)(fitted)
        if fitted != value:
            changes.append(f'{place}: {value} -> {fitted}')
            reader.part[key] = fitted


def channel_positions(
    reader: Reader, key: str, old: Features, new: Mapping[int, int]
) -> list[int] | None:
    """Which outputs the channels in an argument belong to; None if that is not known."""
    value, index = reader.part[key], reader.part.get('in_index')
    values = [value] if isinstance(value, int) else list(value)
    total = len(old.channels)
    if index is not None and key == 'in_channels':
        return [i % total for i in ([index] if isinstance(index, int) else index)]
    if values == list(old.channels):
        return list(range(total))
    if key == 'in_channels' and len(values) == len(reader.positions) == 1:
        return reader.positions
    if len(set(old.channels)) < total and len(set(new.values())) > 1:
        return None  # the old channels do not tell the outputs apart
    if any(channels not in old.channels for channels in values):
        return None
    positions = [old.channels.index(channels) for channels in values]
    return positions if all(i in new for i in positions) else None


def check_cascade(
    readers: list[Reader], model: ConfigDict, old: Features, new: Mapping[int, int], where: str
) -> None:
    """Refuse a cascade of mmseg's heads whose maps would no longer be of one size.

    Args:
        readers (list[Reader]): All readers.
        model (ConfigDict): The model.
        old (Features): What the old backbone gives.
        new (Mapping[int, int]): New strides, by position of the old output.
        where (str): The model's place.

    Raises:
        SwapError: They would not.
    """
    heads = [reader for reader in readers if reader.place.startswith(f'{where}.decode_head')]
    positions = [i for reader in heads for i in reader.positions]
    before, after = {old.strides[i] for i in positions}, {new[i] for i in positions}
    if isinstance(model.get('decode_head'), list) and len(before) == 1 and len(after) > 1:
        places = ' and '.join(f'{reader.place}.in_index' for reader in heads)
        raise SwapError(
            f'the heads of the cascade want maps of one size, but {places} read strides '
            f'{sorted(after)} of the new backbone; let them read the same output first'
        )
