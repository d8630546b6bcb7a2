"""CARAFE against a literal loop and finite differences."""

import pytest
import torch


def inputs(device, kernel_size=3, groups=2, scale=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 4, 3, 4, generator=generator, dtype=dtype)
    masks = torch.rand(
        2, groups * kernel_size**2, 3 * scale, 4 * scale, generator=generator, dtype=dtype
    )
    return features.to(device), masks.to(device)


def naive(features, masks, kernel_size, groups, scale):
    """Equation 2 of Wang et al. (2019), zero outside of the map."""
    batch, channels, height, width = features.shape
    output = features.new_zeros(batch, channels, height * scale, width * scale)
    reach = kernel_size // 2
    for c in range(channels):
        group = c // (channels // groups)
        for y in range(height * scale):
            for x in range(width * scale):
                for i in range(kernel_size):
                    for j in range(kernel_size):
                        row, column = y // scale + i - reach, x // scale + j - reach
                        if 0 <= row < height and 0 <= column < width:
                            place = (group * kernel_size + i) * kernel_size + j
                            output[:, c, y, x] += (
                                masks[:, place, y, x] * features[:, c, row, column]
                            )
    return output


@pytest.mark.parametrize('kernel_size, groups, scale', [(3, 2, 2), (5, 1, 2), (1, 4, 3), (3, 1, 1)])
@pytest.mark.parametrize('name', ['carafe', 'carafe_naive'])
def test_values(mmcv_ops, name, kernel_size, groups, scale, device):
    features, masks = inputs(device, kernel_size, groups, scale)
    output = getattr(mmcv_ops, name)(features, masks, kernel_size, groups, scale)
    torch.testing.assert_close(output, naive(features, masks, kernel_size, groups, scale))


@pytest.mark.parametrize('kernel_size, groups, scale', [(3, 2, 2), (5, 1, 2), (1, 4, 3)])
def test_gradients(mmcv_ops, kernel_size, groups, scale, device):
    leaves = [t.requires_grad_() for t in inputs(device, kernel_size, groups, scale)]
    assert torch.autograd.gradcheck(
        lambda f, m: mmcv_ops.carafe(f, m, kernel_size, groups, scale), leaves, fast_mode=True
    )


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_computes_in_float32(mmcv_ops, dtype, device):
    features, masks = (t.to(dtype) for t in inputs(device))
    output = mmcv_ops.carafe(features, masks, 3, 2, 2)
    expected = mmcv_ops.carafe(features.float(), masks.float(), 3, 2, 2)
    assert output.dtype == dtype and output.equal(expected.to(dtype))


def test_the_layer(mmcv_ops, device):
    layer = mmcv_ops.CARAFEPack(4, 2, compressed_channels=8).to(device)
    layer(torch.randn(1, 4, 5, 6, device=device)).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())
