"""Deformable convolutions against a literal loop, plain convolution and finite differences."""

import pytest
import torch
import torch.nn.functional as F

# stride, padding, dilation, groups, deform_groups
GEOMETRIES = [(1, 1, 1, 1, 1), (2, 1, 1, 2, 1), ((1, 2), (2, 1), (2, 1), 1, 2), (1, 0, 1, 2, 4)]


def inputs(geometry, device, modulated, batch=2):
    stride, padding, dilation, groups, deform_groups = geometry
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(device)

    maps, weight = random(batch, 4, 6, 7), random(4, 4 // groups, 3, 2)
    size = F.conv2d(maps, weight, None, stride, padding, dilation, groups).shape[2:]
    offset = random(batch, deform_groups * 2 * 6, *size) * 1.5
    if not modulated:
        return [maps, offset, weight]
    mask = random(batch, deform_groups * 6, *size).sigmoid()
    return [maps, offset, mask, weight, random(4)]


def convolve(mmcv_ops, tensors, geometry):
    if len(tensors) == 3:
        return mmcv_ops.deform_conv2d(*tensors, *geometry)
    return mmcv_ops.modulated_deform_conv2d(*tensors, *geometry)


def sample(plane, y, x):
    """Bilinear value at a point of one map, zero outside of it."""
    height, width = plane.shape
    total = 0.0
    y0, x0 = int(torch.floor(y)), int(torch.floor(x))
    for row in (y0, y0 + 1):
        for column in (x0, x0 + 1):
            if 0 <= row < height and 0 <= column < width:
                total = (
                    total + (1 - (y - row).abs()) * (1 - (x - column).abs()) * plane[row, column]
                )
    return total


def naive(tensors, geometry):
    """The definition (Dai et al., 2017; Zhu et al., 2019), one output value at a time."""
    maps, offset, *rest = tensors
    mask, weight, bias = rest if len(rest) == 3 else (None, *rest, None)
    stride, padding, dilation, groups, deform_groups = geometry
    (sy, sx), (py, px), (dy, dx) = (
        v if isinstance(v, tuple) else (v, v) for v in (stride, padding, dilation)
    )
    out_channels, in_channels, kernel_h, kernel_w = weight.shape
    batch, channels = maps.shape[:2]
    output = maps.new_zeros(batch, out_channels, *offset.shape[2:])
    for b in range(batch):
        for o in range(out_channels):
            first = o // (out_channels // groups) * in_channels
            for i in range(output.shape[2]):
                for j in range(output.shape[3]):
                    for c in range(in_channels):
                        deform = (first + c) // (channels // deform_groups)
                        for k in range(kernel_h * kernel_w):
                            place = deform * kernel_h * kernel_w + k
                            y = i * sy - py + k // kernel_w * dy + offset[b, 2 * place, i, j]
                            x = j * sx - px + k % kernel_w * dx + offset[b, 2 * place + 1, i, j]
                            value = sample(maps[b, first + c], y, x)
                            if mask is not None:
                                value = value * mask[b, place, i, j]
                            output[b, o, i, j] += weight[o, c].flatten()[k] * value
    return output if bias is None else output + bias[:, None, None]


@pytest.mark.parametrize('modulated', [False, True])
@pytest.mark.parametrize('geometry', GEOMETRIES[1:3])
def test_values(mmcv_ops, geometry, modulated, device):
    tensors = inputs(geometry, 'cpu', modulated, batch=1)
    output = convolve(mmcv_ops, [t.to(device) for t in tensors], geometry)
    torch.testing.assert_close(output.cpu(), naive(tensors, geometry))


@pytest.mark.parametrize('modulated', [False, True])
@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_without_offsets_it_is_a_convolution(mmcv_ops, geometry, modulated, device):
    maps, offset, *rest = inputs(geometry, device, modulated)
    if modulated:
        rest[0] = torch.ones_like(rest[0])
    output = convolve(mmcv_ops, [maps, torch.zeros_like(offset), *rest], geometry)
    weight, bias = rest[1:] if modulated else (rest[0], None)
    torch.testing.assert_close(output, F.conv2d(maps, weight, bias, *geometry[:4]))


@pytest.mark.parametrize('modulated', [False, True])
@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_gradients(mmcv_ops, geometry, modulated, device):
    tensors = [t.requires_grad_() for t in inputs(geometry, device, modulated)]
    assert torch.autograd.gradcheck(
        lambda *t: convolve(mmcv_ops, t, geometry), tensors, nondet_tol=1e-9, fast_mode=True
    )


@pytest.mark.parametrize('wanted', [(0,), (1,), (2,), (0, 1), (0, 2)])
def test_gradients_of_some_inputs_only(mmcv_ops, wanted, device):
    everything = [t.requires_grad_() for t in inputs(GEOMETRIES[0], device, False)]
    convolve(mmcv_ops, everything, GEOMETRIES[0]).square().sum().backward()
    some = [t.detach().requires_grad_(i in wanted) for i, t in enumerate(everything)]
    output = convolve(mmcv_ops, some, GEOMETRIES[0])
    output.square().sum().backward(retain_graph=True)
    # A second pass through the same graph, with another gradient.
    (2 * output.square().sum()).backward()
    for i in wanted:
        torch.testing.assert_close(some[i].grad, 3 * everything[i].grad)


def test_im2col_step_does_not_matter(mmcv_ops, device):
    tensors = inputs(GEOMETRIES[0], device, False, batch=4)
    whole = mmcv_ops.deform_conv2d(*tensors, *GEOMETRIES[0], False, 4)
    steps = mmcv_ops.deform_conv2d(*tensors, *GEOMETRIES[0], False, 2)
    torch.testing.assert_close(whole, steps)


def test_modulated_without_bias(mmcv_ops, device):
    *tensors, bias = inputs(GEOMETRIES[0], device, True)
    output = convolve(mmcv_ops, [*tensors, None], GEOMETRIES[0])
    expected = convolve(mmcv_ops, [*tensors, bias], GEOMETRIES[0]) - bias[:, None, None]
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize('modulated', [False, True])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_computes_in_float32(mmcv_ops, dtype, modulated, device):
    tensors = [t.to(dtype) for t in inputs(GEOMETRIES[0], device, modulated)]
    low = [t.clone().requires_grad_() for t in tensors]
    full = [t.float().requires_grad_() for t in tensors]
    output = convolve(mmcv_ops, low, GEOMETRIES[0])
    expected = convolve(mmcv_ops, full, GEOMETRIES[0])
    assert output.dtype == dtype
    torch.testing.assert_close(output, expected.to(dtype))
    output.sum().backward()
    expected.sum().backward()
    for a, b in zip(low, full):
        torch.testing.assert_close(a.grad, b.grad.to(dtype))


def test_layers_under_autocast(mmcv_ops, device):
    maps = torch.randn(2, 4, 8, 8, device=device, requires_grad=True)
    for layer in (
        mmcv_ops.DeformConv2dPack(4, 4, 3, padding=1),
        mmcv_ops.ModulatedDeformConv2dPack(4, 4, 3, padding=1),
        mmcv_ops.SAConv2d(4, 4, 3, padding=1, use_deform=True, bias=False),  # its bias is unused
    ):
        layer.to(device)
        with torch.autocast(device, dtype=torch.bfloat16):
            output = layer(maps)
        output.float().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


def test_fields_of_a_larger_map_are_read_from_the_first_number_on(mmcv_ops, device):
    """As compiled mmcv does, and DyHead needs."""
    maps, offset, mask, weight, bias = inputs(GEOMETRIES[0], device, True)
    size, generator = offset.shape[2:], torch.Generator().manual_seed(1)
    larger = [
        torch.randn(2, t.shape[1], 9, 8, generator=generator, dtype=t.dtype).to(device)
        for t in (offset, mask)
    ]
    read = [t.flatten(1)[:, : o[0].numel()].view_as(o) for t, o in zip(larger, (offset, mask))]

    def run(*fields):
        fields = [field.detach().requires_grad_() for field in fields]
        output = convolve(mmcv_ops, [maps, *fields, weight, bias], GEOMETRIES[0])
        output.square().sum().backward()
        return output, *(field.grad for field in fields)

    output, *grads = run(*larger)
    expected, *expected_grads = run(*read)
    assert output.shape[2:] == size
    torch.testing.assert_close(output, expected)
    for grad, wanted in zip(grads, expected_grads):
        flat = grad.flatten(1)
        torch.testing.assert_close(flat[:, : wanted[0].numel()], wanted.flatten(1))
        assert not flat[:, wanted[0].numel() :].any()


def test_fields_of_a_smaller_map_are_refused(mmcv_ops, device):
    maps, offset, mask, weight, bias = inputs(GEOMETRIES[0], device, True)
    with pytest.raises(ValueError, match='too small for an output'):
        convolve(mmcv_ops, [maps, offset[..., :-1], mask, weight, bias], GEOMETRIES[0])
