"""Masked convolution against plain convolution, and PSA masks against a literal loop."""

import pytest
import torch
import torch.nn.functional as F


@pytest.mark.parametrize('kernel, padding', [((3, 3), 1), ((3, 5), (1, 2)), ((1, 1), 0)])
def test_masked_conv(mmcv_ops, kernel, padding, device):
    torch.manual_seed(0)
    layer = mmcv_ops.MaskedConv2d(4, 6, kernel, padding=padding).to(device).eval()
    features = torch.randn(1, 4, 7, 8, device=device)
    mask = torch.rand(1, 7, 8, device=device) > 0.6
    with torch.no_grad():
        output = layer(features, mask)
        expected = F.conv2d(features, layer.weight, layer.bias, padding=padding)
    torch.testing.assert_close(output, expected * mask, rtol=1e-5, atol=1e-5)
    assert (layer(features, torch.zeros_like(mask)) == 0).all()


def naive_psa(masks, kind, mask_size):
    """Each pixel's mask, laid over the map with its centre on that pixel (Zhao et al., 2018)."""
    batch, _, height, width = masks.shape
    reach = [(m - 1) // 2 for m in mask_size]
    output = masks.new_zeros(batch, height * width, height, width)
    for h in range(height):
        for w in range(width):
            for i in range(mask_size[0]):
                for j in range(mask_size[1]):
                    row, column = h + i - reach[0], w + j - reach[1]
                    if 0 <= row < height and 0 <= column < width:
                        value = masks[:, i * mask_size[1] + j, h, w]
                        if kind == 'collect':
                            output[:, row * width + column, h, w] = value
                        else:
                            output[:, h * width + w, row, column] = value
    return output


@pytest.mark.parametrize('mask_size', [(5, 7), (3, 3)])
@pytest.mark.parametrize('kind', ['collect', 'distribute'])
def test_psa_mask(mmcv_ops, kind, mask_size, device):
    torch.manual_seed(0)
    masks = torch.randn(2, mask_size[0] * mask_size[1], 3, 4, dtype=torch.float64, device=device)
    layer = mmcv_ops.PSAMask(kind, mask_size)
    assert layer(masks).equal(naive_psa(masks, kind, mask_size))
    assert torch.autograd.gradcheck(layer, masks.requires_grad_())
