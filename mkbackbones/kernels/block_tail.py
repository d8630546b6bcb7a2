"""All of a block that follows its attention, up to the next block's, as one node of the graph.

The CPU takes as long for a node as the GPU for a small kernel. What is computed is what
:mod:`~mkbackbones.kernels.linears` and :mod:`~mkbackbones.kernels.norm` compute piece by piece.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .activation import served_name
from .casts import half_copies
from .geometry import Geometry
from .linears import (
    builds_graph,
    half_linear,
    half_mlp,
    is_wide,
    linear_gradients,
    mlp_gradients,
)
from .norm import merge_norm, run_backward, run_forward


class Place(NamedTuple):
    """What a tail knows besides tensors.

    Attributes:
        act (nn.Module): Activation of the MLP.
        eps (tuple[float, float]): Of the block's second norm and the next block's first.
        geometry (Geometry): Of this block's windows.
        following (Geometry): Of the next block's.
        partition (bool): Whether the next block wants windows.
        dtype (torch.dtype): The half precision.
    """

    act: nn.Module
    eps: tuple[float, float]
    geometry: Geometry
    following: Geometry
    partition: bool
    dtype: torch.dtype


class BlockTail(torch.autograd.Function):
    """Output projection, residual sum, norm, MLP, residual sum, and the next block's norm."""

    @staticmethod
    def forward(
        ctx: Any,
        place: Place,
        scale1: Tensor | None,
        scale2: Tensor | None,
        x: Tensor,
        attended: Tensor,
        *parameters: Any,
    ) -> tuple[Tensor, Tensor]:
        *linears, norm_weight, norm_bias, next_weight, next_bias = parameters
        halves = half_copies(place.dtype, *linears)
        proj, proj_bias, weight1, bias1, weight2, bias2 = halves
        branch = F.linear(attended, proj, proj_bias)
        norm = norm_weight, norm_bias, place.eps[0], place.geometry, False, place.dtype
        middle, normed, stats = run_forward(x.contiguous(), branch, scale1, *norm)
        z = F.linear(normed, weight1, bias1)
        branch = F.linear(place.act(z), weight2, bias2)
        norm = next_weight, next_bias, place.eps[1], place.following, place.partition, place.dtype
        total, y, next_stats = run_forward(middle, branch, scale2, *norm)
        ctx.place, ctx.dtype = place, linears[0].dtype
        ctx.save_for_backward(
            *(attended, proj, middle, normed, z, weight1, weight2, total),
            *(scale1, norm_weight, stats, scale2, next_weight, next_stats),
        )
        return total, y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dtotal: Tensor, dy: Tensor) -> tuple[Tensor | None, ...]:
        attended, proj, middle, normed, z, weight1, weight2, total, *norms = ctx.saved_tensors
        place, dtype = ctx.place, ctx.dtype
        of_attended, of_proj, of_proj_bias, of_w1, of_b1, of_w2, of_b2 = ctx.needs_input_grad[4:11]
        scale1, norm_weight, stats, scale2, next_weight, next_stats = norms
        dx, dbranch, dnext = run_backward(
            total,
            dy.contiguous(),
            dtotal.contiguous(),
            scale2,
            next_weight,
            next_stats,
            place.following,
            place.partition,
        )
        dnormed: Any  # asked for, and so there
        dnormed, *dmlp, _ = mlp_gradients(
            dbranch.flatten(0, -2),
            normed,
            z,
            (weight1, weight2),
            served_name(place.act),
            dtype,
            (True, of_w1, of_b1, of_w2, False),
        )
        dbias2 = dnext[2] if of_b2 else None
        dx, dbranch, dnorm = run_backward(
            middle, dnormed, dx, scale1, norm_weight, stats, place.geometry, False
        )
        dattended, dproj, _ = linear_gradients(
            dbranch.flatten(0, -2), attended, proj, dtype, (of_attended, of_proj, False)
        )
        dproj_bias = dnorm[2] if of_proj_bias else None
        gradients = dx, dattended, dproj, dproj_bias, *dmlp, dbias2
        return None, None, None, *gradients, *dnorm[:2].unbind(0), *dnext[:2].unbind(0)


