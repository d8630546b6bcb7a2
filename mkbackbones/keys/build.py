"""From ``key_cfg`` to keys: one configuration for all blocks, or one per stage or block."""

import inspect
from collections.abc import Sequence
from typing import Any

from ..arguments import refuse_loops, short
from ..hints import did_you_mean
from ..registry import KEYS
from .base import Key

KeyCfg = dict | Sequence[dict] | None


def build_key(
    key_cfg: dict, embed_dims: int, out_dims: int | None = None, bias: bool = True
) -> Key:
    """Build one key.

    Args:
        key_cfg (dict): ``type`` names a class of the ``KEYS`` registry; the rest are its arguments.
        embed_dims (int): Channels C of the tokens.
        out_dims (int, optional): Channels of the key. Defaults to ``embed_dims``.
        bias (bool): Whether the stock key projection has a bias.

    Returns:
        Key: The key.

    Raises:
        ValueError: If the type or an argument is unknown, or a value is not allowed.
    """
    if not isinstance(key_cfg, dict):
        raise ValueError(not_understood(key_cfg))
    refuse_loops('key_cfg', key_cfg)
    args = dict(key_cfg)
    key_class = find_key(args.pop('type', None))
    allowed = key_arguments(key_class)
    for name in args:
        if name not in allowed:
            raise ValueError(
                f"key_cfg argument '{name}' is unknown for {key_class.__name__}; "
                f'choose from {", ".join(sorted(allowed))}{did_you_mean(name, allowed)}'
            )
    return key_class(embed_dims=embed_dims, out_dims=out_dims, bias=bias, **args)


def find_key(name: str | type[Key] | None) -> type[Key]:
    """The key class of that name.

    Raises:
        ValueError: If the registry has none.
    """
    if isinstance(name, type) and issubclass(name, Key):
        return name
    known = sorted(KEYS.module_dict)
    key = str(name).removeprefix('mkbackbones.')
    if key not in known:
        raise ValueError(
            f"key_cfg.type '{name if isinstance(name, str) else short(name)}' is unknown; choose "
            f'from {", ".join(known)}{did_you_mean(key, known)}'
        )
    return KEYS.module_dict[key]


def key_arguments(key_class: type[Key]) -> set[str]:
    """Names of the arguments that a key_cfg of this class may hold."""
    names = set()
    for cls in key_class.__mro__:
        if cls is Key:
            break
        if '__init__' not in vars(cls):
            continue
        parameters = inspect.signature(vars(cls)['__init__']).parameters.values()
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names - {'self', 'embed_dims', 'out_dims', 'bias'}


def keys_per_block(key_cfg: KeyCfg, depths: Sequence[int]) -> list[dict | None]:
    """Which key each block gets.

    Args:
        key_cfg (dict | list[dict] | None): None for the stock key everywhere; a dict for every
            block, or for those that its ``stages=[...]`` or ``blocks=[...]`` name; a list of such
            dicts. Blocks are counted through all stages, from 0; negative numbers from the end.
        depths (Sequence[int]): Blocks in each stage.

    Returns:
        list[dict | None]: One key_cfg a block, None for the stock key.

    Raises:
        ValueError: If a stage or block does not exist, or a block is named twice.
    """
    per_block: list[dict | None] = [None] * sum(depths)
    for entry in key_entries(key_cfg):
        cfg = dict(entry)
        for block in named_blocks(cfg, depths):
            if per_block[block] is not None:
                raise ValueError(f'key_cfg names block {block} twice; name each block once')
            per_block[block] = cfg
    return per_block


def key_entries(key_cfg: KeyCfg) -> list[dict]:
    """The entries of a key_cfg.

    Raises:
        ValueError: If it is none.
    """
    refuse_loops('key_cfg', key_cfg)
    entries = [key_cfg] if isinstance(key_cfg, dict) else [] if key_cfg is None else key_cfg
    if not isinstance(entries, list | tuple) or not all(isinstance(e, dict) for e in entries):
        raise ValueError(not_understood(key_cfg))
    return list(entries)


def not_understood(key_cfg: object) -> str:
    """What is told about something that is no key_cfg."""
    return (
        f"key_cfg={short(key_cfg)} is not understood; use None, dict(type='SpatialK', ...) or a "
        'list of such dicts with stages=[...] or blocks=[...]'
    )


def named_blocks(cfg: dict, depths: Sequence[int]) -> list[int]:
    """Take ``stages`` and ``blocks`` out of ``cfg`` and return the blocks that they name."""
    total = sum(depths)
    if 'stages' in cfg and 'blocks' in cfg:
        raise ValueError('key_cfg takes stages or blocks, not both')
    if 'stages' in cfg:
        stages = resolve_indices('key_cfg.stages', cfg.pop('stages'), len(depths))
        starts = [sum(depths[:stage]) for stage in stages]
        return [b for s, start in zip(stages, starts) for b in range(start, start + depths[s])]
    if 'blocks' in cfg:
        return resolve_indices('key_cfg.blocks', cfg.pop('blocks'), total)
    return list(range(total))


def resolve_indices(name: str, indices: int | Sequence[int], length: int) -> list[int]:
    """Normalise indices into ``range(length)``, negative ones counted from the end.

    Raises:
        ValueError: If one is out of range, given twice or not an integer, or there is none.
    """
    refuse_loops(name, indices)
    given: Any = indices  # as it stands in a config
    indices = list(given) if isinstance(given, list | tuple | range) else [given]
    if not indices:
        raise ValueError(f'{name} is empty; give at least one index from 0 to {length - 1}')
    for index in indices:
        if isinstance(index, bool) or not isinstance(index, int) or not -length <= index < length:
            raise ValueError(
                f'{name} holds {short(index)}, which does not exist; choose from 0 to {length - 1} '
                f'(or {-length} to -1 from the end)'
            )
    resolved = [index % length for index in indices]
    if len(set(resolved)) != len(resolved):
        raise ValueError(f'{name}={indices} names an index twice')
    return resolved
