"""Pointwise spatial attention masks (Zhao et al., 2018), with mmcv's compiled signatures.

Each pixel (h, w) predicts weights for a mask of the size of the neighbourhood; the operator lays
them out by the absolute pixel (i, j) they speak of, dropping those outside of the feature map.
"""

import torch
from torch import Tensor

_COLLECT = 0  # mmcv's flags: 0 collect, (i, j) along the channels; 1 distribute, (h, w) there


def psamask_forward(
    input: Tensor,
    output: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Write the masks by absolute position into ``output``.

    Args:
        input (Tensor): (num_, h_mask * w_mask, h_feature, w_feature).
        output (Tensor): Output, (num_, h_feature * w_feature, h_feature, w_feature).
        psa_type (int): 0, 'collect': the channel of the output is the pixel spoken of; 1,
            'distribute': it is the pixel that speaks.
        num_ (int): Images.
        h_feature (int): Height of the feature map.
        w_feature (int): Width of the feature map.
        h_mask (int): Height of the mask.
        w_mask (int): Width of the mask.
        half_h_mask (int): Row of the mask that speaks of the pixel itself.
        half_w_mask (int): Column of the mask that speaks of the pixel itself.
    """
    place, inside = _places(
        h_feature, w_feature, h_mask, w_mask, half_h_mask, half_w_mask, input.device
    )
    flat = input.flatten(2)  # (num_, mask, source)
    masks = flat.gather(1, place.expand(num_, -1, -1)).where(inside, 0)  # (num_, about, source)
    output.copy_((masks if psa_type == _COLLECT else masks.mT).reshape(output.shape))


def psamask_backward(
    grad_output: Tensor,
    grad_input: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Write the gradient of the input into ``grad_input``.

    The other arguments are those of :func:`psamask_forward`.
    """
    place, inside = _places(
        h_feature, w_feature, h_mask, w_mask, half_h_mask, half_w_mask, grad_output.device
    )
    grad = grad_output.reshape(num_, h_feature * w_feature, h_feature * w_feature)
    grad = (grad if psa_type == _COLLECT else grad.mT).where(inside, 0)
    # At most one pixel inside reads each place of the mask, so the sum only adds zeros to it.
    flat = torch.zeros_like(grad_input).flatten(2)
    flat.scatter_add_(1, place.expand(num_, -1, -1), grad.to(flat))
    grad_input.copy_(flat.reshape(grad_input.shape))


def _places(
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Index into the mask for each pair (pixel spoken of, pixel that speaks).

    Returns:
        tuple[Tensor, Tensor]: (P, P) with P = h_feature * w_feature: the index, 0 where the pair
        is farther apart than the mask reaches, and whether it is inside.
    """
    rows = torch.arange(h_feature, device=device)
    columns = torch.arange(w_feature, device=device)
    row = (rows[:, None] - rows + half_h_mask)[:, None, :, None]
    column = (columns[:, None] - columns + half_w_mask)[None, :, None, :]
    inside = (row >= 0) & (row < h_mask) & (column >= 0) & (column < w_mask)
    place = (row * w_mask + column).where(inside, 0)
    size = h_feature * w_feature
    return place.reshape(size, size), inside.reshape(size, size)
