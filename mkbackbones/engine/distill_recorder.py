"""What a model gives on the way, kept for losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ..attention.weights import AttentionLogits, Product
from .teacher import TeacherError

__all__ = ['Recorder']


class Recorder:
    """Keeps what parts of a model give, while it is asked to.

    Args:
        model (nn.Module): A detector or segmentor.
        keys (list[str]): Names of the ``qkv`` layers whose keys count.
        attention (list[str]): Names of the attention layers of which it counts where they attend.
        logits (bool): Whether a segmentor's logits count.
    """

    def __init__(self, model: Any, keys: list[str], attention: list[str], logits: bool) -> None:
        self.features: list[Tensor] = []
        self.keys: list[Tensor] = []
        self.attention: list[Tensor | Product] = []
        self.logits: list[Tensor] = []
        self.on = False
        last = model.neck if getattr(model, 'neck', None) is not None else model.backbone
        self.handles = [last.register_forward_hook(self.keep_features)]
        for name in keys:
            self.handles.append(model.get_submodule(name).register_forward_hook(self.keep_keys))
        self.undo = [self.listen(model.get_submodule(name), name) for name in attention]
        if logits:
            self.handles.append(model.decode_head.conv_seg.register_forward_hook(self.keep_logits))

    def start(self) -> None:
        """Forget, and keep from now on."""
        self.features, self.keys, self.attention, self.logits = [], [], [], []
        self.on = True

    def keep_features(self, module: nn.Module, args: tuple, output: Any) -> None:
        """Forward hook of the neck or backbone."""
        if self.on:
            self.features = list(output) if isinstance(output, list | tuple) else [output]

    def keep_keys(self, module: nn.Module, args: tuple, output: Tensor) -> None:
        """Forward hook of a qkv layer, (windows, N, 3 C) or (windows, rows, columns, 3 C)."""
        if self.on:
            self.keys.append(output.chunk(3, -1)[1].flatten(1, -2))

    def listen(self, layer: Any, name: str) -> Callable[[], None]:
        """Let an attention layer run under what listens to it; gives what undoes that.

        A forward of its own, as hooks cannot end what they begin where the layer raises an error.
        """
        own, forward = layer.__dict__.get('forward'), layer.forward

        def heard(*args: Any, **kwargs: Any) -> Any:
            if not self.on:
                return forward(*args, **kwargs)
            with AttentionLogits() as listening:
                output = forward(*args, **kwargs)
            if len(listening.found) != 1:
                raise TeacherError(
                    f'{name}, a {type(layer).__name__}, cannot be listened to: it attends with '
                    f'{len(listening.found)} calls of scaled_dot_product_attention and softmax '
                    'instead of one; set attention=0'
                )
            self.attention += listening.found
            return output

        def undo() -> None:
            del layer.forward
            if own is not None:
                layer.forward = own

        layer.forward = heard
        return undo

    def keep_logits(self, module: nn.Module, args: tuple, output: Tensor) -> None:
        """Forward hook of a segmentor's last layer."""
        if self.on:
            self.logits.append(output)

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self.handles:
            handle.remove()
        for undo in self.undo:
            undo()
