"""Gradients of bilinear resizing as matrix products, in the place of PyTorch's atomic additions."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from ..registry import HOOKS


def weights(
    entering: int, leaving: int, align_corners: bool, scale: float | None, like: Tensor
) -> Tensor:
    """How much each entering place counts in each leaving one along one axis.

    They are PyTorch's own: the places of a unit matrix are resized.

    Args:
        entering (int): Places before resizing.
        leaving (int): Places after it.
        align_corners (bool): As in ``torch.nn.functional.interpolate``.
        scale (float | None): The scale that was asked for, where it was no size.
        like (Tensor): Whose device and type they have.

    Returns:
        Tensor: (entering, leaving).
    """
    exact = torch.promote_types(like.dtype, torch.float32)
    places = torch.eye(entering, dtype=exact, device=like.device)
    resized = torch.ops.aten.upsample_linear1d(places[None], [leaving], align_corners, scale)
    return resized[0].to(like.dtype)


def resize_gradient(
    grad_output: Tensor,
    output_size: Sequence[int],
    input_size: Sequence[int],
    align_corners: bool,
    scales_h: float | None = None,
    scales_w: float | None = None,
) -> Tensor:
    """What ``aten::upsample_bilinear2d_backward`` computes: rows and columns, one after the other.

    PyTorch's kernel lets each output add to the four inputs around it. In half precision these
    additions are slow, each is rounded, and their order is left to chance (pytorch#140096). Here
    sums are kept in float32, as in any matrix product, and the same every time.

    Args:
        grad_output (Tensor): (B, C, height, width), in either order in memory, which is kept.
        output_size (Sequence[int]): height, width.
        input_size (Sequence[int]): B, C, H, W.
        align_corners (bool): As in ``torch.nn.functional.interpolate``.
        scales_h (float | None): Scale of the rows, where one was asked for and no size.
        scales_w (float | None): That of the columns.

    Returns:
        Tensor: (B, C, H, W).
    """
    batch, channels, height, width = input_size
    # A backward pass in the calling thread may be inside autocast, which would round float32.
    with torch.autocast(grad_output.device.type, enabled=False):
        rows = weights(height, output_size[0], align_corners, scales_h, grad_output)
        columns = weights(width, output_size[1], align_corners, scales_w, grad_output)
        if grad_output.is_contiguous() or not grad_output.is_contiguous(
            memory_format=torch.channels_last
        ):
            return rows @ (grad_output.contiguous() @ columns.T)
        lines = grad_output.permute(0, 2, 3, 1).reshape(batch, output_size[0], -1)
        lines = (rows @ lines).view(batch * height, output_size[1], channels)
        return (columns @ lines).view(batch, height, width, channels).permute(0, 3, 1, 2)


class ResizeGradients:
    """While it is open, gradients of bilinear resizing are :func:`resize_gradient`'s.

    They are put in the place of PyTorch's kernel for a kind of device, so that whatever resizes
    takes them, and forward passes stay as they are.

    Args:
        key (str): The kind of device, as PyTorch's dispatcher names it.
    """

    def __init__(self, key: str = 'CUDA') -> None:
        self.library: torch.library.Library | None = torch.library.Library('aten', 'IMPL')
        with warnings.catch_warnings():
            # PyTorch says that a kernel of its own gives way; that is what was asked for.
            warnings.simplefilter('ignore', UserWarning)
            self.library.impl('upsample_bilinear2d_backward', resize_gradient, key)

    def close(self) -> None:
        """Put PyTorch's kernel back."""
        self.library = None  # what it has put in goes with the last reference


@HOOKS.register_module()
class ResizeGradientHook(Hook):
    """Train with gradients of bilinear resizing that are sums and not atomic additions.

    ``custom_hooks=[dict(type='mkbackbones.ResizeGradientHook')]``, for heads that resize maps:
    mmseg's UPerNet, SegFormer, Semantic FPN and others, Mask2Former. On a GPU alone; elsewhere
    PyTorch's own do. See :func:`resize_gradient`.
    """

    def __init__(self) -> None:
        self.gradients: ResizeGradients | None = None

    def before_run(self, runner: Runner) -> None:
        """Put them in."""
        if self.gradients is None:
            self.gradients = ResizeGradients()

    def after_run(self, runner: Runner) -> None:
        """Take them out again."""
        if self.gradients is not None:
            self.gradients.close()
            self.gradients = None