class Layers(NamedTuple):
    """What follows a block's attention.

    Attributes:
        proj (nn.Linear, optional): Output projection; None where that is done.
        norm (nn.LayerNorm): The block's second norm.
        mlp (Mlp): timm's MLP, without dropout and norm.
        next_norm (nn.LayerNorm | None): The next block's first norm; None to end with tokens.
        scale1 (nn.Module, optional): Layer scale of the attention.
        scale2 (nn.Module, optional): Layer scale of the MLP.
    """

    proj: nn.Linear | None
    norm: nn.LayerNorm
    mlp: Mlp
    next_norm: nn.LayerNorm | None
    scale1: nn.Module | None = None
    scale2: nn.Module | None = None

    def are_one_node(self) -> bool:
        """Whether they can be one node of the graph now."""
        scaled = any(not is_nothing(s) for s in (self.scale1, self.scale2))
        if self.next_norm is None or self.proj is None or scaled or not builds_graph():
            return False
        return is_wide(self.proj) and is_wide(self.mlp.fc1) and is_wide(self.mlp.fc2)


def is_nothing(scale: nn.Module | None) -> bool:
    """Whether a layer scale leaves its input as it is."""
    return scale is None or isinstance(scale, nn.Identity)


def block_tail(
    x: Tensor,
    attended: Tensor,
    scales: tuple[Tensor | None, Tensor | None],
    layers: Layers,
    geometry: Geometry,
    following: Geometry,
    partition: bool,
) -> Tensor | tuple[Tensor, Tensor]:
    """Run what follows a block's attention, as one node where that is possible.

    Args:
        x (Tensor): Residual stream (B, H, W, C), or (B, N, C) without windows.
        attended (Tensor): What the attention gives, before its output projection: windows
            (B nW, w^2, C), or tokens; half precision.
        scales (tuple): What each image's branches are multiplied by (B,), float32; None for 1.
        layers (Layers): What to run.
        geometry (Geometry): The grid of the tokens and this block's windows.
        following (Geometry): The same of the next block.
        partition (bool): Whether the next block's normalised tokens are cut into windows.

    Returns:
        Tensor | tuple[Tensor, Tensor]: The residual stream, and with ``layers.next_norm`` the next
        block's normalised tokens.
    """
    proj, norm, mlp, next_norm, scale1, scale2 = layers
    dtype = attended.dtype
    if proj is not None and next_norm is not None and layers.are_one_node():
        place = Place(mlp.act, (norm.eps, next_norm.eps), geometry, following, partition, dtype)
        linears = [t for m in (proj, mlp.fc1, mlp.fc2) for t in (m.weight, m.bias)]
        norms = norm.weight, norm.bias, next_norm.weight, next_norm.bias
        return BlockTail.apply(place, *scales, x, attended, *linears, *norms)
    branch = attended if proj is None else half_linear(proj, attended)
    if scale1 is not None:
        branch = scale1(branch)
    x, normed = merge_norm(x, branch, scales[0], norm, geometry, dtype)
    branch = half_mlp(mlp, normed)
    if scale2 is not None:
        branch = scale2(branch)
    if next_norm is None:
        return scaled_sum(x, branch, scales[1])
    return merge_norm(x, branch, scales[1], next_norm, following, dtype, partition)


def scaled_sum(x: Tensor, branch: Tensor, scale: Tensor | None) -> Tensor:
    """``x + scale * branch`` in one pass, in the type of the residual stream."""
    if scale is None:
        return x + branch
    return torch.addcmul(x, branch, scale.to(branch.dtype).view(-1, *[1] * (x.dim() - 1)))
