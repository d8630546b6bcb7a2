"""Norms outside of blocks."""

from torch import Tensor, nn

from ..fused.decision import Plan, serves


def normalise(norm: nn.LayerNorm, x: Tensor, plan: Plan | None) -> Tensor:
    """``norm(x)`` for tokens (..., C), in one pass over memory where the kernels serve."""
    if not serves(plan, norm):
        return norm(x)
    from ..kernels.norm import layer_norm

    return layer_norm(x, norm, plan.norm_dtype)
