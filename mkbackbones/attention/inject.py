"""Put manifold keys into an existing model, and fold linear ones out of it."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..arguments import is_int
from ..fused.exact import computes_linear, disturbance
from ..keys.build import KeyCfg, key_entries, keys_per_block
from .qkv import ManifoldQKV
from .self_attention import FusedSelfAttention
from .token_grid import watch_grids

#: The name of a numbered module: ``2`` in a ModuleList, ``layers_2`` in timm's feature extractors.
NUMBERED = re.compile(r'(|.*_)(\d+)')


def apply_manifold_key(model: nn.Module, key_cfg: KeyCfg) -> nn.Module:
    """Give the attention layers of any model manifold keys, in place.

    Attention layers are those with a fused ``nn.Linear`` called ``qkv`` (timm's ViT and Swin,
    mmdet's, mmseg's and mmpretrain's Swin, mmpretrain's ViT); in a model without any,
    ``nn.MultiheadAttention`` used for self-attention (mmseg's ViT). Blocks are counted in the
    order of ``model.named_modules()``. The weights are kept and the random numbers that the keys
    draw are taken aside; with a base chart, or linear charts, the outputs do not change.

    Apply the key to the stock model, once, and before an optimiser is built: parameters are
    replaced. A wrapped detector can be given as a whole, or its backbone alone.

    Args:
        model (nn.Module): The model, or any tree with attention layers.
        key_cfg (dict | list[dict] | None): The key of every block, or with ``blocks=[...]`` of
            some; ``stages=[...]`` where blocks lie in stages, as in Swin. None leaves the model.

    Returns:
        nn.Module: ``model``.

    Raises:
        ValueError: If there is no attention layer, or a manifold key already; if ``key_cfg`` names
            something that does not exist; or if a layer cannot take a manifold key. The model is
            then as it was.
    """
    names = find_attentions(model)
    key_cfgs = dict(zip(names, keys_per_block(key_cfg, stage_depths(names, key_cfg))))
    key_cfgs = {name: cfg for name, cfg in key_cfgs.items() if cfg is not None}
    attentions: dict[str, Any] = {name: model.get_submodule(name) for name in key_cfgs}
    for name, attention in attentions.items():
        if reason := why_not(attention, parent_of(model, name)):
            raise ValueError(
                f"{type(attention).__name__} '{name}' takes no manifold key: {reason}; name the "
                'blocks that do with blocks=[...]'
            )
    for name, attention in attentions.items():
        if isinstance(attention, nn.MultiheadAttention):
            attentions[name] = FusedSelfAttention(attention)
    set_block_keys(list(attentions.values()), list(key_cfgs.values()))
    for name, attention in attentions.items():
        if isinstance(attention, FusedSelfAttention):
            replace(model, name, attention)
        elif getattr(attention, 'q_bias', None) is not None:
            # BEiT, EVA-02, Swin V2: call qkv and add the biases, instead of reading its weight.
            attention.qkv_bias_separate = True
    watch_grids(model, [f'{name}.qkv'.lstrip('.') for name in attentions])
    return model


def set_block_keys(attentions: Sequence[Any], key_cfgs: Sequence[dict | None]) -> None:
    """Swap the ``qkv`` Linear of attention layers for manifold keys, in place.

    The random numbers that the keys draw are taken aside: everything built later starts from the
    same values as with the stock key, so that arms with one seed differ in the key alone.

    Args:
        attentions (Sequence[nn.Module]): Attention layers with a fused Linear called ``qkv``.
        key_cfgs (Sequence[dict | None]): One key_cfg a layer, None to leave the stock key.
    """
    with torch.random.fork_rng(devices=[]):
        layers = [
            None if key_cfg is None else ManifoldQKV.from_linear(attention.qkv, key_cfg)
            for attention, key_cfg in zip(attentions, key_cfgs, strict=True)
        ]
    for attention, layer in zip(attentions, layers):
        if layer is not None:
            attention.qkv = layer


def fold_manifold_keys(model: nn.Module) -> list[str]:
    """Replace every linear manifold key by the plain fused Linear that it equals, in place.

    Where the stock layer was an ``nn.MultiheadAttention``, it is one again. The model may be
    wrapped for several GPUs or compiled; fold for evaluation or before an optimiser is built.

    Args:
        model (nn.Module): Any model with :class:`~mkbackbones.attention.qkv.ManifoldQKV` layers.

    Returns:
        list[str]: Names of the manifold layers that stay, because their charts are not linear.

    Raises:
        ValueError: If ``model`` is a ManifoldQKV itself.
    """
    if isinstance(model, ManifoldQKV):
        raise ValueError('a single ManifoldQKV cannot be replaced in place; use its to_linear()')
    return [name for name in manifold_layers(model) if not fold_layer(model, name)]


def fold_layer(model: nn.Module, name: str) -> bool:
    """Replace one manifold layer by the plain fused Linear that it equals, in place.

    Args:
        model (nn.Module): The model.
        name (str): Name of a :class:`~mkbackbones.attention.qkv.ManifoldQKV` in it.

    Returns:
        bool: Whether it was linear; otherwise it stays.
    """
    layer: Any = model.get_submodule(name)
    folded = layer.to_linear()
    if folded is None:
        return False
    replace(model, name, folded)
    parent_name = name.rpartition('.')[0]
    parent = model.get_submodule(parent_name)
    if parent_name and isinstance(parent, FusedSelfAttention):
        replace(model, parent_name, parent.to_multihead(folded))
    return True


def counted_attentions(model: nn.Module) -> list[str]:
    """Names of the attention layers in the order in which a ``key_cfg`` counts blocks, whichever
    keys they have."""
    modules = list(model.named_modules())
    fused = [
        name
        for name, module in modules
        if isinstance(module._modules.get('qkv'), nn.Linear | ManifoldQKV)
        and not isinstance(module, FusedSelfAttention)
    ]
    kinds = (nn.MultiheadAttention, FusedSelfAttention)
    return fused or [name for name, module in modules if isinstance(module, kinds) and name]


def find_attentions(model: nn.Module) -> list[str]:
    """Names of the attention layers that can take a manifold key, in order.

    Raises:
        ValueError: If there is none, or one has a manifold key already.
    """
    present = manifold_layers(model)
    if present:
        raise ValueError(
            f"{type(model).__name__} has manifold keys already (the first is '{present[0]}'); "
            'name all blocks in one key_cfg, or fold_manifold_keys first'
        )
    names = [n for n, m in model.named_modules() if isinstance(m._modules.get('qkv'), nn.Linear)]
    if not names:
        names = [n for n, m in model.named_modules() if isinstance(m, nn.MultiheadAttention) and n]
    if not names:
        raise ValueError(
            f'{type(model).__name__} has no attention layer that can take a manifold key: looked '
            f"for an nn.Linear called 'qkv', then for nn.MultiheadAttention; found "
            f'{inventory(model)}'
        )
    return names


def inventory(model: nn.Module) -> str:
    """What a tree is made of, in a few words."""
    other = [
        f"'{name}', which is a {type(module).__name__}"
        for name, module in model.named_modules()
        if name.rpartition('.')[2] == 'qkv'
    ]
    if other:
        return f'{other[0]}' + (f' (and {len(other) - 1} more)' if other[1:] else '')
    leaves = Counter(type(m).__name__ for m in model.modules() if not m._modules)
    return ', '.join(f'{number} {kind}' for kind, number in leaves.most_common(5))


def why_not(attention: Any, parent: nn.Module | None) -> str | None:
    """Why an attention layer cannot take a manifold key, None if it can."""
    if isinstance(attention, nn.MultiheadAttention):
        if type(attention).forward is not nn.MultiheadAttention.forward:
            return 'its class has a forward of its own, which would be lost'
        if (reason := disturbance(attention)) is not None:
            return f'it {reason}, which would be lost'
        if isinstance(parent, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
            return f'{type(parent).__name__} reads its weights without calling it'
        joint: object = attention.in_proj_weight
        if joint is None:
            return 'key and value have other sizes than the query, so it is no self-attention'
        if attention.bias_k is not None or attention.add_zero_attn:
            return 'it adds a key of its own (add_bias_kv or add_zero_attn)'
        return None
    qkv = attention.qkv
    if not (computes_linear(qkv) or type(qkv).__module__.startswith('mmcv.')):
        return (
            f'its qkv is of class {type(qkv).__name__}, which computes more than its weight and '
            'bias say'
        )
    if (reason := disturbance(qkv)) is not None:
        return f'its qkv {reason}, which would be lost'
    dims = {qkv.in_features}
    dims |= {getattr(attention, name, None) for name in ('attn_dim', 'dim_out')}
    if isinstance(getattr(attention, 'head_dim', None), int):
        dims.add(attention.head_dim * getattr(attention, 'num_heads', 1))
    if qkv.out_features not in {3 * dim for dim in dims if isinstance(dim, int)}:
        return (
            f'its qkv maps {qkv.in_features} to {qkv.out_features} channels, which is not query, '
            'key and value of one size'
        )
    if getattr(attention, 'head_first', False) or hasattr(attention, 'val_dim'):
        return 'its qkv orders channels by head, not as query, key, value'
    if getattr(attention, 'q_bias', None) is not None and not hasattr(
        attention, 'qkv_bias_separate'
    ):
        return 'it reads the weight of its qkv (for a query and value bias) instead of calling it'
    return None


def stage_depths(names: Sequence[str], key_cfg: KeyCfg) -> list[int]:
    """Blocks in each stage; one stage of all blocks where they do not lie in stages.

    Stages are seen in the names: ``stages.2.blocks.5`` is in stage 2, ``layers_2.blocks.5`` too.

    Raises:
        ValueError: If ``key_cfg`` names a stage and there are none, or one without attention.
    """
    wanted = [e['stages'] for e in key_entries(key_cfg) if 'stages' in e]
    paths = [name.split('.') for name in names]
    numbers = [
        [(i, m) for i, part in enumerate(path) if (m := NUMBERED.fullmatch(part))] for path in paths
    ]
    heads = {(*path[: at[0][0]], at[0][1][1]) for path, at in zip(paths, numbers) if len(at) == 2}
    if len(heads) != 1 or any(len(at) != 2 for at in numbers):
        if wanted:
            raise ValueError(
                f'key_cfg.stages={wanted[0]} needs blocks that lie in stages, as in Swin '
                f"(stages.0.blocks.1); here they are called '{names[0]}' and the like: use blocks"
            )
        return [len(names)]
    stages = Counter(int(at[0][1][2]) for at in numbers)
    depths = [stages[i] for i in range(max(stages) + 1)]
    for indices in wanted:
        for stage in indices if isinstance(indices, list | tuple) else [indices]:
            if is_int(stage) and stage in range(-len(depths), len(depths)) and not depths[stage]:
                raise ValueError(
                    f'key_cfg.stages={indices} names stage {stage}, which has no attention layer; '
                    f'those that have are {sorted(stages)}'
                )
    return depths


def manifold_layers(model: nn.Module) -> list[str]:
    """Names of the :class:`~mkbackbones.attention.qkv.ManifoldQKV` layers in a tree."""
    return [name for name, m in model.named_modules() if isinstance(m, ManifoldQKV)]


def parent_of(model: nn.Module, name: str) -> nn.Module | None:
    """The module that holds the named one; None for the model itself."""
    return model.get_submodule(name.rpartition('.')[0]) if name else None


def replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module in the place of the named one."""
    setattr(parent_of(model, name), name.rpartition('.')[2], module)
