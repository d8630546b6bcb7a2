"""Keys with charts turned into linear ones, block by block, by what real pictures show of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..attention.inject import fold_manifold_keys, parent_of
from ..attention.qkv import ManifoldQKV
from ..attention.weights import AttentionWeights, divergence
from ..keys import BasedKey
from .linear_fit import LinearFit
from .pictures import first_pictures

__all__ = ['BlockFold', 'charted_layers', 'check_tokens', 'fold_calibrated']

RIDGE = 1e-6
#: Pictures whose attention is compared before and after.
COMPARED = 2
#: Mean divergence that rounding may make.
UNCHANGED = 1e-6
#: Arguments and keyword arguments of a layer.
Call = tuple[tuple, dict]


@dataclass
class BlockFold:
    """What became of one layer's key.

    Args:
        layer (str): Name of its ``qkv``.
        key_share (float | None): Share of the key's variance within a window that the linear key
            explains, adjusted for its parameters; None with fewer tokens than channels.
        charts_share (float | None): The same of what the charts add to the base chart.
        divergence (float | None): Mean KL divergence of the attention from what it was, in nats;
            None where the attention could not be listened to.
        folded (bool): Whether the key was replaced.
    """

    layer: str
    key_share: float | None
    charts_share: float | None
    divergence: float | None
    folded: bool


class Enough(Exception):
    """Raised by a hook: what comes behind it is not needed."""


def charted_layers(model: nn.Module) -> dict[str, ManifoldQKV]:
    """The layers whose key has charts that no Linear equals, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, ManifoldQKV)
        and isinstance(module.key, BasedKey)
        and module.to_linear() is None
    }


@torch.no_grad()
def fold_calibrated(
    model: Any,
    batches: Sequence[Any],
    keep_worse_than: float | None = None,
    progress: Callable[[Sequence[str]], Iterable[str]] = iter,
) -> list[BlockFold]:
    """Replace all keys of a trained network by linear ones, in place, and fold those.

    Each key is fitted where it will be used: behind the blocks that are folded already, as GPTQ
    (arXiv 2210.17323) does with quantised layers. The fit is least squares of the tokens within a
    window or picture. It needs no weighting by the queries: they act on the outputs, and the best
    map of each output is the same whatever they are.

    Args:
        model (nn.Module): A model of mmengine, with ``test_step``.
        batches (Sequence): What ``test_step`` takes: pictures to calibrate with.
        keep_worse_than (float, optional): Keys of whose charts a linear one explains less than this
            share stay as they are.
        progress (Callable): Goes through the layers' names, e.g. with a bar.

    Returns:
        list[BlockFold]: One a layer that had charts, in the order in which they run.

    Raises:
        ValueError: If there is nothing to fold, or there are too few pictures.
    """
    order = check_tokens(model, batches)
    layers = charted_layers(model)
    found = []
    for name in progress(order):
        layer = layers[name]
        attention = parent_of(model, name)
        seen = calls_of(model, {name: attention}, batches)[name]
        within = is_blind_to_shifts(attention, layer, seen)
        fit = fit_layer(model, layer, batches, within)
        refuse_few(name, layer, fit.seen)
        share, linear = fit.linear_share(), fit.linear_key(layer.key)
        changed = change_of(attention, layer, linear, seen)
        folds = keep_worse_than is None or (share is not None and share >= keep_worse_than)
        if folds:
            layer.key = linear
        found.append(BlockFold(name, fit.key_share(), share, changed, folds))
    fold_manifold_keys(model)
    return found


@torch.no_grad()
def check_tokens(model: Any, batches: Sequence[Any]) -> list[str]:
    """The layers to fold in their order, unless there are too few pictures for one of them.

    Args:
        model (nn.Module): As in :func:`fold_calibrated`; its weights do not matter.
        batches (Sequence): The pictures.

    Raises:
        ValueError: There are, or there is nothing to fold.
    """
    layers = charted_layers(model)
    if not layers:
        raise ValueError('the model has no keys with nonlinear charts; fold needs no --calibrate')
    if not batches:
        raise ValueError('there is no picture to calibrate with')
    model.eval()
    tokens = running_order(model, layers, batches[0])
    for name, count in tokens.items():
        refuse_few(name, layers[name], count * len(batches))
    return list(tokens)


def running_order(model: Any, layers: dict[str, ManifoldQKV], batch: Any) -> dict[str, int]:
    """Names of the layers in the order in which they run, and how many tokens each sees."""
    tokens: dict[str, int] = {}

    def count(name: str, inputs: tuple[Tensor, ...]) -> None:
        tokens[name] = tokens.get(name, 0) + inputs[0].shape[:-1].numel()

    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs, name=name: count(name, inputs))
        for name, layer in layers.items()
    ]
    with removed_after(hooks):
        model.test_step(batch)
    return tokens


