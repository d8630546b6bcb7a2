"""Convolution at chosen pixels only, with the signatures of mmcv's compiled operators."""

import torch.nn.functional as F
from torch import Tensor


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Write the patch under the kernel at each of N output pixels into ``col``.

    Args:
        im (Tensor): Features of one image, (1, C, H, W).
        mask_h_idx (Tensor): Row of each output pixel, (N,), int64.
        mask_w_idx (Tensor): Column of each output pixel, (N,), int64.
        col (Tensor): Output, (C * kernel_h * kernel_w, N).
        kernel_h (int): Height of the kernel.
        kernel_w (int): Width of the kernel.
        pad_h (int): Zeros above and below the image.
        pad_w (int): Zeros left and right of the image.
    """
    padded = F.pad(im[0], (pad_w, pad_w, pad_h, pad_h))
    patches = padded.unfold(1, kernel_h, 1).unfold(2, kernel_w, 1)  # (C, H', W', kh, kw), a view
    chosen = patches[:, mask_h_idx, mask_w_idx]  # (C, N, kh, kw)
    col.copy_(chosen.permute(0, 2, 3, 1).reshape(col.shape))


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Write one value a channel to each of N pixels of ``im``; leave its other pixels alone.

    Args:
        col (Tensor): (C, N).
        mask_h_idx (Tensor): Row of each pixel, (N,), int64.
        mask_w_idx (Tensor): Column of each pixel, (N,), int64.
        im (Tensor): Output, (1, C, H, W).
        height (int): H.
        width (int): W.
        channels (int): C.
    """
    im[0][:, mask_h_idx, mask_w_idx] = col.to(im)
