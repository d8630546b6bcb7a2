"""The manifold key: H charts of the tokens, aggregated into one key.

Notation as in the design: tokens ``x`` (B, N, C), H charts (``num_charts``), chart width d
(``chart_channels``), activation phi::

    u_h = gamma_h * x                      Gamma (H, C): trainable, expands x to H charts
    z_h = phi(W_h u_h + b_h)               one linear map a chart (a grouped 1x1 convolution)
    k   = [W_0 x + b_0] + s * A(z_1..z_H)  A: the aggregation; [.] and s only with base=True

Gamma folds into the chart weights, ``W_h diag(gamma_h)``, so the H-fold copy of x never exists
and all charts are one GEMM, C -> H d.

Sources: the decoupled key, the charts, the trainable scale and the grouped convolution follow Meng
et al. (arXiv 2402.00534) as far as its abstract and secondary summaries tell; the paper's body was
not at hand. The shapes, initial values, base chart and output scale s are our definition.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..arguments import FLAG, check, check_arguments, integer, number, optional, short
from ..fused.exact import reading_departure
from .activation import build_activation

if TYPE_CHECKING:
    from ..kernels.projections import KeyWeights

GammaInit = float | Sequence[float]


class Key(nn.Module):
    """Base of every key: maps tokens to keys.

    Args:
        embed_dims (int): Channels C of the tokens.
        out_dims (int, optional): Channels of the key. Defaults to ``embed_dims``.
        bias (bool): Whether the stock key projection that this key stands for has a bias.

    Raises:
        ValueError: If ``embed_dims`` or ``out_dims`` is not a positive integer.
    """

    #: Whether the key looks at neighbouring tokens, which asks for the token grid.
    uses_grid = False
    #: Linears whose weights are read, instead of calling them, as long as nothing is in the way.
    linears: tuple[str, ...] = ()
    #: Whether ``linear_map`` and the base chart say what ``forward`` computes: not in a class that
    #: has a ``forward`` of its own and inherits ``linear_map``.
    can_be_read = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        forward, linear_map = (
            next(c for c in cls.__mro__ if name in vars(c)) for name in ('forward', 'linear_map')
        )
        cls.can_be_read = issubclass(linear_map, forward)

    def __init__(self, embed_dims: int, out_dims: int | None = None, bias: bool = True) -> None:
        super().__init__()
        check_arguments('a key', KEY_RULES, locals())
        self.embed_dims = embed_dims
        self.out_dims = embed_dims if out_dims is None else out_dims
        self.has_bias = bias

    @abstractmethod
    def forward(
        self, x: Tensor, grid: tuple[int, int] | None = None, num_prefix_tokens: int = 0
    ) -> Tensor:
        """Map tokens to keys.

        Args:
            x (Tensor): Tokens (B, N, C).
            grid (tuple[int, int], optional): Rows and columns of the token grid; only keys that
                look at neighbours use it.
            num_prefix_tokens (int): Tokens before the grid (class and register tokens).

        Returns:
            Tensor: Keys (B, N, out_dims).
        """

    def linear_map(self) -> tuple[Tensor, Tensor | None] | None:
        """The key as one matrix (out_dims, C) and bias, or None where it is not linear.

        Differentiable: training a linear key through this map gives its exact gradients.
        """
        return None

    @torch.no_grad()
    def load_stock(self, weight: Tensor, bias: Tensor | None) -> bool:
        """Start from a stock key projection.

        Args:
            weight (Tensor): Stock key weight (out_dims, C).
            bias (Tensor, optional): Stock key bias (out_dims,).

        Returns:
            bool: True if the key now computes exactly what the stock projection computes.
        """
        return False


class BasedKey(Key):
    """A key that may stand on a base chart: ``base(x) + out_scale * charts(x)``.

    With ``base=True`` the stock projection stays as the flat base chart and ``out_scale``, one
    value per key channel, starts at zero: the key starts as exactly the stock key. With
    ``base=False`` there is neither (our definition).
    """

    linears: tuple[str, ...] = ('base',)
    base: nn.Linear | None
    out_scale: nn.Parameter  #: None where ``base`` is

    def __init__(
        self, embed_dims: int, out_dims: int | None = None, bias: bool = True, base: bool = True
    ) -> None:
        super().__init__(embed_dims, out_dims, bias)
        check('base', base, FLAG)
        if base:
            self.base = nn.Linear(self.embed_dims, self.out_dims, bias=bias)
            nn.init.trunc_normal_(self.base.weight, std=0.02)
            if bias:
                nn.init.zeros_(self.base.bias)
            self.out_scale = nn.Parameter(torch.zeros(self.out_dims))
        else:
            self.base = None
            self.register_parameter('out_scale', None)

    @abstractmethod
    def charts(self, x: Tensor, grid: tuple[int, int] | None, num_prefix_tokens: int) -> Tensor:
        """The aggregated charts A(z_1..z_H): (B, N, C) -> (B, N, out_dims)."""

    def charts_map(self) -> tuple[Tensor, Tensor | None] | None:
        """``charts`` as one matrix and bias, or None where it is not linear."""
        return None

    def forward(
        self, x: Tensor, grid: tuple[int, int] | None = None, num_prefix_tokens: int = 0
    ) -> Tensor:
        linear = self.linear_map() if reading_departure(self) is None else None
        if linear is not None:
            return F.linear(x, *linear)
        if self.base is None:
            return self.charts(x, grid, num_prefix_tokens)
        return self.base(x) + self.scaled_charts(x, grid, num_prefix_tokens)

    def scaled_charts(
        self, x: Tensor, grid: tuple[int, int] | None, num_prefix_tokens: int
    ) -> Tensor:
        """What is added to the base chart: ``out_scale * charts(x)``, in the charts' precision."""
        k = self.charts(x, grid, num_prefix_tokens)
        return self.out_scale.to(k.dtype) * k

    def linear_map(self) -> tuple[Tensor, Tensor | None] | None:
        charts = self.charts_map()
        if charts is None or self.base is None:
            return charts
        weight, bias = charts
        weight = self.base.weight + self.out_scale[:, None] * weight
        bias = None if bias is None else self.out_scale * bias
        if self.base.bias is not None:
            bias = self.base.bias if bias is None else self.base.bias + bias
        return weight, bias

    @torch.no_grad()
    def load_stock(self, weight: Tensor, bias: Tensor | None) -> bool:
        if self.base is None:
            return self.load_stock_charts(weight, bias)
        self.base.weight.copy_(weight)
        if self.base.bias is not None:
            self.base.bias.zero_() if bias is None else self.base.bias.copy_(bias)
        return self.out_scale.is_meta or bool((self.out_scale == 0).all())

    def load_stock_charts(self, weight: Tensor, bias: Tensor | None) -> bool:
        """Start the charts themselves (``base=False``) from a stock projection, if they can."""
        return False


