"""How far a model is from its teacher.

With f_l (B, C, H, W) the maps of level l that the heads are given (of the neck, or of the backbone
where there is none), k_b the keys of block b, less their mean over each window, a_b what its
softmax is taken of, with scale, position bias and mask, and ' for the teacher's::

    features   mean_l  ||f_l - f'_l||^2 / ||f'_l - mean f'_l||^2      mean: over B, H and W
    keys       mean_b  ||k_b - k'_b||^2 / ||k'_b||^2
    attention  mean_b  KL(softmax(a'_b), softmax(a_b)), mean over windows, heads and queries
    logits     T^2 KL(softmax(y' / T), softmax(y / T)), mean over pixels

so that a student that knows nothing but the teacher's mean has about 1 in the first two, whatever
the scale of a level or block, and the third is in nats. (The weighting is our definition, the
logits' loss is that of Hinton et al., arXiv 1503.02531.)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..attention.weights import Product, worked_out

__all__ = ['attention_loss', 'feature_loss', 'key_loss', 'logit_loss']

#: Logarithms of probabilities that are nothing: finite, as what a mask forbids is in both models.
NOTHING = -1e4


def feature_loss(found: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """See :mod:`mkbackbones.engine.distill_losses`.

    Args:
        found (list[Tensor]): The student's maps (B, C, H, W), one a level.
        wanted (list[Tensor]): The teacher's.
    """
    return torch.stack([relative(a, b, (0, 2, 3)) for a, b in zip(found, wanted)]).mean()


def key_loss(found: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """See :mod:`mkbackbones.engine.distill_losses`.

    Args:
        found (list[Tensor]): The student's keys (windows, N, C), one a block.
        wanted (list[Tensor]): The teacher's.
    """
    losses = []
    for a, b in zip(found, wanted):
        a, b = a.float(), b.float()
        losses.append(relative(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True), (0, 1)))
    return torch.stack(losses).mean()


def relative(found: Tensor, wanted: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Squared error over the variance of what is wanted, in float32."""
    found, wanted = found.float(), wanted.float()
    variance = (wanted - wanted.mean(dims, keepdim=True)).square().mean()
    return (found - wanted).square().mean() / variance.clamp(min=1e-12)


def attention_loss(found: list[Tensor | Product], wanted: list[Tensor | Product]) -> Tensor:
    """See :mod:`mkbackbones.engine.distill_losses`.

    Matrices of one block are in memory at a time, and worked out again in the backward pass.

    Args:
        found (list[Tensor | Product]): What the student's softmax is taken of, (windows, h, N, M)
            or with windows partly folded into heads, one a block.
        wanted (list[Tensor | Product]): The teacher's.
    """

    def of_block(found: Tensor | Product, wanted: Tensor | Product) -> Tensor:
        return divergence(worked_out(found), worked_out(wanted), -1)

    losses = [
        checkpoint(of_block, *pair, use_reentrant=False, preserve_rng_state=False)
        for pair in zip(found, wanted)
    ]
    return torch.stack(losses).mean()


def logit_loss(found: Tensor, wanted: Tensor, temperature: float = 1.0) -> Tensor:
    """See :mod:`mkbackbones.engine.distill_losses`.

    Args:
        found (Tensor): The student's logits (B, classes, H, W).
        wanted (Tensor): The teacher's.
        temperature (float): T.
    """
    found, wanted = found.float() / temperature, wanted.float() / temperature
    return temperature**2 * divergence(found, wanted, 1)


def divergence(found: Tensor, wanted: Tensor, dim: int) -> Tensor:
    """Mean Kullback-Leibler divergence, in nats, of distributions from those that are wanted.

    Args:
        found (Tensor): Logits.
        wanted (Tensor): Logits of the same shape.
        dim (int): Over which they are distributions.
    """
    log, sure = (each.log_softmax(dim).clamp(min=NOTHING) for each in (found, wanted))
    return (sure.exp() * (sure - log)).sum(dim).mean()
