"""Focal losses (Lin et al., 2017), with the signatures of mmcv's compiled operators.

They agree with mmcv's kernels, except that the logarithms are taken from the logits: mmcv's take
them from the rounded probability and saturate beyond logits of about 16.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import widen


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the loss of each logit into ``output``.

    Args:
        input (Tensor): Logits (N, C).
        target (Tensor): Classes (N,), int64. Any value outside [0, C) is background.
        weight (Tensor): Factor of each class (C,), by the row's target; empty for none.
            Background rows have the factor 1.
        output (Tensor): Output, (N, C).
        gamma (float): Exponent that lowers the loss of easy examples.
        alpha (float): Factor of positives; negatives have 1 - alpha.
    """
    logits, weight = widen(input, weight)
    positive = _one_hot(target, logits)
    prob = logits.sigmoid()
    loss_positive = -alpha * (1 - prob) ** gamma * F.logsigmoid(logits)
    loss_negative = -(1 - alpha) * prob**gamma * F.logsigmoid(-logits)
    loss = torch.where(positive, loss_positive, loss_negative)
    output.copy_(_weighted(loss, target, weight))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the derivative of each loss by its logit into ``grad_input``, (N, C).

    The other arguments are those of :func:`sigmoid_focal_loss_forward`.
    """
    logits, weight = widen(input, weight)
    positive = _one_hot(target, logits)
    prob = logits.sigmoid()
    rest = 1 - prob
    grad_positive = -alpha * rest**gamma * (rest - gamma * prob * F.logsigmoid(logits))
    grad_negative = -(1 - alpha) * prob**gamma * (gamma * rest * F.logsigmoid(-logits) - prob)
    grad = torch.where(positive, grad_positive, grad_negative)
    grad_input.copy_(_weighted(grad, target, weight))


def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the loss of each row into ``output``.

    Args:
        input (Tensor): Probabilities (N, C): mmcv takes the softmax before the call.
        target (Tensor): Classes (N,), int64, below C. Rows with a negative one have no loss.
        weight (Tensor): Factor of each class (C,), by the row's target; empty for none.
        output (Tensor): Output, (N,).
        gamma (float): Exponent that lowers the loss of easy examples.
        alpha (float): Factor of the loss.
    """
    prob, weight = widen(input, weight)
    prob = _prob_of_target(prob, target)
    loss = -alpha * (1 - prob) ** gamma * _log(prob)
    output.copy_(_weighted(loss, target, weight).where(target >= 0, 0))


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Write the gradient by the logits into ``grad_input``, (N, C).

    ``buff`` (N,) gets the derivative by the logarithm of the target's probability; the other
    arguments are those of :func:`softmax_focal_loss_forward`.
    """
    probs, weight = widen(input, weight)
    prob = _prob_of_target(probs, target)
    rest = 1 - prob
    # At gamma < 1 and a probability of 1 the power is infinite and its factor log(1) is 0.
    slope = (gamma * rest ** (gamma - 1) * prob * _log(prob)).where(rest > 0, 0)
    grad = _weighted(alpha * (slope - rest**gamma), target, weight).where(target >= 0, 0)
    buff.copy_(grad)
    grad_input.copy_(grad[:, None] * (_one_hot(target, probs).to(probs) - probs))


def _one_hot(target: Tensor, like: Tensor) -> Tensor:
    """(N,) to a boolean (N, C) that is False everywhere in the rows of background."""
    return target[:, None] == torch.arange(like.shape[1], device=target.device)


def _prob_of_target(probs: Tensor, target: Tensor) -> Tensor:
    """(N, C), (N,) to (N,); rows with a negative target get the probability of class 0."""
    return probs.gather(1, target.clamp(min=0)[:, None])[:, 0]


def _log(prob: Tensor) -> Tensor:
    return prob.clamp(min=torch.finfo(prob.dtype).tiny).log()


def _weighted(values: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Multiply rows by the weight of their target's class, those of background by 1."""
    if not weight.numel():
        return values
    foreground = (target >= 0) & (target < len(weight))
    factor = weight[target.clamp(0, len(weight) - 1)].where(foreground, 1)
    return values * factor.view(-1, *[1] * (values.dim() - 1))
