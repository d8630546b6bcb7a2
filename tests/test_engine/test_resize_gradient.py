"""Gradients of bilinear resizing: PyTorch's own, computed in another way."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import mkbackbones.engine.resize_gradient as resize_gradient
from mkbackbones.engine.resize_gradient import ResizeGradients

from .tiny import MANIFOLD_SWIN, segmentation_config, train

pytest.importorskip('mmseg')

ORDERS = [torch.contiguous_format, torch.channels_last]
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@pytest.fixture
def put_in():
    """The gradients, on the CPU as well; a count of their calls."""
    gradients = ResizeGradients('CPU')
    yield
    gradients.close()


def gradient(x, grad, **how):
    """The gradient at the input of bilinear resizing."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(F.interpolate(x, mode='bilinear', **how), x, grad)[0]


@given(
    before=SIZES,
    after=SIZES,
    align=st.booleans(),
    order=st.sampled_from(ORDERS),
    channels=st.integers(1, 3),
)
def test_it_is_the_gradient_of_pytorch(before, after, align, order, channels):
    torch.manual_seed(0)
    x = torch.randn(2, channels, *before, dtype=torch.float64).to(memory_format=order)
    grad = torch.randn(2, channels, *after, dtype=torch.float64).to(memory_format=order)
    how = dict(size=after, align_corners=align)
    wanted = gradient(x, grad, **how)
    gradients = ResizeGradients('CPU')
    try:
        ours = gradient(x, grad, **how)
    finally:
        gradients.close()
    torch.testing.assert_close(ours, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('order', ORDERS, ids=['channels first', 'channels last'])
def test_maps_keep_their_order_in_memory(put_in, order):
    x = torch.randn(2, 8, 4, 6).to(memory_format=order)
    grad = torch.randn(2, 8, 8, 12).to(memory_format=order)
    assert gradient(x, grad, size=(8, 12)).is_contiguous(memory_format=order)


def test_gaps_in_a_gradient_do_no_harm(put_in):
    x, grad = torch.randn(2, 3, 4, 6), torch.randn(2, 3, 12, 8).transpose(2, 3)
    assert not any(grad.is_contiguous(memory_format=order) for order in ORDERS)
    ours = gradient(x, grad, size=(8, 12))
    torch.testing.assert_close(ours, gradient(x, grad.contiguous(), size=(8, 12)))


def test_a_scale_that_was_asked_for_counts():
    x, how = torch.randn(1, 2, 7, 9), dict(scale_factor=(1.7, 2.3))
    grad = torch.randn_like(F.interpolate(x, mode='bilinear', **how))
    wanted = gradient(x, grad, **how)
    gradients = ResizeGradients('CPU')
    ours = gradient(x, grad, **how)
    gradients.close()
    torch.testing.assert_close(ours, wanted)
    by_size = gradient(x, grad, size=grad.shape[2:])
    assert not torch.allclose(ours, by_size)


def test_half_precision_is_rounded_once_an_axis(put_in):
    """As exact as bfloat16 tells: PyTorch's own rounds each of 64 additions."""
    torch.manual_seed(0)
    x, grad = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 64, 64).abs().bfloat16()
    exact = gradient(x, grad.float(), size=(64, 64))
    ours = gradient(x.bfloat16(), grad, size=(64, 64))
    error = (ours - exact).norm() / exact.norm()
    assert ours.dtype == torch.bfloat16
    assert error < 2**-8


def test_autocast_does_not_round_what_is_exact(put_in):
    x, grad = torch.randn(1, 2, 4, 4), torch.randn(1, 2, 8, 8)
    wanted = gradient(x, grad, size=(8, 8))
    with torch.autocast('cpu', torch.bfloat16):
        ours = gradient(x, grad, size=(8, 8))
    assert torch.equal(ours, wanted)


def test_gradients_of_gradients(put_in):
    x = torch.randn(1, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(
        lambda y: F.interpolate(y, size=(5, 6), mode='bilinear') ** 2, x
    )


def test_a_segmentor_trains_as_without_and_pytorch_has_its_kernel_back(
    images, tmp_path, monkeypatch
):
    calls = []

    def counted(*args):
        calls.append(args)
        return ours(*args)

    ours = resize_gradient.resize_gradient
    monkeypatch.setattr(resize_gradient, 'resize_gradient', counted)
    monkeypatch.setattr(resize_gradient, 'ResizeGradients', partial(ResizeGradients, 'CPU'))
    plain = train(segmentation_config(images, tmp_path / 'a', MANIFOLD_SWIN))
    assert not calls
    hook = dict(type='mkbackbones.ResizeGradientHook')
    hooked = train(segmentation_config(images, tmp_path / 'b', MANIFOLD_SWIN, custom_hooks=[hook]))
    for here, there in zip(hooked.losses, plain.losses, strict=True):
        assert here == pytest.approx(there, rel=1e-4)
    met = len(calls)
    assert met >= len(hooked.losses)
    gradient(torch.randn(1, 1, 2, 2), torch.ones(1, 1, 4, 4), size=(4, 4))
    assert len(calls) == met
