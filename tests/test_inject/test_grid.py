"""Where the tokens lie: keys that read neighbours in models that do not hand the grid down."""

import pytest
import torch
from torch import nn

from mkbackbones import apply_manifold_key
from mkbackbones.attention.qkv import ManifoldQKV

from .trees import build, disturb_keys, max_error, mmseg_vit, outputs, timm_vit

SPATIAL = dict(type='SpatialK', num_charts=2)


def injected(tree):
    model = apply_manifold_key(build(tree), SPATIAL)
    disturb_keys(model)
    return model


def first_qkv(model):
    return next(m for m in model.modules() if isinstance(m, ManifoldQKV))


@pytest.mark.parametrize(
    ('tree', 'size', 'grid', 'prefix'),
    [
        ('timm-vit', (32, 96), (2, 6), 1),
        ('timm-vit-registers', (48, 32), (3, 2), 4),
        ('timm-vit-no-tokens', (16, 64), (1, 4), 0),
        ('timm-beit', (64, 64), (4, 4), 1),
        ('timm-dinov3', (48, 80), (3, 5), 5),
        ('timm-swin', (64, 64), (4, 4), 0),
        ('timm-sam', (64, 64), (3, 3), 0),
        ('mmdet-swin', (61, 37), (4, 4), 0),
        ('mmseg-vit', (33, 70), (3, 5), 1),
    ],
)
def test_grid_and_prefix(tree, size, grid, prefix):
    model = injected(tree)
    model(torch.randn(1, 3, *size))
    qkv = first_qkv(model)
    assert (qkv.grid, qkv.num_prefix_tokens) == (grid, prefix)


def test_the_grid_matters():
    """A wrong grid of as many tokens would show in the tests that compare outputs."""
    model = injected('timm-vit')
    x = torch.randn(1, 3, 32, 128)
    with torch.no_grad():
        right = model(x)
        for module in model.modules():
            if isinstance(module, ManifoldQKV):
                module._forward_pre_hooks.clear()
                module.grid, module.num_prefix_tokens = (4, 4), 1
        assert max_error([model(x)], [right]) > 1e-2


def test_windows_of_timm_swin_follow_a_new_input_size():
    model = injected('timm-swin')
    if not hasattr(model, 'set_input_size'):
        pytest.skip('models of this timm have one size')
    model.set_input_size((96, 96), window_size=(3, 6))
    assert model(torch.randn(1, 3, 96, 96)).isfinite().all()
    assert first_qkv(model).grid == (3, 6)


class Square(nn.Module):
    """Attention without a patch embedding around it."""

    def __init__(self):
        super().__init__()
        self.attn = nn.Module()
        self.attn.qkv = nn.Linear(8, 24)

    def forward(self, x):
        return self.attn.qkv(x)


@pytest.mark.parametrize(('num', 'grid', 'prefix'), [(16, (4, 4), 0), (17, (4, 4), 1)])
def test_square_grid_where_nothing_is_known(num, grid, prefix):
    model = apply_manifold_key(Square(), SPATIAL)
    model(torch.randn(2, num, 8))
    assert (model.attn.qkv.grid, model.attn.qkv.num_prefix_tokens) == (grid, prefix)


@pytest.mark.parametrize(
    ('shape', 'words'),
    [((2, 15, 8), '15 tokens in Module do not fit'), ((2, 4, 4, 8), r'gives it \(2, 4, 4, 8\)')],
)
def test_tokens_that_fit_no_grid(shape, words):
    model = apply_manifold_key(Square(), SPATIAL)
    with pytest.raises(ValueError, match=words):
        model(torch.randn(*shape))
    plain = apply_manifold_key(Square(), dict(type='VanillaK'))
    assert plain(torch.randn(*shape)).shape == (*shape[:-1], 24)


def test_dropped_patches_are_an_error():
    model = apply_manifold_key(timm_vit(patch_drop_rate=0.5), SPATIAL)
    with pytest.raises(ValueError, match='9 tokens in Attention do not fit the token grid'):
        model.train()(torch.randn(1, 3, 64, 64))


