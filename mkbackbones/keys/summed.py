"""What keys share that add their charts up with fixed weights."""

from typing import Any

import torch
from torch import Tensor, nn

from ..arguments import FLAG, check
from .base import ManifoldKey


class SummedKey(ManifoldKey):
    """``A`` = the mean over charts, or their sum with a trained weight each.

    Args:
        chart_scale (bool): Whether each chart has a weight of its own, which starts at 1 / H: what
            is left after :mod:`mkbackbones.compress.prune` took charts out that others stand for.
            Defaults to False.
        *args, **kwargs: As in :class:`ManifoldKey`.
    """

    chart_scale: nn.Parameter | None  #: (H,); None without

    def __init__(self, *args: Any, chart_scale: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check('chart_scale', chart_scale, FLAG)
        weights = torch.full((self.num_charts,), 1 / self.num_charts)
        self.register_parameter('chart_scale', nn.Parameter(weights) if chart_scale else None)

    def aggregate(self, z: Tensor, x: Tensor) -> Tensor:
        if self.chart_scale is None:
            return z.mean(-2)
        return (self.chart_scale.to(z.dtype)[:, None] * z).sum(-2)

    def chart_gate(self, x: Tensor) -> Tensor | None:
        """The charts' weights for each token, as the kernels take them; None for the mean."""
        if self.chart_scale is None:
            return None
        return self.chart_scale.float().expand(*x.shape[:-1], -1).contiguous()

    @torch.no_grad()
    def load_stock_charts(self, weight: Tensor, bias: Tensor | None) -> bool:
        if not super().load_stock_charts(weight, bias):
            return False
        if self.chart_scale is not None:
            self.chart_scale.fill_(1 / self.num_charts)
        return True
