"""RoIAlign against a literal loop, and its gradient against finite differences."""

import math

import pytest
import torch

ROIS = [
    [0, 1.3, 0.7, 9.2, 6.1],
    [1, -3.0, -2.5, 4.0, 30.0],  # reaches out of the map on three sides
    [1, 5.2, 5.1, 5.4, 5.2],  # smaller than a pixel
    [0, 0.0, 0.0, 13.0, 11.0],
]


def inputs(device, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 11, 13, generator=generator, dtype=dtype)
    return maps.to(device), torch.tensor(ROIS, dtype=dtype, device=device)


def bilinear(plane, y, x):
    """Value at a point of one map: the border pixels reach out one pixel, beyond is zero."""
    height, width = len(plane), len(plane[0])
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    fy, fx = y - y0, x - x0
    top = (1 - fx) * plane[y0][x0] + fx * plane[y0][x1]
    bottom = (1 - fx) * plane[y1][x0] + fx * plane[y1][x1]
    return (1 - fy) * top + fy * bottom


def naive(maps, rois, size, scale, ratio, aligned):
    output = torch.zeros(len(rois), maps.shape[1], *size, dtype=torch.float64)
    shift = 0.5 if aligned else 0.0
    for k, (image, *corners) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (c * scale - shift for c in corners)
        height, width = y2 - y1, x2 - x1
        if not aligned:
            height, width = max(height, 1), max(width, 1)
        cell_h, cell_w = height / size[0], width / size[1]
        n_y = ratio or math.ceil(cell_h)
        n_x = ratio or math.ceil(cell_w)
        for c, plane in enumerate(maps[int(image)].tolist()):
            for i in range(size[0]):
                for j in range(size[1]):
                    samples = [
                        bilinear(
                            plane,
                            y1 + (i + (a + 0.5) / n_y) * cell_h,
                            x1 + (j + (b + 0.5) / n_x) * cell_w,
                        )
                        for a in range(n_y)
                        for b in range(n_x)
                    ]
                    output[k, c, i, j] = sum(samples) / max(len(samples), 1)
    return output


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('scale', [1.0, 0.5])
def test_values(mmcv_ops, aligned, ratio, scale, device):
    maps, rois = inputs(device)
    output = mmcv_ops.roi_align(maps, rois, (2, 3), scale, ratio, 'avg', aligned)
    expected = naive(maps, rois, (2, 3), scale, ratio, aligned)
    torch.testing.assert_close(output.cpu(), expected)


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
def test_gradient(mmcv_ops, aligned, ratio, device):
    maps, rois = inputs(device)
    maps.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda m: mmcv_ops.roi_align(m, rois, (2, 3), 0.7, ratio, 'avg', aligned),
        maps,
        nondet_tol=1e-9,  # atomic additions on the GPU
    )


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_computes_in_float32(mmcv_ops, dtype, device):
    maps, rois = inputs(device, torch.float32)
    maps, rois = maps.to(dtype), rois.to(dtype)
    low, full = maps.clone().requires_grad_(), maps.float().requires_grad_()
    output = mmcv_ops.roi_align(low, rois, (2, 2), 1.0, 2)
    expected = mmcv_ops.roi_align(full, rois.float(), (2, 2), 1.0, 2)
    assert output.dtype == dtype and output.equal(expected.to(dtype))
    output.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(low.grad, full.grad.to(dtype))


def test_any_memory_layout(mmcv_ops, device):
    maps, rois = inputs(device, torch.float32)
    strided = maps.to(memory_format=torch.channels_last)
    layer = mmcv_ops.RoIAlign((3, 3))
    torch.testing.assert_close(layer(strided, rois), layer(maps, rois))


def test_no_regions(mmcv_ops, device):
    maps, rois = inputs(device)
    maps.requires_grad_()
    output = mmcv_ops.roi_align(maps, rois[:0], (2, 2))
    assert output.shape == (0, 3, 2, 2)
    output.sum().backward()
    assert (maps.grad == 0).all()


def test_maximum_is_refused_by_name(mmcv_ops):
    maps, rois = inputs('cpu')
    with pytest.raises(NotImplementedError, match=r"pool_mode='max'.*MMCV_WITH_OPS=1"):
        mmcv_ops.roi_align(maps, rois, (2, 2), 1.0, 0, 'max')
