"""Controls: keys without charts, to tell what the charts do from what comes with them."""

from functools import cache

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from ..arguments import FLAG, check, refuse_loops, short
from ..fused.exact import reading_departure
from ..registry import KEYS
from .activation import build_activation
from .base import BasedKey, Key, ManifoldKey
from .build import build_key
from .spatial import SpatialK, mix_neighbours, set_identity


@KEYS.register_module()
class LinearK(Key):
    """The stock key, decoupled: ``k = W x + b`` in a layer of its own (our control).

    With a temperature ``k = t (W x + b)``, one trained t that starts at 1: charts change the scale
    of the attention's logits, and this key can do so without charts.

    Args:
        embed_dims (int): Channels C of the tokens.
        temperature (bool): Whether there is a temperature. Defaults to False.
        out_dims (int, optional): Channels of the key. Defaults to ``embed_dims``.
        bias (bool): Whether the stock key projection has a bias.
    """

    linears = ('proj',)
    temperature: nn.Parameter | None

    def __init__(
        self,
        embed_dims: int,
        temperature: bool = False,
        out_dims: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__(embed_dims, out_dims, bias)
        check('temperature', temperature, FLAG)
        self.proj = nn.Linear(self.embed_dims, self.out_dims, bias=bias)
        nn.init.trunc_normal_(self.proj.weight, std=0.02)
        if bias:
            nn.init.zeros_(self.proj.bias)
        self.register_parameter(
            'temperature', nn.Parameter(torch.ones(())) if temperature else None
        )

    def forward(
        self, x: Tensor, grid: tuple[int, int] | None = None, num_prefix_tokens: int = 0
    ) -> Tensor:
        if reading_departure(self) is None:
            return F.linear(x, *self.linear_map())
        k = self.proj(x)
        return k if self.temperature is None else self.temperature.to(k.dtype) * k

    def linear_map(self) -> tuple[Tensor, Tensor | None]:
        weight, bias = self.proj.weight, self.proj.bias
        if self.temperature is None:
            return weight, bias
        return self.temperature * weight, None if bias is None else self.temperature * bias

    @torch.no_grad()
    def load_stock(self, weight: Tensor, bias: Tensor | None) -> bool:
        self.proj.weight.copy_(weight)
        if self.proj.bias is not None:
            self.proj.bias.zero_() if bias is None else self.proj.bias.copy_(bias)
        if self.temperature is not None:
            self.temperature.fill_(1)
        return True


@KEYS.register_module()
class MLPK(BasedKey):
    """An ordinary two-layer MLP key with the parameter count of a manifold key (our control).

    ``k = [W_0 x + b_0] + s * (W_2 phi(W_1 x + b_1) + b_2)``; the hidden width is chosen so that the
    parameter count comes within 1 % of the variant to match, and the difference is printed; the
    multiplications then match, too. The base chart is there if the matched variant has one.

    With ``spatial=True`` the hidden channels read their neighbours as the charts of SpatialK do,
    ``W_2 phi(DW(W_1 x + b_1)) + b_2``: what SpatialK gains over this is not the convolution's.

    Args:
        embed_dims (int): Channels C of the tokens.
        match (dict): The ``key_cfg`` of the variant to match, e.g. ``dict(type='SpatialK')``.
        spatial (bool): Whether hidden channels are mixed over the token grid, by a depthwise
            convolution of the matched SpatialK's size that starts as the identity. Defaults to
            False.
        act_cfg (dict, optional): Activation phi. Defaults to ``dict(type='GELU')``.
        out_dims (int, optional): Channels of the key. Defaults to ``embed_dims``.
        bias (bool): Whether the stock key projection has a bias.

    Raises:
        ValueError: If ``match`` is no manifold key, or no SpatialK with ``spatial=True``.
    """

    linears = ('base', 'fc1', 'fc2')
    spatial_weight: nn.Parameter | None

    def __init__(
        self,
        embed_dims: int,
        match: dict | None = None,
        spatial: bool = False,
        act_cfg: dict | None = dict(type='GELU'),  # noqa: B006 - read only
        out_dims: int | None = None,
        bias: bool = True,
    ) -> None:
        refuse_loops('match', match)
        target = None
        if isinstance(match, dict) and match.get('type') not in ('MLPK', 'mkbackbones.MLPK'):
            with torch.device('meta'):
                target = build_key(match, embed_dims, out_dims, bias)
        if match is None or not isinstance(target, ManifoldKey):
            raise ValueError(
                f'match={short(match)} is not allowed; give the key_cfg of a variant with charts, '
                "e.g. match=dict(type='SpatialK', num_charts=8)"
            )
        check('spatial', spatial, FLAG)
        if spatial and not isinstance(target, SpatialK):
            raise ValueError(
                f"spatial=True mixes neighbours as SpatialK does, and match['type'] is "
                f'{match["type"]!r}; match a SpatialK, or leave spatial out'
            )
        super().__init__(embed_dims, out_dims, bias, base=target.base is not None)
        self.uses_grid = spatial
        side = target.kernel_size if spatial and isinstance(target, SpatialK) else 0
        wanted = count_parameters(target)
        fixed = count_parameters(self) + self.out_dims
        per_unit = self.embed_dims + 1 + side**2 + self.out_dims
        self.hidden_channels = max(round((wanted - fixed) / per_unit), 1)
        self.fc1 = nn.Linear(self.embed_dims, self.hidden_channels)
        self.act = build_activation(act_cfg)
        self.fc2 = nn.Linear(self.hidden_channels, self.out_dims)
        for layer, fan_in in ((self.fc1, self.embed_dims), (self.fc2, self.hidden_channels)):
            nn.init.trunc_normal_(layer.weight, std=fan_in**-0.5)
            nn.init.zeros_(layer.bias)
        self.register_parameter('spatial_weight', None)
        if spatial:
            self.spatial_weight = nn.Parameter(torch.empty(self.hidden_channels, 1, side, side))
            set_identity(self.spatial_weight)
        report_match(str(match['type']), self.embed_dims, count_parameters(self), wanted)

    def charts(self, x: Tensor, grid: tuple[int, int] | None, num_prefix_tokens: int) -> Tensor:
        hidden = self.fc1(x)
        if self.spatial_weight is not None:
            hidden = mix_neighbours(hidden, self.spatial_weight, grid, num_prefix_tokens)
        return self.fc2(hidden if self.act is None else self.act(hidden))

    def charts_map(self) -> tuple[Tensor, Tensor] | None:
        if self.act is not None or self.spatial_weight is not None:
            return None
        weight = self.fc2.weight
        return weight @ self.fc1.weight, weight @ self.fc1.bias + self.fc2.bias


def count_parameters(module: nn.Module) -> int:
    """Number of parameters of a module."""
    return sum(p.numel() for p in module.parameters())


@cache
def report_match(variant: str, embed_dims: int, count: int, wanted: int) -> None:
    """Print, once for each width, how close the parameter counts are."""
    difference = (count - wanted) / wanted
    print_log(
        f'MLPK at {embed_dims} channels: {count} parameters against {wanted} of {variant} '
        f'({difference:+.2%})',
        logger='current',
    )
