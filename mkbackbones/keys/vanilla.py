"""VanillaK: the charts, concatenated, through one linear map."""

from typing import Any

import torch
from torch import Tensor, nn

from ..kernels.projections import KeyWeights
from ..registry import KEYS
from .base import ManifoldKey


@KEYS.register_module()
class VanillaK(ManifoldKey):
    """``A = Linear(H d -> C)`` of the concatenated charts.

    The name is the paper's, the formula our definition. Arguments as in :class:`ManifoldKey`.
    """

    adds_charts = False
    linears = ('base', 'proj')

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.proj = nn.Linear(self.num_charts * self.chart_channels, self.out_dims)
        nn.init.trunc_normal_(self.proj.weight, std=0.02)
        nn.init.zeros_(self.proj.bias)

    def aggregate(self, z: Tensor, x: Tensor) -> Tensor:
        return self.proj(z.flatten(-2))

    def fused(
        self,
        x: Tensor,
        parameters: KeyWeights,
        grid: tuple[int, int] | None,
        num_prefix_tokens: int,
    ) -> Tensor:
        from ..kernels.activation import served_name
        from ..kernels.projected_charts import project_charts
        from ..kernels.projections import scaled_rows

        proj = self.proj.weight
        if self.out_scale is not None:
            proj = scaled_rows(proj, self.out_scale, x.dtype)
        return project_charts(x, parameters, proj, served_name(self.act))

    def base_map(self) -> tuple[Tensor | None, Tensor]:
        weight, bias = super().base_map()
        if self.base is None:  # then there is no scale either
            return None, self.proj.bias
        if bias is None:
            return weight, self.out_scale * self.proj.bias
        return weight, torch.addcmul(bias, self.out_scale, self.proj.bias)

    def charts_map(self) -> tuple[Tensor, Tensor] | None:
        if not self.is_linear:
            return None
        weight, bias = self.chart_map()
        return self.proj.weight @ weight, self.proj.weight @ bias + self.proj.bias

    @torch.no_grad()
    def load_stock_charts(self, weight: Tensor, bias: Tensor | None) -> bool:
        rows = self.stock_rows()
        if rows.numel() < self.out_dims or not super().load_stock_charts(weight, bias):
            return False
        # Each key channel is the mean of the chart channels that start as its copies.
        select = nn.functional.one_hot(rows.flatten(), self.out_dims).T.to(self.proj.weight)
        self.proj.weight.copy_(select / select.sum(1, keepdim=True))
        self.proj.bias.zero_()
        return True