class ManifoldKey(BasedKey):
    """A key made of charts; a variant adds the aggregation (``aggregate``).

    Args:
        embed_dims (int): Channels C of the tokens.
        num_charts (int): Charts H.
        chart_channels (int, optional): Chart width d. Defaults to the key's channels.
        act_cfg (dict, optional): Activation phi after each chart, ``dict(type='GELU')`` or any
            activation of ``torch.nn``; None makes the charts linear.
        base (bool): Keep the stock projection as base chart and add the charts through an output
            scale that starts at zero.
        gamma_init (float | tuple[float, float]): Initial Gamma: one value for all charts, or the
            ends of a geometric sequence over the charts, which keeps charts apart that start from
            the same weights. Defaults to (0.5, 2.0).
        out_dims (int, optional): Channels of the key. Defaults to ``embed_dims``.
        bias (bool): Whether the stock key projection has a bias.

    Raises:
        ValueError: If an argument is out of range or ``chart_channels`` does not fit the variant.
    """

    #: Whether the aggregation adds charts up, which asks for chart_channels == out_dims.
    adds_charts = True

    def __init__(
        self,
        embed_dims: int,
        num_charts: int = 8,
        chart_channels: int | None = None,
        act_cfg: dict | None = dict(type='GELU'),  # noqa: B006 - read only
        base: bool = True,
        gamma_init: GammaInit = (0.5, 2.0),
        out_dims: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__(embed_dims, out_dims, bias, base)
        check_arguments(type(self).__name__, CHART_RULES, locals())
        self.num_charts = num_charts
        self.chart_channels = self.out_dims if chart_channels is None else chart_channels
        if self.adds_charts and self.chart_channels != self.out_dims:
            raise ValueError(
                f'chart_channels={self.chart_channels} does not fit {type(self).__name__}: it adds '
                f'charts up, so they need the {self.out_dims} channels of the key; leave '
                'chart_channels out, or use VanillaK, which takes any width'
            )
        self.act = build_activation(act_cfg)
        self.gamma = nn.Parameter(
            initial_gamma(gamma_init, self.num_charts)[:, None].repeat(1, self.embed_dims)
        )
        self.weight = nn.Parameter(
            torch.empty(self.num_charts, self.chart_channels, self.embed_dims)
        )
        self.bias = nn.Parameter(torch.zeros(self.num_charts, self.chart_channels))
        # Unit-variance charts for normalised tokens, so that phi acts in its curved range.
        nn.init.trunc_normal_(self.weight, std=self.embed_dims**-0.5)

    @property
    def is_linear(self) -> bool:
        """Whether the charts have no activation."""
        return self.act is None

    def chart_map(self) -> tuple[Tensor, Tensor]:
        """All charts as one matrix (H d, C), Gamma folded in, and one bias (H d,)."""
        return (self.weight * self.gamma[:, None]).flatten(0, 1), self.bias.flatten()

    def activate(self, z: Tensor) -> Tensor:
        """Apply phi."""
        return z if self.act is None else self.act(z)

    def each_chart(self, x: Tensor, grid: tuple[int, int] | None, num_prefix_tokens: int) -> Tensor:
        """The charts z_1..z_H of tokens (B, N, C): (B, N, H, d)."""
        z = self.activate(F.linear(x, *self.chart_map()))
        return z.unflatten(-1, (self.num_charts, self.chart_channels))

    def charts(self, x: Tensor, grid: tuple[int, int] | None, num_prefix_tokens: int) -> Tensor:
        return self.aggregate(self.each_chart(x, grid, num_prefix_tokens), x)

    @abstractmethod
    def aggregate(self, z: Tensor, x: Tensor) -> Tensor:
        """The aggregation A: charts (B, N, H, d), tokens (B, N, C) -> (B, N, out_dims)."""

    if TYPE_CHECKING:  # a class that has kernels says how they are run

        def fused(
            self,
            x: Tensor,
            parameters: KeyWeights,
            grid: tuple[int, int] | None,
            num_prefix_tokens: int,
        ) -> Tensor:
            """Query, key and value (B, N, 3 out_dims) of tokens (B, N, C) in half precision."""

    @property
    def fusable(self) -> bool:
        """Whether the class has kernels, and they know the activation."""
        if 'fused' not in type(self).__dict__:
            return False
        from ..kernels.activation import activation_name

        return activation_name(self.act) is not None

    def base_map(self) -> tuple[Tensor | None, Tensor | None]:
        """What is added to the charts, as a matrix and bias; None for nothing."""
        return (None, None) if self.base is None else (self.base.weight, self.base.bias)

    @torch.no_grad()
    def load_stock_charts(self, weight: Tensor, bias: Tensor | None) -> bool:
        if not self.is_linear:
            return False
        # W_h diag(gamma_h) = W_k for each chart; Gamma's spread then moves the copies apart.
        rows = self.stock_rows().to(weight.device)
        self.weight.copy_((weight[rows] / self.gamma[:, None]).view_as(self.weight))
        if bias is None:
            self.bias.zero_()
        else:
            self.bias.copy_(bias[rows].view_as(self.bias))
        return True

    def stock_rows(self) -> Tensor:
        """Which row of a stock projection each chart channel (H, d) starts from."""
        slots = torch.arange(self.num_charts * self.chart_channels)
        return (slots % self.out_dims).view(self.num_charts, self.chart_channels)


def initial_gamma(gamma_init: GammaInit, num_charts: int) -> Tensor:
    """One initial scale per chart (H,): constant, or geometric between two ends.

    Raises:
        ValueError: If ``gamma_init`` is neither a number nor a pair, or a value is not positive
            or not finite.
    """
    ends = gamma_init if isinstance(gamma_init, list | tuple) else (gamma_init, gamma_init)
    if len(ends) != 2 or any(
        isinstance(end, bool) or not isinstance(end, int | float) for end in ends
    ):
        raise ValueError(
            f'gamma_init={short(gamma_init)} is not understood; give one number, or the two ends '
            'of a geometric sequence such as (0.5, 2.0)'
        )
    if not all(GAMMA.allows(end) for end in ends):
        raise ValueError(
            f'gamma_init={short(gamma_init)} must be positive, {GAMMA.text}, e.g. (0.5, 2.0)'
        )
    low, high = ends
    if num_charts == 1:
        return torch.tensor([(low * high) ** 0.5])
    return low * (high / low) ** (torch.arange(num_charts) / (num_charts - 1))


#: What the arguments of every key, and of those made of charts, may be.
KEY_RULES = dict(embed_dims=integer(1, 65536), out_dims=optional(integer(1, 65536)), bias=FLAG)
CHART_RULES = dict(
    num_charts=integer(1, 1024), chart_channels=optional(integer(1, 65536)), base=FLAG
)
#: What a value of Gamma may be.
GAMMA = number(1e-6, 1e6)
