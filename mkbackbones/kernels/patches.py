"""The patch embedding as a matrix product.

cuDNN runs a convolution that strides as far as it reaches on its slowest kernel.
"""

import torch
from torch import Tensor, nn

from .linears import half_product


def project_patches(images: Tensor, conv: nn.Conv2d, dtype: torch.dtype) -> Tensor:
    """Project patches in half precision.

    Args:
        images (Tensor): Images (B, 3, h p, w p).
        conv (nn.Conv2d): The convolution, of kernel size and stride p.
        dtype (torch.dtype): The half precision.

    Returns:
        Tensor: Patches (B, h, w, C).
    """
    patch = conv.kernel_size[0]
    x = images.to(dtype).unflatten(3, (-1, patch)).unflatten(2, (-1, patch))
    x = x.permute(0, 2, 4, 1, 3, 5).flatten(3)  # B, h, w, 3 p p
    return half_product(x, conv.weight.flatten(1), conv.bias)
