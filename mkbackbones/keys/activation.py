"""Activations by name, for the keys' ``act_cfg``."""

import torch
from torch import nn

from ..arguments import refuse_loops, short
from ..hints import did_you_mean

#: Pointwise activations of torch.nn that need no argument.
ACTIVATIONS = (
    'GELU',
    'ReLU',
    'ReLU6',
    'LeakyReLU',
    'SiLU',
    'Mish',
    'ELU',
    'SELU',
    'Softplus',
    'Tanh',
    'Sigmoid',
    'Hardswish',
)


def build_activation(act_cfg: dict | None) -> nn.Module | None:
    """Build an activation.

    Args:
        act_cfg (dict, optional): ``dict(type='GELU')``, further entries are the activation's
            arguments; None means the identity.

    Returns:
        nn.Module | None: The activation, None for the identity.

    Raises:
        ValueError: If the dict has no known ``type``.
    """
    if act_cfg is None:
        return None
    refuse_loops('act_cfg', act_cfg)
    if not isinstance(act_cfg, dict) or 'type' not in act_cfg:
        raise ValueError(
            f"act_cfg={short(act_cfg)} is not understood; use dict(type='GELU') or None"
        )
    args = dict(act_cfg)
    name = args.pop('type')
    if not isinstance(name, str) or name not in ACTIVATIONS:
        shown = name if isinstance(name, str) else short(name)
        raise ValueError(
            f"act_cfg.type '{shown}' is unknown; choose from {', '.join(ACTIVATIONS)} "
            f'or set act_cfg=None{did_you_mean(name, ACTIVATIONS)}'
        )
    try:
        # Most activations look at their arguments no earlier than when they run.
        activation = getattr(nn, name)(**args)
        out = activation(torch.linspace(-2, 2, 5, device='cpu'))
        sound = isinstance(out, torch.Tensor) and bool(out.isfinite().all())
    except Exception as error:  # torch raises several kinds
        raise ValueError(
            f'act_cfg={short(act_cfg)} is not allowed: {" ".join(str(error).split())}'
        ) from error
    if not sound:
        raise ValueError(
            f'act_cfg={short(act_cfg)} is not allowed: {name} gives infinite or undefined values '
            'with these arguments'
        )
    return activation
