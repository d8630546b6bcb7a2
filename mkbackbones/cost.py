"""What a backbone costs: parameters and floating-point operations."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .compat.modules import unfused_attention


@dataclass(frozen=True)
class Cost:
    """Cost of one forward pass.

    Attributes:
        parameters (int): Number of parameters.
        flops (int): Floating-point operations for one image; a multiply-add counts as two.
    """

    parameters: int
    flops: int


def count_cost(model: nn.Module, size: tuple[int, int]) -> Cost:
    """Count parameters and operations of a backbone.

    Matrix products and convolutions count, attention included: its fused kernels are switched
    off, since counters see nothing inside them.

    Args:
        model (nn.Module): Backbone that takes images (B, 3, H, W).
        size (tuple[int, int]): Image height and width, in pixels.

    Returns:
        Cost: The cost for one image.
    """
    device = next(model.parameters()).device
    image = torch.zeros(1, 3, *size, device=device)
    training = model.training
    model.eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), unfused_attention(), counter:
        model(image)
    model.train(training)
    parameters = sum(p.numel() for p in model.parameters())
    return Cost(parameters, counter.get_total_flops())
