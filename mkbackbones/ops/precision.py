"""The precision in which the operators compute."""

import torch
from torch import Tensor


def widen(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Cast float16 and bfloat16 tensors to float32 and leave the others as they are.

    torchvision's kernels lack these types in part (bfloat16 everywhere, float16 on the CPU), and
    box coordinates and interpolation weights need more than their 8 to 11 significant bits.
    """
    return tuple(t.float() if t.dtype in (torch.float16, torch.bfloat16) else t for t in tensors)
