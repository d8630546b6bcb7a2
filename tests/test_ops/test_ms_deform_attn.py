"""Multi-scale deformable attention against a literal loop and mmcv's own fallback."""

import math

import pytest
import torch

SHAPES = [(5, 4), (3, 2), (1, 1)]


@pytest.fixture
def attention(mmcv_ops):
    from mmcv.ops import multi_scale_deform_attn as module

    return module


def inputs(device, dtype=torch.float64, batch=2, heads=2, dim=3, queries=4, points=2):
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.rand(*shape, generator=generator, dtype=dtype).to(device)

    shapes = torch.tensor(SHAPES, device=device)
    sizes = shapes.prod(1)
    value = random(batch, int(sizes.sum()), heads, dim) - 0.5
    # Some points lie outside of the maps.
    locations = random(batch, queries, heads, len(SHAPES), points, 2) * 1.6 - 0.3
    weights = random(batch, queries, heads, len(SHAPES), points)
    return value, shapes, sizes.cumsum(0) - sizes, locations, weights


def naive(value, shapes, starts, locations, weights):
    """Equation 3 of Zhu et al. (2021), pixel centres at (i + 0.5) / size, zero outside."""
    batch, _, heads, dim = value.shape
    queries, points = locations.shape[1], locations.shape[4]
    output = value.new_zeros(batch, queries, heads, dim)
    for b in range(batch):
        for q in range(queries):
            for m in range(heads):
                for level, (height, width) in enumerate(shapes.tolist()):
                    for p in range(points):
                        x, y = locations[b, q, m, level, p].tolist()
                        x, y = x * width - 0.5, y * height - 0.5
                        for row in (math.floor(y), math.floor(y) + 1):
                            for column in (math.floor(x), math.floor(x) + 1):
                                if 0 <= row < height and 0 <= column < width:
                                    share = (1 - abs(y - row)) * (1 - abs(x - column))
                                    token = starts[level] + row * width + column
                                    output[b, q, m] += (
                                        weights[b, q, m, level, p] * share * value[b, token, m]
                                    )
    return output.flatten(2)


def test_values(attention, device):
    tensors = inputs(device)
    output = attention.MultiScaleDeformableAttnFunction.apply(*tensors, 64)
    torch.testing.assert_close(output, naive(*tensors))


def test_gradients(attention, device):
    value, shapes, starts, locations, weights = inputs(device)
    leaves = [t.requires_grad_() for t in (value, locations, weights)]

    def function(value, locations, weights):
        return attention.MultiScaleDeformableAttnFunction.apply(
            value, shapes, starts, locations, weights, 64
        )

    assert torch.autograd.gradcheck(function, leaves, nondet_tol=1e-9)


def test_agrees_with_the_fallback_of_mmcv(attention, device):
    value, shapes, starts, locations, weights = inputs(device, torch.float32, queries=50, dim=8)
    results = []
    for function in (
        lambda v, x, w: attention.MultiScaleDeformableAttnFunction.apply(
            v, shapes, starts, x, w, 64
        ),
        lambda v, x, w: attention.multi_scale_deformable_attn_pytorch(v, shapes, x, w),
    ):
        leaves = [t.clone().requires_grad_() for t in (value, locations, weights)]
        output = function(*leaves)
        output.square().sum().backward()
        results.append([output, *(t.grad for t in leaves)])
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_computes_in_float32(attention, dtype, device):
    value, shapes, starts, locations, weights = inputs(device, torch.float32)
    results = []
    for cast in (dtype, torch.float32):
        leaves = [t.to(dtype).to(cast).requires_grad_() for t in (value, locations, weights)]
        output = attention.MultiScaleDeformableAttnFunction.apply(
            leaves[0], shapes, starts, *leaves[1:], 64
        )
        output.sum().backward()
        assert output.dtype == cast
        results.append([output, *(t.grad for t in leaves)])
    for low, full in zip(*results):
        torch.testing.assert_close(low, full.to(dtype))


@pytest.mark.parametrize('dtype', [None, torch.float16, torch.bfloat16])
def test_the_layer(mmcv_ops, dtype, device):
    if device == 'cpu' and dtype == torch.float16:
        return  # mmcv's fallback for the CPU has no float16
    _, shapes, starts, _, _ = inputs(device)
    torch.manual_seed(0)
    layer = mmcv_ops.MultiScaleDeformableAttention(16, 2, len(SHAPES), 2, batch_first=True)
    layer = layer.to(device)
    query = torch.randn(2, int(shapes.prod(1).sum()), 16, device=device)
    reference = torch.rand(2, query.shape[1], len(SHAPES), 2, device=device)
    with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
        output = layer(
            query,
            value=query,
            reference_points=reference,
            spatial_shapes=shapes,
            level_start_index=starts,
        )
    output.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())
