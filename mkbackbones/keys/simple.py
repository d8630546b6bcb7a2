"""SimpleK: the mean of the charts."""

from torch import Tensor

from ..kernels.projections import KeyWeights
from ..registry import KEYS
from .base import ManifoldKey


@KEYS.register_module()
class SimpleK(ManifoldKey):
    """``A`` = the mean over charts; needs ``chart_channels`` equal to the key's channels.

    The name is the paper's, the formula our definition. Arguments as in :class:`ManifoldKey`.
    """

    def aggregate(self, z: Tensor, x: Tensor) -> Tensor:
        return z.mean(-2)

    def fused(
        self,
        x: Tensor,
        parameters: KeyWeights,
        grid: tuple[int, int] | None,
        num_prefix_tokens: int,
    ) -> Tensor:
        from ..kernels.activation import served_name
        from ..kernels.charts import aggregate_charts

        act = served_name(self.act)
        return aggregate_charts(x, parameters, self.num_charts, act, self.out_scale)

    def charts_map(self) -> tuple[Tensor, Tensor] | None:
        if not self.is_linear:
            return None
        weight = (self.weight * self.gamma[:, None]).mean(0)
        return weight, self.bias.mean(0)
