"""Residual branches with stochastic depth, and blocks one after another."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..compat.modes import is_compiling
from ..fused.decision import Plan
from ..fused.exact import is_heard

#: What each image's branch is multiplied by (B,), for the two branches of a block; None for 1.
Scales = tuple[Tensor | None, Tensor | None]


class Fused(NamedTuple):
    """What a block gets that runs on the Triton kernels.

    Attributes:
        dtype (torch.dtype): The half precision.
        scales (tuple): Stochastic depth of the two branches.
        normed (Tensor | None): What the block's ``norm1`` gives, where the block before has worked
            it out; a Swin block's in windows.
        following (nn.Module | None): The next block, for what its ``norm1`` gives to be worked out.
    """

    dtype: torch.dtype
    scales: Scales
    normed: Tensor | None = None
    following: Any = None


def keep_rate(drop_path: nn.Module) -> float:
    """Share of the images whose branch is kept."""
    if isinstance(drop_path, DropPath) and drop_path.training:
        return 1 - drop_path.drop_prob
    return 1.0


def draw_scales(block: Any, x: Tensor) -> Scales:
    """Draw what timm's ``DropPath`` of both branches would draw for images ``x`` (B, ...)."""
    scales: list[Tensor | None] = []
    for keep in (keep_rate(block.drop_path1), keep_rate(block.drop_path2)):
        if keep == 1:
            scales.append(None)
            continue
        scale = x.new_empty(x.shape[0], dtype=torch.float32).bernoulli_(keep)
        scales.append(scale / keep if keep > 0 else scale)
    return scales[0], scales[1]


def draw_all_scales(blocks: Sequence[Any], x: Tensor) -> list[Scales]:
    """As :func:`draw_scales`, for many blocks at once, in another order of random numbers."""
    rates = tuple(keep_rate(path) for b in blocks for path in (b.drop_path1, b.drop_path2))
    if all(keep == 1 for keep in rates):
        return [(None, None)] * len(blocks)
    if is_compiling():
        return [draw_scales(block, x) for block in blocks]
    keep = column(rates, x.device)
    scales = torch.rand(len(rates), x.shape[0], device=x.device).lt(keep) / keep.clamp(min=1e-6)
    drawn = [None if rate == 1 else scale for rate, scale in zip(rates, scales.unbind(0))]
    return list(zip(drawn[::2], drawn[1::2]))


@lru_cache(64)
def column(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers on a device (n, 1), copied there once."""
    return torch.tensor(values, device=device)[:, None]


def run_blocks(
    blocks: nn.ModuleList | Sequence[nn.Module],
    x: Tensor,
    args: tuple,
    plan: Plan | None,
    served: Sequence[bool],
    with_cp: bool,
) -> Iterator[Tensor]:
    """Run blocks one after another, and yield the tokens behind each.

    A block's last residual sum and the next block's first norm are one kernel where both blocks
    are fused and nobody listens in between: the block then returns the tokens and their norm.

    Args:
        blocks (nn.ModuleList | Sequence[nn.Module]): ``SwinBlock`` or ``ViTBlock``.
        x (Tensor): Tokens.
        args (tuple): Further arguments of each block.
        plan (Plan, optional): What the pass runs on the Triton kernels.
        served (Sequence[bool]): For each block, whether the plan serves it.
        with_cp (bool): Recompute each block in the backward pass.
    """
    scales = iter(draw_all_scales([b for b, fused in zip(blocks, served) if fused], x))
    alone = [not fused or is_heard(block) for block, fused in zip(blocks, served)] + [True]
    normed: Tensor | None = None
    for i, block in enumerate(blocks):
        inputs: tuple = x, *args
        join = not alone[i] and not alone[i + 1]
        if served[i] and plan is not None:
            following = blocks[i + 1] if join else None
            inputs += (Fused(plan.dtype, next(scales), normed, following),)
        if with_cp and torch.is_grad_enabled():
            out = checkpoint(block, *inputs, use_reentrant=False)
        else:
            out = block(*inputs)
        x, normed = out if join else (out, None)
        yield x
