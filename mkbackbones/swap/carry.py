"""What the new backbone takes over from the old one's arguments, and what it does not."""

from __future__ import annotations

import inspect

from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from ..checkpoints.families import FAMILIES

#: Arguments that go along within a family, and those that go along always.
WITHIN = (
    'window_size',
    'pretrained_window_sizes',
    'patch_size',
    'mlp_ratio',
    'qkv_bias',
    'drop_path_rate',
    'frozen_stages',
    'norm_eval',
    'final_norm',
)
ALWAYS = ('with_cp',)
#: Arguments that weights of one shape agree on.
SIZES = ('embed_dims', 'embed_dim', 'depths', 'num_heads', 'num_layers')
#: What is told elsewhere, or is not an argument.
TOLD = ('type', '_scope_', 'out_indices', 'init_cfg', 'pretrained')


def carry_over(old: ConfigDict, new: ConfigDict, scope: str) -> list[str]:
    """Give the new backbone those arguments of the old one that mean the same to it.

    Args:
        old (ConfigDict): Config of the old backbone.
        new (ConfigDict): Config of the new one, extended in place; what it has stays.
        scope (str): Scope of type names without one.

    Returns:
        list[str]: What went along, as ``name=value``.
    """
    old, new = old.get('backbone', old), new.get('backbone', new)  # with manifold keys
    kinds = class_name(old), class_name(new)
    related = any(set(kinds) <= set(family.classes) for family in FAMILIES.values())
    names = ALWAYS + (WITHIN if related else ())
    allowed = arguments(new, scope)
    carried = []
    for name in names:
        if name in old and name in allowed and name not in new:
            new[name] = old[name]
            carried.append(f'{name}={old[name]!r}')
    return carried


def left_behind(old: ConfigDict, new: ConfigDict, module: nn.Module, same_sizes: bool) -> list[str]:
    """Arguments of the old backbone that the new one does not have.

    They come as ``name=value``, dicts as ``name``. Those that say no more than the old class's
    default are left out.

    Args:
        old (ConfigDict): Config of the old backbone.
        new (ConfigDict): Config of the new one.
        module (nn.Module): The old backbone.
        same_sizes (bool): Whether the new one's weights have the shapes of the old one's.
    """
    told = TOLD + (SIZES if same_sizes else ())
    old, new = old.get('backbone', old), new.get('backbone', new)
    parameters = inspect.signature(type(module).__init__).parameters
    behind = []
    for name, value in old.items():
        default = parameters[name].default if name in parameters else inspect.Parameter.empty
        if name not in told and name not in new and value != default:
            behind.append(name if isinstance(value, dict) else f'{name}={value!r}')
    return behind


def class_name(cfg: ConfigDict) -> str:
    """Name of the class that a config asks for, without its scope."""
    kind = cfg.get('type')
    return getattr(kind, '__name__', str(kind)).rpartition('.')[2]


def arguments(cfg: ConfigDict, scope: str) -> set[str]:
    """Arguments of the class that a config asks for; none if it is not known."""
    kind = cfg.get('type')
    if isinstance(kind, str):
        try:
            with DefaultScope.overwrite_default_scope(scope):
                kind = MODELS.get(kind)
        except Exception:  # an unknown name is told when the backbone is built
            kind = None
    return set(inspect.signature(kind).parameters) if callable(kind) else set()
