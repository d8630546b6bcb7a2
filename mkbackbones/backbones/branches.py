"""Residual branches with stochastic depth, and blocks one after another."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..kernels import is_heard

#: What each image's branch is multiplied by (B,), for the two branches of a block; None for 1.
Scales = tuple[Tensor | None, Tensor | None]


def keep_rate(drop_path: nn.Module) -> float:
    """Share of the images whose branch is kept."""
    if isinstance(drop_path, DropPath) and drop_path.training:
        return 1 - drop_path.drop_prob
    return 1.0


def draw_scales(block: nn.Module, x: Tensor) -> Scales:
    """Draw what timm's ``DropPath`` of both branches would draw for images ``x`` (B, ...)."""
    scales = []
    for keep in (keep_rate(block.drop_path1), keep_rate(block.drop_path2)):
        if keep == 1:
            scales.append(None)
            continue
        scale = x.new_empty(x.shape[0], dtype=torch.float32).bernoulli_(keep)
        scales.append(scale / keep if keep > 0 else scale)
    return scales[0], scales[1]


def draw_all_scales(blocks: Sequence[nn.Module], x: Tensor) -> list[Scales]:
    """As :func:`draw_scales`, for many blocks at once, in another order of random numbers."""
    rates = tuple(keep_rate(path) for b in blocks for path in (b.drop_path1, b.drop_path2))
    if all(keep == 1 for keep in rates):
        return [(None, None)] * len(blocks)
    if torch.compiler.is_compiling():
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
    blocks: Sequence[nn.Module], x: Tensor, args: tuple, fused: bool, with_cp: bool
) -> Iterator[Tensor]:
    """Run blocks one after another, and yield the tokens behind each.

    A block's last residual sum and the next block's first norm are one kernel where the blocks are
    fused and nobody listens in between: the block then returns the tokens and their norm.

    Args:
        blocks (Sequence[nn.Module]): ``SwinBlock`` or ``ViTBlock``.
        x (Tensor): Tokens.
        args (tuple): Further arguments of each block.
        fused (bool): Whether the blocks run on the Triton kernels.
        with_cp (bool): Recompute each block in the backward pass.
    """
    scales = draw_all_scales(blocks, x) if fused else [None] * len(blocks)
    normed = None
    for block, following, scale in zip(blocks, [*blocks[1:], None], scales):
        if not fused or following is None or is_heard(block) or is_heard(following):
            following = None
        inputs = x, *args, normed, scale, following
        if with_cp and torch.is_grad_enabled():
            out = checkpoint(block, *inputs, use_reentrant=False)
        else:
            out = block(*inputs)
        x, normed = (out, None) if following is None else out
        yield x
