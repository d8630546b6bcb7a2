"""ManifoldQKV: a drop-in for the fused ``qkv`` Linear of an attention layer."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..arguments import check_arguments
from ..compat.modes import is_compiling
from ..compat.modules import add_load_hook
from ..fused.decision import report
from ..fused.exact import Cached, Known, below, computes_linear, known, reading_departure
from ..kernels import support
from ..kernels.projections import KeyParameters, KeyWeights, Projections
from ..keys import build_key
from ..keys.base import KEY_RULES, BasedKey, Key, ManifoldKey


class ManifoldQKV(nn.Module):
    """Query, key and value in the stock layout, the key from a layer of its own.

    ``[q, v] = x W_qv + b_qv`` and ``k = key(x)``, returned as [q, k, v] along the channels, so any
    attention that calls ``self.qkv(x)`` becomes a manifold-key attention by swapping this one
    module. Loading a state dict with a stock ``qkv.weight`` splits it into query-value and key.

    Args:
        embed_dims (int): Channels C of the tokens.
        key_cfg (dict): The key, see :func:`mkbackbones.keys.build_key`.
        out_dims (int, optional): Channels of each of q, k and v. Defaults to ``embed_dims``.
        bias (bool): Whether the projections have a bias.

    Attributes:
        grid (tuple[int, int] | None): Rows and columns of the token grid, for keys that look at
            neighbours; whoever knows the grid sets it before the forward pass. None: a square.
        num_prefix_tokens (int): Class and register tokens before the grid.
        observer (Callable | None): Called with the layer and its tokens (B, N, C) in every pass,
            on the kernels too, where a hook would have the layer run without them; not under
            ``torch.compile``.
    """

    def __init__(
        self, embed_dims: int, key_cfg: dict, out_dims: int | None = None, bias: bool = True
    ) -> None:
        super().__init__()
        self.in_features = embed_dims
        check_arguments('ManifoldQKV', KEY_RULES, locals())
        self.out_dims = embed_dims if out_dims is None else out_dims
        self.grid: tuple[int, int] | None = None
        self.num_prefix_tokens = 0
        self.observer: Callable[[ManifoldQKV, Tensor], None] | None = None
        self.qv = nn.Linear(embed_dims, 2 * self.out_dims, bias=bias)
        nn.init.trunc_normal_(self.qv.weight, std=0.02)
        if bias:
            nn.init.zeros_(self.qv.bias)
        self.key = build_key(key_cfg, embed_dims, self.out_dims, bias)
        self.cached = Cached()
        add_load_hook(self, split_stock_weights)

    @property
    def linears(self) -> tuple[str, ...]:
        """Paths of the Linears whose weights are read as long as nothing is in the way."""
        return 'qv', *(f'key.{name}' for name in getattr(self.key, 'linears', ()))

    @classmethod
    def from_linear(cls, linear: nn.Linear, key_cfg: dict) -> 'ManifoldQKV':
        """Build from a stock fused Linear and start from its weights.

        Args:
            linear (nn.Linear): Fused projection (3 C_out, C).
            key_cfg (dict): The key.

        Raises:
            ValueError: If the output is not three projections of one size.
        """
        if linear.out_features % 3:
            raise ValueError(
                f'a qkv Linear with {linear.out_features} outputs is not supported; '
                'it must hold query, key and value of one size (3 x C)'
            )
        has_bias = linear.bias is not None
        qkv = cls(linear.in_features, key_cfg, linear.out_features // 3, has_bias)
        qkv.to(linear.weight)
        qkv.load_stock(linear.weight.detach(), linear.bias.detach() if has_bias else None)
        qkv.requires_grad_(linear.weight.requires_grad)  # a frozen layer stays frozen
        return qkv.train(linear.training)

    def forward(self, x: Tensor) -> Tensor:
        """Project tokens.

        Args:
            x (Tensor): Tokens (B, N, C).

        Returns:
            Tensor: [q, k, v], (B, N, 3 C_out).
        """
        self.show(x)
        departure = self.departure()
        if departure is None:
            return self.read(x, support.fused_dtype(x) if x.dim() == 3 else None)
        if not is_compiling() and support.fused_dtype(x) is not None:
            report(type(self).__name__, departure)
        return self.call(x)

    def show(self, x: Tensor) -> None:
        """Show tokens (B, N, C) to whoever observes the layer."""
        if self.observer is not None and not is_compiling():
            self.observer(self, x)

    def call(self, x: Tensor) -> Tensor:
        """As :meth:`forward`, by calling the layers."""
        q, v = self.qv(x).split(self.out_dims, dim=-1)
        k = self.key(x, self.grid, self.num_prefix_tokens)
        return torch.cat([q, k.to(q.dtype), v], dim=-1)

    def departure(self) -> str | None:
        """Why the layers below have to be called, in words; None where they may be read."""
        key: object = self.key
        if not isinstance(key, Key):
            return f"'key' is a {type(key).__name__}"
        if is_compiling():
            return reading_departure(self)
        return self.cached.ask(self, reading_departure)

    def read(self, x: Tensor, dtype: torch.dtype | None) -> Tensor:
        """As :meth:`forward`, with the layers' weights read instead of calling the layers.

        Args:
            x (Tensor): Tokens (B, N, C).
            dtype (torch.dtype, optional): The half precision in which the Triton kernels serve.
        """
        key = self.key
        linear = key.linear_map() if key.can_be_read else None
        if linear is not None:
            return F.linear(x, *self.fuse(*linear))
        if dtype is not None and isinstance(key, ManifoldKey) and key.fusable:
            return self.forward_fused(key, x.to(dtype))
        if not (key.can_be_read and isinstance(key, BasedKey) and key.base is not None):
            return self.call(x)
        # Query, base chart and value are one GEMM, as in the stock layer.
        qkv = F.linear(x, *self.fuse(key.base.weight, key.base.bias))
        q, k, v = qkv.split(self.out_dims, dim=-1)
        k = k + key.scaled_charts(x, self.grid, self.num_prefix_tokens)
        return torch.cat([q, k.to(q.dtype), v], dim=-1)

    def forward_fused(self, key: ManifoldKey, x: Tensor) -> Tensor:
        """Project tokens (B, N, C) in half precision with the keys' Triton kernels."""
        qv = self.qv
        parameters: KeyWeights
        base_weight, base_bias = key.base_map()
        if is_compiling():  # which differentiates and fuses it by itself
            if base_weight is None:
                base_weight = torch.zeros_like(qv.weight.chunk(2)[0])
            parameters = Projections(*self.fuse(base_weight, base_bias), *key.chart_map())
        else:
            charts = key.gamma, key.weight, key.bias
            parameters = KeyParameters(qv.weight, qv.bias, base_weight, base_bias, *charts)
        return key.fused(x, parameters, self.grid, self.num_prefix_tokens)

    def fuse(self, key_weight: Tensor, key_bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Stock weight (3 C_out, C) and bias with the given key projection in the middle."""
        return fuse_projections(self.qv.weight, self.qv.bias, key_weight, key_bias)

    @torch.no_grad()
    def load_stock(self, weight: Tensor, bias: Tensor | None) -> bool:
        """Start from a stock fused projection.

        Args:
            weight (Tensor): Stock weight (3 C_out, C).
            bias (Tensor, optional): Stock bias (3 C_out,).

        Returns:
            bool: True if the layer now computes exactly what the stock layer computes; False if
                the key keeps its own initial values (nonlinear charts without a base chart).
        """
        q, k, v = weight.split(self.out_dims)
        self.qv.weight.copy_(torch.cat([q, v]))
        if bias is None:
            if self.qv.bias is not None:
                self.qv.bias.zero_()
            return self.key.load_stock(k, None)
        q_bias, k_bias, v_bias = bias.split(self.out_dims)
        self.qv.bias.copy_(torch.cat([q_bias, v_bias]))
        return self.key.load_stock(k, k_bias)

    @torch.no_grad()
    def to_linear(self) -> nn.Linear | None:
        """The layer as a stock fused Linear, or None where the key is not linear.

        It is not, either, where a Linear was replaced by something else (an adapter, say).
        """
        layers = [below(self, path) for path in self.linears]
        whole = all(layer is None or computes_linear(layer) for layer in layers)
        if not (whole and isinstance(self.key, Key) and self.key.can_be_read):
            return None
        linear = self.key.linear_map()
        if linear is None:
            return None
        return linear_of(*self.fuse(*linear)).train(self.training)

    @torch.no_grad()
    def stock_part(self) -> nn.Linear:
        """The stock Linear that this layer started from, charts aside.

        Its key is the base chart, or the whole key where that is linear; where it is neither, zero:
        such a key takes nothing from a stock projection.
        """
        key = self.key
        base = getattr(key, 'base', None)
        projection = key.linear_map() if base is None else (base.weight, base.bias)
        if projection is None:
            weight = self.qv.weight.new_zeros(self.out_dims, self.in_features)
            projection = weight, None if self.qv.bias is None else weight.new_zeros(self.out_dims)
        weight, bias = self.fuse(*projection)
        return linear_of(weight, None if self.qv.bias is None else bias)

    def extra_repr(self) -> str:
        return f'in_features={self.in_features}, out_features=3x{self.out_dims}'


def fuse_projections(
    qv_weight: Tensor, qv_bias: Tensor | None, key_weight: Tensor, key_bias: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """One projection of query, key and value.

    Args:
        qv_weight (Tensor): Weight of query and value (2 d, C).
        qv_bias (Tensor, optional): Their bias (2 d,).
        key_weight (Tensor): Weight of the key (d, C).
        key_bias (Tensor, optional): Its bias (d,).

    Returns:
        tuple[Tensor, Tensor | None]: Weight (3 d, C) and bias (3 d,), None where both are.
    """
    q, v = qv_weight.chunk(2)
    weight = torch.cat([q, key_weight, v])
    if qv_bias is None and key_bias is None:
        return weight, None
    if key_bias is None:
        key_bias = weight.new_zeros(key_weight.shape[0])
    if qv_bias is None:
        qv_bias = weight.new_zeros(2 * key_weight.shape[0])
    q, v = qv_bias.chunk(2)
    return weight, torch.cat([q, key_bias, v])


def head_views(qkv: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Split [q, k, v] (B, N, 3 C) into three views (B, h, N, C / h)."""
    q, k, v = qkv.unflatten(-1, (3, num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    return q, k, v


def linear_of(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A Linear with the given weight (out, in) and bias (out,); draws no random numbers."""
    with torch.device('meta'):
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight = nn.Parameter(weight.detach())
    linear.register_parameter('bias', None if bias is None else nn.Parameter(bias.detach()))
    return linear


def split_stock_weights(
    module: ManifoldQKV, state_dict: dict[str, Any], prefix: str, *unused: object
) -> None:
    """Translate a stock ``qkv.weight`` and ``qkv.bias`` into the layer's own entries.

    A pre-hook of ``load_state_dict``, so every way of loading benefits: ``init_cfg``,
    ``load_from``, test and resume. A weight of another shape is left for the loader to report.
    """
    weight = state_dict.get(prefix + 'weight')
    bias = state_dict.get(prefix + 'bias')
    shape = (3 * module.out_dims, module.in_features)
    if weight is None or tuple(weight.shape) != shape:
        return
    if bias is not None and (module.qv.bias is None or tuple(bias.shape) != shape[:1]):
        return
    module.load_stock(weight, bias)
    state_dict.pop(prefix + 'weight')
    state_dict.pop(prefix + 'bias', None)
    # What was just set is what the loader now finds; the charts keep their initial values.
    for name, value in module.state_dict().items():
        state_dict.setdefault(prefix + name, value)
    if bias is None and module.qv.bias is not None:
        del state_dict[prefix + 'qv.bias']  # for the loader to report as missing


def set_grid(layer: nn.Module, grid: tuple[int, int], num_prefix_tokens: int = 0) -> None:
    """Tell manifold keys where their tokens lie.

    Args:
        layer (nn.Module): A :class:`ManifoldQKV`, something that holds one, or any other layer.
        grid (tuple[int, int]): Rows and columns of the token grid.
        num_prefix_tokens (int): Class and register tokens before the grid.
    """
    if type(layer) is nn.Linear:
        return
    for module in (layer,) if isinstance(layer, ManifoldQKV) else layer.modules():
        if isinstance(module, ManifoldQKV):
            module.grid, module.num_prefix_tokens = grid, num_prefix_tokens


def project_half(qkv: ManifoldQKV | nn.Linear, x: Tensor) -> Tensor:
    """``qkv(x)`` for tokens (B, N, C) in half precision, within a block that the kernels serve."""
    if isinstance(qkv, ManifoldQKV):
        qkv.show(x)
        return qkv.read(x, x.dtype)
    from ..kernels.linears import half_linear

    return half_linear(qkv, x)


known[ManifoldQKV] = Known(children=None, check=ManifoldQKV.departure)