def refuse_few(name: str, layer: ManifoldQKV, tokens: int) -> None:
    """Raise ValueError where any linear key would fit the tokens that a layer sees."""
    if tokens <= layer.in_features + 1:
        raise ValueError(
            f'{name} sees {tokens} tokens for its {layer.in_features} channels, which any linear '
            'key fits; calibrate with more images'
        )


def fit_layer(model: Any, layer: ManifoldQKV, batches: Sequence[Any], within: bool) -> LinearFit:
    """Fit a linear key to what a layer sees of all pictures."""
    # Where the stock layer has no bias of the key, nothing could take it.
    fit = LinearFit(layer, within, RIDGE, bias=layer.qv.bias is not None)

    def look(module: ManifoldQKV, inputs: tuple[Tensor, ...]) -> None:
        fit(module, inputs)
        raise Enough

    with removed_after([layer.register_forward_pre_hook(look)]):
        for batch in batches:
            with suppress(Enough):
                model.test_step(batch)
    return fit


def calls_of(
    model: Any, attentions: Mapping[str, nn.Module | None], batches: Sequence[Any]
) -> dict[str, list[Call]]:
    """What attention layers are called with, of the first pictures.

    Args:
        model (nn.Module): As in :func:`fold_calibrated`.
        attentions (Mapping): The layers, by any name; None for one that nobody calls.
        batches (Sequence): The pictures.

    Returns:
        dict[str, list[Call]]: The first call of each layer in each batch.
    """
    found: dict[str, list[Call]] = {name: [] for name in attentions}
    called = {name: layer for name, layer in attentions.items() if layer is not None}
    missing: set[str] = set()

    def keep(name: str, args: tuple, kwargs: dict) -> None:
        if name in missing:
            # What comes behind may change it in place.
            found[name].append((copied(args), copied(kwargs)))
            missing.remove(name)
        if not missing:
            raise Enough

    hooks = [
        layer.register_forward_pre_hook(
            lambda _, args, kwargs, name=name: keep(name, args, kwargs), with_kwargs=True
        )
        for name, layer in called.items()
    ]
    with removed_after(hooks):
        for batch in first_pictures(batches, COMPARED) if called else []:
            missing.update(called)
            with suppress(Enough):
                model.test_step(batch)
    return found


def copied(value: Any) -> Any:
    """Arguments with tensors of their own."""
    if isinstance(value, Tensor):
        return value.clone()
    if type(value) in (list, tuple):
        return type(value)(map(copied, value))
    if isinstance(value, dict):
        return {name: copied(each) for name, each in value.items()}
    return value


class Shifted(nn.Module):
    """A key with one more vector for all tokens.

    Args:
        key (nn.Module): The key.
        channels (int): Channels of its output.
    """

    def __init__(self, key: nn.Module, channels: int) -> None:
        super().__init__()
        self.key = key
        self.shift = torch.randn(channels, generator=torch.Generator().manual_seed(0))

    def forward(self, x: Tensor, *args: Any) -> Tensor:
        """The key of tokens (B, N, C), shifted."""
        k = self.key(x, *args)
        return k + self.shift.to(k)


def is_blind_to_shifts(attention: Any, layer: ManifoldQKV, seen: list[Call]) -> bool:
    """Whether one vector more for all keys changes no attention, as with softmax alone.

    It does where keys are normalised, or turned by their position, before they meet the queries.
    """
    changed = change_of(attention, layer, Shifted(layer.key, layer.out_dims), seen[:1])
    return changed is not None and changed < UNCHANGED


def change_of(
    attention: Any, layer: ManifoldQKV, other: nn.Module, seen: list[Call]
) -> float | None:
    """Mean divergence of a layer's attention with another key; None where none was heard."""
    changes = []
    for args, kwargs in seen:
        before = attention_with(attention, layer, layer.key, args, kwargs)
        after = attention_with(attention, layer, other, args, kwargs)
        changes += [divergence(a, b) for a, b in zip(before, after)]
    return sum(changes) / len(changes) if changes else None


def attention_with(
    attention: nn.Module, layer: ManifoldQKV, key: Any, args: tuple, kwargs: dict
) -> list[Tensor]:
    """What an attention layer attends to with a key of its own or another one."""
    own = layer.key
    layer.key = key
    try:
        with AttentionWeights() as weights:
            attention(*args, **kwargs)
    finally:
        layer.key = own
    return weights.found


@contextmanager
def removed_after(hooks: list) -> Iterator[None]:
    """Take hooks off again."""
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
