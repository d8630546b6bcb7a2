"""The Triton kernels against plain PyTorch, values and gradients.

On a GPU in bfloat16 and float16; without one through Triton's interpreter in float32 and float16.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mkbackbones.backbones.windows import (
    merge_windows,
    pad_to_windows,
    partition_windows,
    shifted_window_mask,
)
from mkbackbones.compat.modules import unfused_attention
from mkbackbones.kernels import reference
from mkbackbones.kernels.geometry import Geometry

from ..lacking import needs_operators
from .small import DEVICE, DTYPE, TOLERANCES, error

pytest.importorskip('triton', reason='the kernels need Triton')
pytestmark = needs_operators

every_half = pytest.mark.parametrize('half', [DTYPE, torch.float16], ids=str)


def compare(fused, reference):
    """Errors of outputs of two functions of the same leaves, and of their gradients."""
    (outputs, leaves), (wanted, wanted_leaves) = fused, reference
    seeds = [torch.randn_like(w, dtype=torch.float32) for w in wanted]
    for outs, of in ((outputs, leaves), (wanted, wanted_leaves)):
        torch.autograd.backward(outs, [s.to(o.dtype) for s, o in zip(seeds, outs)], inputs=of)
    errors = [error(a, b) for a, b in zip(outputs, wanted)]
    return errors + [error(a.grad, b.grad) for a, b in zip(leaves, wanted_leaves)]


def leaf(*shape, dtype=torch.float32):
    x = torch.randn(*shape, device=DEVICE, dtype=dtype)
    return x.requires_grad_()


def twins(*tensors):
    return [[t.detach().clone().requires_grad_() for t in tensors] for _ in range(2)]


def norm_of(channels, leaves):
    norm = nn.LayerNorm(channels).to(DEVICE)
    del norm.weight, norm.bias
    norm.weight, norm.bias = leaves
    return norm


GEOMETRIES = [
    Geometry(5, 9, 4),
    Geometry(5, 9, 4, 2),
    Geometry(8, 8, 4, 2),
    Geometry(3, 3, 4, 2),
    Geometry(1, 17),
]


@every_half
@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_window_norm(geometry, half):
    from mkbackbones.kernels.norm import window_norm

    height, width, window, _ = geometry
    x = leaf(2, height, width, 24) if window else leaf(2, width, 24)
    ours, theirs = twins(x, leaf(24), leaf(24))
    fused = window_norm(ours[0], norm_of(24, ours[1:]), geometry, half)
    wanted = reference.window_norm(*theirs, 1e-5, geometry)
    assert fused.dtype == half and fused.shape == wanted.shape
    assert max(compare(([fused], ours), ([wanted], theirs))) < TOLERANCES[half]


@every_half
@pytest.mark.parametrize('scale', [None, (0.0, 1.25)])
@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_merge_norm(geometry, scale, half):
    from mkbackbones.kernels.norm import merge_norm

    height, width, window, _ = geometry
    x = leaf(2, height, width, 24) if window else leaf(2, width, 24)
    branch = torch.randn_like(reference.to_windows(x.detach(), geometry))
    ours, theirs = twins(x, branch, leaf(24), leaf(24))
    scale = None if scale is None else torch.tensor(scale, device=DEVICE)
    fused = merge_norm(ours[0], ours[1].to(half), scale, norm_of(24, ours[2:]), geometry, half)
    wanted = reference.merge_norm(*theirs[:2], scale, *theirs[2:], 1e-5, geometry)
    assert max(compare((fused, ours), (wanted, theirs))) < TOLERANCES[half]


@every_half
@pytest.mark.parametrize('scale', [None, (0.0, 1.25)])
@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_merge_norm_into_windows(geometry, scale, half):
    from mkbackbones.kernels.norm import merge_norm

    height, width, window, _ = geometry
    x = leaf(2, height, width, 24) if window else leaf(2, width, 24)
    ours, theirs = twins(x, torch.randn_like(x), leaf(24), leaf(24))
    scale = None if scale is None else torch.tensor(scale, device=DEVICE)
    norm = norm_of(24, ours[2:])
    fused = merge_norm(ours[0], ours[1].to(half), scale, norm, geometry, half, partition=True)
    wanted = reference.merge_norm(*theirs[:2], scale, *theirs[2:], 1e-5, geometry, True)
    assert fused[1].shape == wanted[1].shape
    assert max(compare((fused, ours), (wanted, theirs))) < TOLERANCES[half]


@pytest.mark.parametrize('size', [4096, 4097])
@pytest.mark.parametrize('act', [nn.GELU(), nn.ReLU(), nn.SiLU(), None], ids=str)
def test_activations(act, size):
    from mkbackbones.kernels.activation import activate, activate_again, activation_name

    z = torch.linspace(-9, 9, size, device=DEVICE).requires_grad_()
    name = activation_name(act)
    wanted = reference.activation(z, name)
    torch.testing.assert_close(wanted, z if act is None else act(z), atol=0, rtol=0)
    wanted.sum().backward()
    inplace, gradient = z.detach().clone(), torch.ones_like(z)
    value = activate_again(inplace, gradient, name, inplace=False)
    torch.testing.assert_close(inplace, z.detach(), atol=0, rtol=0)
    torch.testing.assert_close(value, wanted.detach(), atol=2e-6, rtol=1e-6)
    torch.testing.assert_close(gradient, z.grad, atol=2e-6, rtol=1e-6)
    activate(inplace, name)
    torch.testing.assert_close(inplace, value, atol=0, rtol=0)


@every_half
@pytest.mark.parametrize('bias', [True, False])
def test_half_linear_and_mlp(bias, half):
    from timm.layers import Mlp

    from mkbackbones.kernels.linears import half_linear, half_mlp

    torch.manual_seed(0)
    for module, fused in (
        (nn.Linear(24, 16, bias=bias), half_linear),
        (Mlp(24, 32, 16, bias=bias), half_mlp),
    ):
        module.to(DEVICE)
        x = torch.randn(2, 5, 24, device=DEVICE)
        ours, theirs = twins(x)
        parameters = list(module.parameters())
        y = fused(module, ours[0].to(half))
        assert y.dtype == half
        seed = torch.randn_like(y, dtype=torch.float32)
        grads = torch.autograd.grad(y, [ours[0], *parameters], seed.to(half))
        wanted = module(theirs[0])
        wanted_grads = torch.autograd.grad(wanted, [theirs[0], *parameters], seed)
        assert error(y, wanted) < TOLERANCES[half]
        assert max(error(a, b) for a, b in zip(grads, wanted_grads)) < TOLERANCES[half]
        assert all(g.dtype == torch.float32 for g in grads)
        with torch.no_grad():
            again = error(fused(module, x.to(half)), y)
            assert again < TOLERANCES[half] if fused is half_mlp else again == 0


@every_half
@pytest.mark.parametrize('scaled', [False, True])
@pytest.mark.parametrize('geometry', [Geometry(5, 9, 4, 2), Geometry(1, 17)])
def test_block_tail(geometry, scaled, half):
    from timm.layers import Mlp

    from mkbackbones.kernels.block_tail import Layers, block_tail

    torch.manual_seed(0)
    height, width, window, _ = geometry
    following = Geometry(height, width, window)
    x = leaf(2, height, width, 24) if window else leaf(2, width, 24)
    attended = torch.randn_like(reference.to_windows(x.detach(), geometry))
    norms = [nn.LayerNorm(24).to(DEVICE) for _ in range(2)]
    proj, mlp = nn.Linear(24, 24).to(DEVICE), Mlp(24, 48).to(DEVICE)
    layers = Layers(proj, norms[0], mlp, norms[1])
    scales = [torch.tensor(s, device=DEVICE) if scaled else None for s in ((1.25, 0), (0, 2.0))]
    modules = proj, norms[0], mlp.fc1, mlp.fc2, norms[1]
    parameters = [p for module in modules for p in (module.weight, module.bias)]
    assert layers.are_one_node()
    ours, theirs = twins(x, attended)
    fused = block_tail(ours[0], ours[1].to(half), scales, layers, geometry, following, window > 0)
    theirs += [p.detach().clone().requires_grad_() for p in parameters]
    p = theirs[2:]
    wanted = reference.block_tail(
        *theirs[:2],
        scales,
        p[:2],
        (*p[2:4], norms[0].eps),
        p[4:8],
        (*p[8:], norms[1].eps),
        'gelu',
        geometry,
        following,
        window > 0,
    )
    assert max(compare((fused, [*ours, *parameters]), (wanted, theirs))) < 2 * TOLERANCES[half]


def test_split_heads():
    from mkbackbones.attention.qkv import head_views
    from mkbackbones.kernels.heads import split_heads

    ours, theirs = twins(torch.randn(2, 5, 24, device=DEVICE))
    fused, wanted = split_heads(ours[0], 2), reference.split_heads(theirs[0], 2)
    assert all(map(torch.equal, head_views(theirs[0], 2), wanted))
    assert max(compare((fused, ours), (wanted, theirs))) == 0


@every_half
@pytest.mark.parametrize('grid', [(8, 12, 4, 0), (8, 12, 4, 2), (4, 4, 4, 2), (14, 7, 7, 3)])
def test_window_attention(grid, half):
    from mkbackbones.kernels.window_attention import window_attention

    height, width, window, shift = grid
    rows, columns, tokens = height // window, width // window, window**2
    qkv = torch.randn(2 * rows * columns, tokens, 96, device=DEVICE)
    ours, theirs = twins(qkv, torch.randn(2, tokens, tokens, device=DEVICE))
    fused = window_attention(ours[0].to(half), ours[1], rows, columns, window, shift)
    wanted = reference.window_attention(*theirs, rows, columns, window, shift)
    assert max(compare(([fused], ours), ([wanted], theirs))) < TOLERANCES[half]


@pytest.mark.parametrize('geometry', [g for g in GEOMETRIES if g[2]])
def test_reference_windows_are_the_backbones(geometry):
    """The twins are written on their own; what they say of windows is what the blocks do."""
    height, width, window, shift = geometry
    x = torch.randn(2, height, width, 16, device=DEVICE)
    padded = pad_to_windows(x, window)
    size = padded.shape[1], padded.shape[2]
    windows = partition_windows(torch.roll(padded, (-shift, -shift), dims=(1, 2)), window)
    assert torch.equal(windows, reference.to_windows(x, geometry))
    assert torch.equal(x, reference.from_windows(windows, geometry))
    back = torch.roll(merge_windows(windows, window, size), (shift, shift), dims=(1, 2))
    assert torch.equal(back[:, :height, :width], x)


@pytest.mark.parametrize('size, window, shift', [((8, 12), 4, 2), ((4, 4), 4, 2), ((14, 7), 7, 3)])
def test_reference_mask_is_the_backbones(size, window, shift):
    rows, columns, tokens = size[0] // window, size[1] // window, window**2
    qkv = torch.randn(2 * rows * columns, tokens, 96, device=DEVICE)
    mask = shifted_window_mask(size, window, shift, DEVICE)[:, None].repeat(2, 1, 1, 1)
    q, k, v = qkv.unflatten(-1, (3, 2, 16)).permute(2, 0, 3, 1, 4)
    with unfused_attention():
        wanted = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    wanted = wanted.transpose(1, 2).flatten(2)
    none = torch.zeros(2, tokens, tokens, device=DEVICE)
    found = reference.window_attention(qkv, none, rows, columns, window, shift)
    assert error(found, wanted) < TOLERANCES[torch.float32]


def key_parameters(channels, charts, width, bias, base):
    """Leaves: query and value, base chart, Gamma and charts, for keys of 16 channels."""
    return [
        leaf(32, channels),
        leaf(32) if bias else None,
        leaf(16, channels) if base else None,
        leaf(16) if base and bias else None,
        leaf(charts, channels),
        leaf(charts, width, channels),
        leaf(charts, width),
    ]


def compare_charts(fused, plain, x, parameters, tensors):
    """Errors of a key's kernels, values and gradients of all that there is."""
    given = [t for t in (x, *parameters, *tensors) if t is not None]
    found = []
    for call in (fused, plain):
        own = [t.detach().clone().requires_grad_() for t in given]
        named = iter(own)
        placed = [None if t is None else next(named) for t in (x, *parameters, *tensors)]
        found.append(([call(placed[0], placed[1:8], *placed[8:])], own))
    return max(compare(*found))


