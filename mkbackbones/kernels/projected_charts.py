"""Query, manifold key and value where the charts lie behind one linear map, as in VanillaK.

As in :mod:`mkbackbones.kernels.charts`, the charts' pre-activations live for one call.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..compat.operators import custom_op
from .activation import activate_again
from .charts import projection_gradients
from .linears import activated_product
from .projections import ChartOperator, KeyWeights, project


def run_projected(
    x: Tensor,
    qkv_weight: Tensor,
    qkv_bias: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    proj: Tensor,
    act: str,
) -> Tensor:
    """Query, key and value (B, N, 3 d), the charts' part added to the key in place.

    Args:
        x (Tensor): Tokens (B, N, C).
        qkv_weight (Tensor): Of query, base chart and value (3 d, C).
        qkv_bias (Tensor, optional): (3 d,).
        weight (Tensor): Of the charts (H d', C), Gamma folded in.
        bias (Tensor): Of the charts (H d',).
        proj (Tensor): The map behind the charts (d, H d').
        act (str): Activation of the charts.
    """
    z = activated_product(x, weight, bias, act)
    qkv = F.linear(x, qkv_weight, qkv_bias)
    qkv.flatten(0, -2).split(proj.shape[0], dim=-1)[1].addmm_(z.flatten(0, -2), proj.T)
    return qkv


run_projected_op = custom_op('mkbackbones::projected_charts')(run_projected)


@run_projected_op.register_fake
def _(x: Tensor, qkv_weight: Tensor, *unused: Any) -> Tensor:
    return x.new_empty(*x.shape[:-1], qkv_weight.shape[0])


def run_projected_backward(
    dqkv: Tensor,
    x: Tensor,
    qkv_weight: Tensor,
    weight: Tensor,
    bias: Tensor,
    proj: Tensor,
    act: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of :func:`run_projected`; the pre-activations are worked out again.

    Args:
        dqkv (Tensor): Gradient of query, key and value (B, N, 3 d).
        x (Tensor): As in :func:`run_projected`, and so on.

    Returns:
        tuple: Gradients of ``x``, ``qkv_weight``, ``qkv_bias``, ``weight``, ``bias``, ``proj``.
    """
    dqkv = dqkv.contiguous()
    z = F.linear(x, weight, bias).flatten(0, 1)
    dkey = dqkv.flatten(0, 1).split(proj.shape[0], dim=-1)[1]
    dz = dkey @ proj
    value = activate_again(z, dz, act, inplace=True)
    dproj = dkey.T @ value
    del z, value
    gradients = projection_gradients(x, dqkv, qkv_weight, dz, weight)
    return *gradients, dz.sum(0), dproj


run_projected_backward_op = custom_op('mkbackbones::projected_charts_backward')(
    run_projected_backward
)


@run_projected_backward_op.register_fake
def _(
    dqkv: Tensor,
    x: Tensor,
    qkv_weight: Tensor,
    weight: Tensor,
    bias: Tensor,
    proj: Tensor,
    act: str,
) -> tuple[Tensor, ...]:
    qkv_bias = qkv_weight.new_empty(qkv_weight.shape[0])
    like = [torch.empty_like(tensor) for tensor in (x, qkv_weight, weight, bias, proj)]
    return like[0], like[1], qkv_bias, *like[2:]


def projected_setup(ctx: Any, inputs: tuple, output: Tensor) -> None:
    x, qkv_weight, qkv_bias, weight, bias, proj, ctx.act = inputs
    ctx.save_for_backward(x, qkv_weight, weight, bias, proj)
    ctx.has_qkv_bias = qkv_bias is not None


def projected_gradients(ctx: Any, dqkv: Tensor) -> tuple[Tensor | None, ...]:
    gradients = run_projected_backward_op(dqkv, *ctx.saved_tensors, ctx.act)
    dx, dqkv_weight, dqkv_bias, *rest = gradients
    return dx, dqkv_weight, dqkv_bias if ctx.has_qkv_bias else None, *rest, None


run_projected_op.register_autograd(projected_gradients, setup_context=projected_setup)
projected_operator = ChartOperator(run_projected, run_projected_backward, run_projected_op)


def project_charts(x: Tensor, parameters: KeyWeights, proj: Tensor, act: str) -> Tensor:
    """Query, key and value, the key with charts behind one linear map ``proj`` (d, H d').

    Other arguments and the result as in :func:`~mkbackbones.kernels.charts.aggregate_charts`; the
    map's bias is to be in the parameters' ``base_bias`` and the output scale in ``proj`` already.
    """
    return project(projected_operator, x, parameters, (proj.to(x.dtype),), (act,))
