"""SimpleK: the mean of the charts."""

from torch import Tensor

from ..kernels.projections import KeyWeights
from ..registry import KEYS
from .summed import SummedKey


@KEYS.register_module()
class SimpleK(SummedKey):
    """``A`` = the mean over charts; needs ``chart_channels`` equal to the key's channels.

    The name is the paper's, the formula our definition. Arguments as in :class:`ManifoldKey`, and
    ``chart_scale`` as in :class:`SummedKey`.
    """

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
        gate = self.chart_gate(x)
        return aggregate_charts(x, parameters, self.num_charts, act, self.out_scale, gate=gate)

    def charts_map(self) -> tuple[Tensor, Tensor] | None:
        if not self.is_linear:
            return None
        weight = self.weight * self.gamma[:, None]
        if self.chart_scale is None:
            return weight.mean(0), self.bias.mean(0)
        scale = self.chart_scale[:, None]
        return (scale[..., None] * weight).sum(0), (scale * self.bias).sum(0)