@every_half
@pytest.mark.parametrize('bias, base', [(True, True), (False, True), (True, False)])
@pytest.mark.parametrize('act', ['gelu', 'identity'])
@pytest.mark.parametrize('kind', ['mean', 'gated', 'spatial'])
def test_aggregated_charts(kind, act, bias, base, half):
    from mkbackbones.kernels.charts import aggregate_charts
    from mkbackbones.kernels.projections import KeyParameters

    torch.manual_seed(0)
    x, parameters = leaf(2, 13, 24), key_parameters(24, 3, 16, bias, base)
    gate = leaf(2, 13, 3) if kind == 'gated' else None
    spatial = leaf(48, 1, 3, 3) if kind == 'spatial' else None
    scale = leaf(16) if base else None
    place = dict(grid=(3, 4), prefix=1)

    def fused(x, parameters, *tensors):
        args = KeyParameters(*parameters), 3, act, *tensors
        return aggregate_charts(x.to(half), *args, **place)

    def plain(x, parameters, *tensors):
        return reference.aggregate_charts(x, parameters, 3, act, *tensors, **place)

    errors = compare_charts(fused, plain, x, parameters, (scale, gate, spatial))
    assert errors < 2 * TOLERANCES[half]


@every_half
@pytest.mark.parametrize('bias, base', [(True, True), (False, True), (True, False)])
@pytest.mark.parametrize('act', ['gelu', 'silu'])
def test_projected_charts(act, bias, base, half):
    from mkbackbones.kernels.projected_charts import project_charts
    from mkbackbones.kernels.projections import KeyParameters

    torch.manual_seed(0)
    x, parameters = leaf(2, 13, 24), key_parameters(24, 3, 8, bias, base)

    def fused(x, parameters, proj):
        return project_charts(x.to(half), KeyParameters(*parameters), proj, act)

    def plain(x, parameters, proj):
        return reference.project_charts(x, parameters, proj, act)

    assert compare_charts(fused, plain, x, parameters, (leaf(16, 24),)) < 2 * TOLERANCES[half]


