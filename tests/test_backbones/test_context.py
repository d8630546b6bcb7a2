"""Context broadcasting against its formula in float64, in windows and over all tokens."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mkbackbones import fold_manifold_keys
from mkbackbones.backbones.context import broadcast_context, broadcast_in_windows
from mkbackbones.backbones.windows import shifted_window_mask
from mkbackbones.checkpoints.fold import fold_checkpoint
from mkbackbones.checkpoints.report import CheckpointError

from .common import tiny_dinov3, tiny_swin, tiny_swin_v2, tiny_vit

BUILDERS = {'swin': tiny_swin, 'swin_v2': tiny_swin_v2, 'vit': tiny_vit, 'dinov3': tiny_dinov3}


def literal(x, window, shift):
    """Each token with the mean over those that the attention mask lets it see; no padding."""
    _, height, width, _ = x.shape
    size = [-(-side // window) * window for side in (height, width)]
    where = torch.arange(size[0] * size[1]).view(size)
    if shift:
        where = where.roll((-shift, -shift), (0, 1))
    rows, columns = size[0] // window, size[1] // window
    windows = where.view(rows, window, columns, window).transpose(1, 2).reshape(-1, window**2)
    mask = torch.zeros(len(windows), window**2, window**2)
    if shift:
        mask = shifted_window_mask(tuple(size), window, shift, 'cpu')
    out = torch.zeros_like(x)
    for cells, sees in zip(windows.tolist(), mask == 0):
        for i, cell in enumerate(cells):
            row, column = divmod(cell, size[1])
            if row >= height or column >= width:
                continue
            others = [divmod(c, size[1]) for c, seen in zip(cells, sees[i].tolist()) if seen]
            others = [x[:, r, c] for r, c in others if r < height and c < width]
            out[:, row, column] = (x[:, row, column] + sum(others) / len(others)) / 2
    return out


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    window=st.integers(1, 5),
    shifted=st.booleans(),
)
def test_in_windows_it_is_the_formula(size, window, shifted):
    torch.manual_seed(0)
    x = torch.randn(2, *size, 3, dtype=torch.float64)
    shift = window // 2 if shifted else 0
    found = broadcast_in_windows(x, window, shift)
    torch.testing.assert_close(found, literal(x, window, shift), rtol=1e-12, atol=1e-12)


def test_over_all_tokens_it_is_the_formula():
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    wanted = torch.stack([(x[:, i] + sum(x[:, n] for n in range(5)) / 5) / 2 for i in range(5)], 1)
    torch.testing.assert_close(broadcast_context(x), wanted, rtol=1e-12, atol=1e-12)


def test_gradients():
    x = torch.randn(1, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: broadcast_in_windows(x, 3, 1), x)
    assert torch.autograd.gradcheck(broadcast_context, x.flatten(1, 2).detach().requires_grad_())


def random(model):
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.double().eval()


@pytest.mark.parametrize('name', BUILDERS)
def test_blocks_add_it_at_the_end_of_their_mlp(name):
    """The backbone with MLPs that are replaced by ones that broadcast is the same."""
    model = random(BUILDERS[name](context_broadcasting=True))
    other = random(BUILDERS[name]())
    assert model.state_dict().keys() == other.state_dict().keys()
    other.load_state_dict(model.state_dict())
    images = torch.randn(2, 3, 37, 51, dtype=torch.float64)
    plain = other(images)

    class Broadcasting(nn.Module):
        def __init__(self, mlp, window, shift):
            super().__init__()
            self.mlp, self.window, self.shift = mlp, window, shift

        def forward(self, x):
            x = self.mlp(x)
            if x.dim() == 4:
                return literal(x, self.window, self.shift)
            return (x + x.mean(1, keepdim=True)) / 2

    for block in [m for m in other.modules() if hasattr(m, 'context_broadcasting')]:
        block.mlp = Broadcasting(block.mlp, block.window_size, getattr(block, 'shift', 0))
    with torch.no_grad():
        for found, wanted, without in zip(model(images), other(images), plain, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
            assert not torch.allclose(found, without, atol=1e-4)


@pytest.mark.parametrize('name', BUILDERS)
@pytest.mark.parametrize('size', [(1, 1), (5, 70)])
def test_every_parameter_has_a_gradient_at_odd_sizes(name, size):
    model = BUILDERS[name](context_broadcasting=True, key_cfg=dict(type='KUA', num_charts=2))
    sum(out.square().sum() for out in model(torch.randn(1, 3, *size))).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize('name', BUILDERS)
def test_a_batch_does_not_matter(name):
    model = random(BUILDERS[name](context_broadcasting=True))
    images = torch.randn(2, 3, 40, 56, dtype=torch.float64)
    with torch.no_grad():
        for whole, one in zip(model(images), model(images[1:]), strict=True):
            torch.testing.assert_close(whole[1:], one)


def test_recomputation_changes_nothing():
    images = torch.randn(1, 3, 33, 40, dtype=torch.float64)
    grads = []
    for with_cp in (False, True):
        model = random(tiny_swin(context_broadcasting=True, with_cp=with_cp)).train()
        sum(out.sum() for out in model(images)).backward()
        grads.append([p.grad for p in model.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_keys_fold_and_stock_backbones_are_refused():
    key_cfg = dict(type='VanillaK', num_charts=2, act_cfg=None)
    model = random(tiny_swin(context_broadcasting=True, key_cfg=key_cfg))
    images = torch.randn(1, 3, 33, 40, dtype=torch.float64)
    state = {f'backbone.{name}': value for name, value in model.state_dict().items()}
    with torch.no_grad():
        before = model(images)
        assert fold_manifold_keys(model) == []
        for a, b in zip(before, model(images), strict=True):
            torch.testing.assert_close(a, b)
    arch = dict(embed_dims=16, depths=(2, 2), num_heads=(2, 4))
    backbone = dict(
        type='mkbackbones.ManifoldSwin', arch=arch, key_cfg=key_cfg, out_indices=(0, 1),
        window_size=4, context_broadcasting=True,
    )  # fmt: skip
    with pytest.raises(CheckpointError, match='no stock backbone computes'):
        fold_checkpoint(state, 'mmdet', dict(backbone=backbone))


@pytest.mark.parametrize('build', BUILDERS.values(), ids=BUILDERS)
def test_it_is_true_or_false(build):
    with pytest.raises(ValueError, match='context_broadcasting'):
        build(context_broadcasting='yes')
