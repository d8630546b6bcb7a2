"""How far the charts of a key are apart, in numbers."""

import torch
from torch import Tensor

__all__ = ['gamma_spread', 'mean_distance', 'pairwise_distances']


def gamma_spread(gamma: Tensor) -> Tensor:
    """Standard deviation of log |Gamma| over the charts, mean over the channels (our definition).

    Gamma may change sign at high learning rates.

    Args:
        gamma (Tensor): Gamma (H, C).

    Returns:
        Tensor: A scalar.
    """
    return gamma.abs().log().std(0).mean() if len(gamma) > 1 else gamma.new_zeros(())


def pairwise_distances(charts: Tensor) -> Tensor:
    """Distance of each two charts over the root mean of their squared norms (our definition).

    0 for copies, 1.41 for charts that have nothing to do with each other, 2 for opposites.

    Args:
        charts (Tensor): What stands for each chart (H, ...): its map, or what it makes of tokens.

    Returns:
        Tensor: Distances (H, H), float64; 0 between charts that are zero.
    """
    flat = charts.detach().flatten(1).double()
    gram = flat @ flat.T
    squares = gram.diagonal()
    mean = (squares[:, None] + squares[None]) / 2
    apart = (2 * (mean - gram)).clamp(min=0) / mean.clamp(min=torch.finfo(mean.dtype).tiny)
    return apart.sqrt().fill_diagonal_(0)


def mean_distance(charts: Tensor) -> Tensor:
    """Mean of the pairwise distances of at least two charts (H, ...), a scalar."""
    count = len(charts)
    return pairwise_distances(charts).sum() / (count * (count - 1))
