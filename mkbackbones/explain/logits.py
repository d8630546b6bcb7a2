"""The logits of one query, from any attention layer, with a key of one's choice."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..attention.weights import SOFTMAX, Product, is_last, logits_of, product_of
from .watch import Enough, Seen

__all__ = ['logits_with']


class Given(nn.Module):
    """A key that is known.

    Args:
        keys (Tensor): Keys (windows, N, C).
    """

    def __init__(self, keys: Tensor) -> None:
        super().__init__()
        self.keys = keys

    def forward(self, x: Tensor, *args: Any) -> Tensor:
        """The keys, whatever the tokens."""
        return self.keys


class QueryLogits(TorchFunctionMode):
    """Keeps the logits (h, M) of one query of the first attention that runs under it, and ends it.

    Whole attention matrices of global attention over a large picture would not fit.

    Args:
        window (int): The query's window.
        token (int): Its token there.
        windows (int): How many windows there are. Layers fold them into the batch, or partly into
            the heads; either way the heads of a window lie together.
    """

    def __init__(self, window: int, token: int, windows: int) -> None:
        super().__init__()
        self.window, self.token, self.windows = window, token, windows
        self.found: Tensor | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            self.found = self.of_call(product_of(*args, **kwargs))
            raise Enough
        if func in SOFTMAX and args and args[0].dim() == 4 and is_last(*args, **kwargs):
            self.found = args[0][self.heads(args[0])][:, self.token].detach().float()
            raise Enough
        return func(*args, **kwargs)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Where among the first two dimensions the heads of the window lie."""
        number = x.shape[0] * x.shape[1] // self.windows
        flat = torch.arange(self.window * number, (self.window + 1) * number, device=x.device)
        return flat // x.shape[1], flat % x.shape[1]

    def of_call(self, call: Product) -> Tensor:
        """Logits (h, M) of the query in ``scaled_dot_product_attention``."""
        query, key, attn_mask = call.query, call.key, call.attn_mask
        if query.dim() == 3:  # heads folded into the batch, as SAM has them
            query, key = query.unsqueeze(1), key.unsqueeze(1)
            if attn_mask is not None and attn_mask.dim() == 3:
                attn_mask = attn_mask.unsqueeze(1)
        here, row = self.heads(query), slice(self.token, self.token + 1)
        if attn_mask is not None:
            shape = (*query.shape[:2], query.shape[2], key.shape[2])
            attn_mask = attn_mask.expand(shape)[here][:, row]
        return logits_of(query[here][:, row], key[here], attn_mask, False, call.scale)[:, 0]


@torch.no_grad()
def logits_with(seen: Seen, keys: Tensor, window: int, token: int) -> Tensor | None:
    """Logits of one query if a layer had these keys, all else being as it was.

    Args:
        seen (Seen): The layer in a pass of one picture.
        keys (Tensor): Keys (windows, N, C).
        window (int): The query's window.
        token (int): Its token there.

    Returns:
        Tensor | None: Logits (h, M), masks and position bias included; None where the layer's
        attention cannot be listened to.
    """
    layer: Any = seen.layer
    own = layer.key
    args, kwargs = seen.attention_call
    layer.key = Given(keys)
    listening = QueryLogits(window, token, len(seen.tokens))
    try:
        with listening:
            seen.attention(*args, **kwargs)
    except Enough:
        pass
    finally:
        layer.key = own
    return listening.found
