"""KUA: charts weighted by a soft chart membership, after the Unbalanced Atlas."""

from typing import Any

import torch
from torch import Tensor, nn

from ..compat.modes import is_compiling
from ..kernels.projections import KeyWeights
from ..registry import KEYS
from .base import ManifoldKey


@KEYS.register_module()
class KUA(ManifoldKey):
    """``A = sum_h p_h(x) z_h`` with the chart membership ``p = softmax(Linear(C -> H)(x))``.

    The name is the paper's; the formula is our definition, after the same authors' Unbalanced
    Atlas. Arguments as in :class:`ManifoldKey`.

    Attributes:
        observed (list[Tensor] | None): While it is a list, memberships (B, N, H) of passes in
            training are appended, for a loss.
    """

    linears = ('base', 'gate')

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gate = nn.Linear(self.embed_dims, self.num_charts)
        nn.init.trunc_normal_(self.gate.weight, std=0.02)
        nn.init.zeros_(self.gate.bias)
        self.observed: list[Tensor] | None = None

    def membership(self, x: Tensor) -> Tensor:
        """Soft chart membership of each token, for plots or a regulariser.

        Args:
            x (Tensor): Tokens (B, N, C).

        Returns:
            Tensor: Membership (B, N, H); sums to one over the charts.
        """
        return self.gate(x).softmax(-1)

    def noted(self, p: Tensor) -> Tensor:
        """Memberships, shown to whoever observes them."""
        if self.observed is not None and self.training and not is_compiling():
            self.observed.append(p)
        return p

    def aggregate(self, z: Tensor, x: Tensor) -> Tensor:
        p = self.noted(self.membership(x)).to(z.dtype)
        return (p.unsqueeze(-2) @ z).squeeze(-2)

    def fused(
        self,
        x: Tensor,
        parameters: KeyWeights,
        grid: tuple[int, int] | None,
        num_prefix_tokens: int,
    ) -> Tensor:
        from ..kernels.activation import served_name
        from ..kernels.charts import aggregate_charts
        from ..kernels.linears import half_linear

        return aggregate_charts(
            x,
            parameters,
            self.num_charts,
            served_name(self.act),
            self.out_scale,
            gate=self.noted(half_linear(self.gate, x).softmax(-1, dtype=torch.float32)),
        )
