"""What older releases of PyTorch and timm lack, and which tests then say so and skip."""

from functools import partial

import pytest
import torch
from torch import nn

from mkbackbones.compat.blocks import why_no_dinov3
from mkbackbones.compat.graphs import why_not_compiled
from mkbackbones.compat.operators import why_no_operators

needs_compiler = pytest.mark.skipif(bool(why_not_compiled()), reason=why_not_compiled())
needs_operators = pytest.mark.skipif(bool(why_no_operators()), reason=why_no_operators())


def need_half_precision(dtype):
    """Skip the running test where the CPU's autocast lacks a type."""
    try:
        with torch.autocast('cpu', dtype=dtype):
            torch.ones(2, 2) @ torch.ones(2, 2)
    except RuntimeError as error:
        pytest.skip(str(error))


def reads_weights():
    """timm's attention with a query and value bias that reads the weight of its qkv."""
    from timm.models.beit import Attention as Beit
    from timm.models.eva import EvaAttention
    from timm.models.swin_transformer_v2 import WindowAttention

    layers = {
        'timm-swin-v2': WindowAttention(8, (2, 2), 1),
        'timm-beit': Beit(8, 1, qkv_bias=True),
        'timm-eva': EvaAttention(8, 1, qkv_bias=True, norm_layer=nn.LayerNorm),
    }
    return [name for name, layer in layers.items() if not hasattr(layer, 'qkv_bias_separate')]


def reasons():
    """Parts of the names of tests, and why those cannot run here."""
    found = {}
    if reason := why_no_dinov3():
        found['dinov3'] = reason
    for name in reads_weights():
        for folder in ('test_inject', 'test_explain'):
            found[f'{folder}/::{name}'] = 'its attention does not call qkv in this timm'
    return found


def pytest_collection_modifyitems(items):
    """Skip the tests of what is lacking; a ``::`` in a part stands for anything."""
    lacking = reasons()
    for item in items:
        name = item.nodeid.lower()
        for part, reason in lacking.items():
            if all(piece in name for piece in part.split('::')):
                item.add_marker(pytest.mark.skip(reason=reason))


def intermediates(model, x, indices=None, norm=False):
    """Maps (B, C, h, w) of timm's ViT or Swin, as its ``forward_intermediates``.

    Args:
        model (nn.Module): The model.
        x (Tensor): Images (B, 3, H, W).
        indices (list[int], optional): Blocks or stages; all by default.
        norm (bool): Normalise them, of a ViT, as its last.
    """
    if hasattr(model, 'forward_intermediates'):
        args = dict(norm=norm) if norm else {}
        return model.forward_intermediates(x, indices=indices, intermediates_only=True, **args)
    parts = model.blocks if hasattr(model, 'blocks') else model.layers
    seen = {}
    handles = [
        part.register_forward_hook(lambda module, args, out, i=i: seen.update({i: out}))
        for i, part in enumerate(parts)
    ]
    model.forward_features(x)
    for handle in handles:
        handle.remove()
    outs = [seen[i] for i in (range(len(parts)) if indices is None else indices)]
    if not hasattr(model, 'blocks'):
        return [out.permute(0, 3, 1, 2) for out in outs]
    grid = [-(-side // patch) for side, patch in zip(x.shape[2:], model.patch_embed.patch_size)]
    outs = [(model.norm(out) if norm else out)[:, -grid[0] * grid[1] :] for out in outs]
    return [out.transpose(1, 2).unflatten(2, grid) for out in outs]


def shapes_of(build, monkeypatch):
    """Shapes of the weights of the model that ``build()`` gives, without making them."""
    # Older releases ask tensors for values while they build, e.g. rates of stochastic depth.
    monkeypatch.setattr(torch, 'linspace', partial(torch.linspace, device='cpu'))
    with torch.device('meta'):
        return {name: value.shape for name, value in build().state_dict().items()}