def checkpointed(tree, reentrant):
    """A model whose blocks are recomputed in the backward pass, and its twin."""
    torch.manual_seed(0)
    if tree == 'timm-vit':
        model, twin = timm_vit(), timm_vit()
    else:
        model, twin = mmseg_vit(with_cp=True), mmseg_vit()
    for m in (model, twin):
        apply_manifold_key(m, SPATIAL)
    disturb_keys(model)
    twin.load_state_dict(model.state_dict())
    if tree == 'timm-vit':
        model.set_grad_checkpointing()
    return model, twin


def gradients(model, losses):
    model.zero_grad()
    sum(losses).backward()
    return [p.grad for p in model.parameters() if p.grad is not None]


def loss(model, x):
    return sum(out.square().mean() for out in outputs(model, x))


@pytest.fixture(params=[True, False], ids=['reentrant', 'non-reentrant'])
def reentrant(request):
    try:
        from timm.layers import set_reentrant_ckpt, use_reentrant_ckpt
    except ImportError:  # reentrant, and nothing to be done about it
        if not request.param and request.node.callspec.params['tree'] == 'timm-vit':
            pytest.skip('this timm has reentrant checkpoints only')
        yield request.param
        return

    before = use_reentrant_ckpt()
    set_reentrant_ckpt(request.param)
    yield request.param
    set_reentrant_ckpt(before)


@pytest.mark.parametrize('tree', ['timm-vit', 'mmseg-vit'])
class TestCheckpointing:
    wide, square, small = (
        torch.randn(1, 3, *size, requires_grad=True) for size in ((32, 128), (64, 64), (32, 64))
    )

    def same(self, model, twin, *passes):
        for a, b in zip(
            gradients(model, [loss(model, x) for x in passes]),
            gradients(twin, [loss(twin, x) for x in passes]),
            strict=True,
        ):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)

    def test_one_pass_after_another(self, tree, reentrant):
        model, twin = checkpointed(tree, reentrant)
        for x in (self.wide, self.square, self.wide, self.small):  # two grids of 16 tokens
            self.same(model, twin, x)

    def test_two_passes_with_different_numbers_of_tokens(self, tree, reentrant):
        model, twin = checkpointed(tree, reentrant)
        self.same(model, twin, self.wide, self.small)
        self.same(model, twin, self.wide, self.wide)

    def test_evaluation_of_another_shape_before_the_backward_pass(self, tree, reentrant):
        model, twin = checkpointed(tree, reentrant)
        first = loss(model, self.wide)
        with torch.no_grad():
            model(self.square)
        for a, b in zip(gradients(model, [first]), gradients(twin, [loss(twin, self.wide)])):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)

    def test_a_pass_without_a_backward_pass_does_no_harm(self, tree, reentrant):
        model, twin = checkpointed(tree, reentrant)
        loss(model, self.square)
        self.same(model, twin, self.wide)

    def test_two_grids_of_as_many_tokens_in_flight_are_an_error(self, tree, reentrant):
        model, _ = checkpointed(tree, reentrant)
        both = loss(model, self.wide) + loss(model, self.square)
        with pytest.raises(RuntimeError, match=r'not certain \(grids in flight: 2x8, 4x4\)'):
            both.backward()


def test_two_grids_in_flight_without_checkpointing():
    model = injected('timm-vit')
    x, y = torch.randn(1, 3, 32, 128), torch.randn(1, 3, 64, 64)
    together = gradients(model, [loss(model, x), loss(model, y)])
    together = [g.clone() for g in together]
    model.zero_grad()
    loss(model, x).backward()
    loss(model, y).backward()
    for a, p in zip(together, (p for p in model.parameters() if p.grad is not None)):
        torch.testing.assert_close(a, p.grad, rtol=1e-4, atol=1e-6)