@every_half
def test_patches(half):
    from mkbackbones.kernels.patches import project_patches

    ours, theirs = twins(leaf(2, 3, 8, 12))
    conv = nn.Conv2d(3, 16, 4, stride=4).to(DEVICE)
    fused = project_patches(ours[0], conv, half)
    wanted = reference.project_patches(theirs[0], conv.weight, conv.bias)
    assert max(compare(([fused], ours), ([wanted], theirs))) < TOLERANCES[half]


def test_gelu_is_the_exact_one_in_inference_too():
    """The tanh form would be further away than float16's rounding."""
    from timm.layers import Mlp

    from mkbackbones.kernels.linears import half_mlp

    mlp = Mlp(64, 64).to(DEVICE)
    with torch.no_grad():
        for fc in (mlp.fc1, mlp.fc2):
            fc.weight.copy_(torch.eye(64))
            fc.bias.zero_()
    z = torch.linspace(-5, -2, 64 * 64, device=DEVICE).view(1, 64, 64).half()
    wanted = F.gelu(z.double())
    with torch.no_grad():
        inference = half_mlp(mlp, z)
    training = half_mlp(mlp, z)
    for found in (inference, training):
        assert (found.double() - wanted).square().mean().sqrt() < 2e-5
    torch.testing.assert_close(inference, training, rtol=2e-3, atol=1e-7)  # to the last bit
