"""Activations by name, for the keys' ``act_cfg``."""

from torch import nn

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
    if not isinstance(act_cfg, dict) or 'type' not in act_cfg:
        raise ValueError(f"act_cfg={act_cfg!r} is not understood; use dict(type='GELU') or None")
    args = dict(act_cfg)
    name = args.pop('type')
    if name not in ACTIVATIONS:
        raise ValueError(
            f"act_cfg.type '{name}' is unknown; choose from {', '.join(ACTIVATIONS)} "
            f'or set act_cfg=None{did_you_mean(name, ACTIVATIONS)}'
        )
    return getattr(nn, name)(**args)
