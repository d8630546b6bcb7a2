"""Put manifold keys into an existing model, and fold linear ones out of it."""

from collections.abc import Sequence

import torch
from torch import nn

from .qkv import ManifoldQKV


def set_block_keys(attentions: Sequence[nn.Module], key_cfgs: Sequence[dict | None]) -> None:
    """Swap the ``qkv`` Linear of attention layers for manifold keys, in place.

    The random numbers that the keys draw are taken aside: everything built later starts from the
    same values as with the stock key, so that arms with one seed differ in the key alone.

    Args:
        attentions (Sequence[nn.Module]): Attention layers with a fused Linear called ``qkv``.
        key_cfgs (Sequence[dict | None]): One key_cfg a layer, None to leave the stock key.
    """
    with torch.random.fork_rng(devices=[]):
        for attention, key_cfg in zip(attentions, key_cfgs, strict=True):
            if key_cfg is not None:
                attention.qkv = ManifoldQKV.from_linear(attention.qkv, key_cfg)


def fold_manifold_keys(model: nn.Module) -> list[str]:
    """Replace every linear manifold key by the plain fused Linear that it equals, in place.

    Args:
        model (nn.Module): Any model with :class:`~mkbackbones.qkv.ManifoldQKV` layers.

    Returns:
        list[str]: Names of the manifold layers that stay, because their charts are not linear.
    """
    stay = []
    for name, module in list(model.named_modules()):
        if not isinstance(module, ManifoldQKV):
            continue
        folded = module.to_linear()
        if folded is None:
            stay.append(name)
            continue
        parent_name, _, child_name = name.rpartition('.')
        setattr(model.get_submodule(parent_name), child_name, folded)
    return stay
