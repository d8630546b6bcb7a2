"""The charts of each block: what each costs, which go, and the keys without them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ...attention.inject import parent_of
from ...attention.qkv import ManifoldQKV
from ...keys import KUA, ManifoldKey, SimpleK, SpatialK, VanillaK
from ..fold_calibrated import change_of, is_blind_to_shifts, running_order
from ..pictures import pictures_of
from ..tokens import Seen, seen_by
from .fit import ChartFit
from .membership import MembershipFit
from .projected import ProjectedFit
from .summed import SummedFit

__all__ = ['BlockCosts', 'BlockPrune', 'chart_flops', 'charted', 'costs_of_charts', 'prune']

FITS: dict[type, type[ChartFit]] = {
    KUA: MembershipFit,
    SimpleK: SummedFit,
    SpatialK: SummedFit,
    VanillaK: ProjectedFit,
}
#: Tokens that a fit takes: at most, and at least for each of its parameters where there are so
#: many. KUA's needs all of them at once.
MOST, MOST_AT_ONCE, A_PARAMETER = 65536, 8192, 10
#: Bytes of tokens of several layers that are kept at the same time.
MEMORY = 2**30


@dataclass
class BlockCosts:
    """What the charts of one layer are worth.

    Args:
        layer (str): Name of its ``qkv``.
        charts (int): How many it has.
        least (int): How many have to stay.
        flops (float): Floating-point operations of one chart, for one picture.
        kept (list[list[int]]): Which stay, if so many do.
        shares (list[float]): Share of the charts' variance that is kept with so many.
        changes (list[float | None]): Mean KL divergence of the attention then, in nats.
        ms (list[float] | None): Milliseconds of a forward pass that so many take; None where no
            clock was asked.
    """

    layer: str
    charts: int
    least: int
    flops: float
    kept: list[list[int]]
    shares: list[float]
    changes: list[float | None]
    ms: list[float] | None = None


@dataclass
class BlockPrune:
    """What became of one layer's charts.

    Args:
        layer (str): Name of its ``qkv``.
        before (int): Charts that it had.
        after (int): Charts that it has.
        share (float): Share of the charts' variance that is kept, base chart and refit included.
        divergence (float | None): Mean KL divergence of the attention from what it was behind
            blocks that are pruned already, in nats; None where it could not be listened to.
    """

    layer: str
    before: int
    after: int
    share: float
    divergence: float | None


def charted(model: nn.Module) -> dict[str, ManifoldQKV]:
    """The layers whose charts can be taken out, by name.

    Raises:
        ValueError: There are none, or it is not known how a class puts its charts together.
    """
    found, linear = {}, 0
    for name, module in model.named_modules():
        if not isinstance(module, ManifoldQKV) or not isinstance(module.key, ManifoldKey):
            continue
        if module.to_linear() is not None:
            linear += 1
            continue
        if type(module.key) not in FITS:
            raise ValueError(
                f'{name} has a {type(module.key).__name__}, of which it is not known how it puts '
                f'charts together; charts of {", ".join(sorted(c.__name__ for c in FITS))} can be '
                'pruned'
            )
        found[name] = module
    if not found:
        raise ValueError(
            'all keys with charts are linear: fold takes their charts out without any loss'
            if linear
            else 'the model has no keys with charts'
        )
    return found


def chart_flops(key: ManifoldKey) -> int:
    """Floating-point operations of one chart for one token; a multiply-add counts as two.

    The chart's map, its convolution over neighbours, its part of the projection, its gate.
    """
    width = key.chart_channels
    flops = 2 * key.embed_dims * width
    if isinstance(key, SpatialK):
        flops += 2 * key.kernel_size**2 * width
    elif isinstance(key, VanillaK):
        flops += 2 * width * key.out_dims
    elif isinstance(key, KUA):
        flops += 2 * key.embed_dims + 2 * width
    return flops


def check_enough(name: str, key: ManifoldKey, tokens: int) -> None:
    """Raise ValueError where any charts would fit the tokens that a layer sees."""
    parameters = FITS[type(key)].parameters_of(key)
    if tokens <= parameters:
        raise ValueError(
            f'{name} sees {tokens} tokens, too few to fit {parameters} values of its key; '
            'calibrate with more images'
        )


@torch.no_grad()
def order_of(model: Any, batches: Sequence[Any]) -> dict[str, int]:
    """The layers in the order in which they run, and the tokens that each sees of a batch.

    Raises:
        ValueError: There are none, too few pictures for one of them, or none at all.
    """
    layers = charted(model)
    if not batches:
        raise ValueError('there is no picture to calibrate with')
    model.eval()
    tokens = running_order(model, layers, batches[0])
    for name, count in tokens.items():
        key: Any = layers[name].key
        check_enough(name, key, count * len(batches))
    return tokens


def tokens_to_keep(key: ManifoldKey) -> int:
    """Tokens that the fit of a key's charts takes."""
    fit = FITS[type(key)]
    most = MOST_AT_ONCE if fit is MembershipFit else MOST
    return max(most, A_PARAMETER * fit.parameters_of(key))


def fit_charts(model: Any, name: str, seen: Seen) -> ChartFit:
    """What a layer's charts do to what it sees."""
    layer: Any = model.get_submodule(name)
    within = is_blind_to_shifts(parent_of(model, name), layer, seen.calls)
    check_enough(name, layer.key, sum(map(len, seen.tokens)))
    return FITS[type(layer.key)](layer, seen.tokens, within)


def together(model: Any, names: Sequence[str]) -> Iterator[dict[str, int]]:
    """Layers whose tokens are kept at the same time, as many as memory is given to; and how many.

    Looking at one layer takes a pass over all pictures through what is in front of it.
    """
    group: dict[str, int] = {}
    size = 0
    for name in names:
        layer: Any = model.get_submodule(name)
        most = tokens_to_keep(layer.key)
        more = 4 * most * layer.in_features
        if group and size + more > MEMORY:
            yield group
            group, size = {}, 0
        group[name] = most
        size += more
    yield group


@torch.no_grad()
def costs_of_charts(
    model: Any,
    batches: Sequence[Any],
    progress: Callable[[Sequence[str]], Iterable[str]] = iter,
    clock: Callable[[str, Sequence[nn.Module]], list[float]] | None = None,
) -> list[BlockCosts]:
    """What the charts of each layer are worth, all other layers being as they are.

    Args:
        model (nn.Module): A model of mmengine, with ``test_step``.
        batches (Sequence): What ``test_step`` takes: pictures to calibrate with.
        progress (Callable): Goes through the layers' names, e.g. with a bar.
        clock (Callable, optional): Gives the milliseconds that a layer's charts take with each of
            some keys, such as :class:`~mkbackbones.compress.prune.clock.LayerClock`.

    Returns:
        list[BlockCosts]: One a layer with charts, in the order in which they run.

    Raises:
        ValueError: There are no charts to prune, or there are too few pictures.
    """
    tokens = order_of(model, batches)
    pictures = pictures_of(batches[0])
    found = []
    groups = together(model, list(tokens))
    seen: dict[str, Seen] = {}
    for name in progress(list(tokens)):
        layer: Any = model.get_submodule(name)
        key = layer.key
        if name not in seen:
            seen = seen_by(model, next(groups), batches)
        here = seen.pop(name)
        fit, calls = fit_charts(model, name, here), here.calls
        least = int(key.base is None)
        lost = {key.num_charts: 0.0}
        for gone, (_, left) in enumerate(fit.order, start=1):
            lost[key.num_charts - gone] = left
        counts = range(least, key.num_charts)
        kept = [fit.kept_of(count) for count in counts]
        attention = parent_of(model, name)
        keys = [fit.key(charts) for charts in kept]
        changes = [change_of(attention, layer, small, calls) for small in keys]
        ms = None
        if clock is not None:  # a layer without charts becomes a stock one
            ms = [0.0] + clock(name, [*keys[1 - least :], key])
        absent = least  # so that entries are found by the number of charts
        found.append(
            BlockCosts(
                name,
                key.num_charts,
                least,
                chart_flops(key) * tokens[name] / pictures,
                [[]] * absent + kept + [list(range(key.num_charts))],
                [0.0] * absent + [fit.share(lost[count]) for count in counts] + [1.0],
                [None] * absent + changes + [0.0],
                ms,
            )
        )
    return found


@torch.no_grad()
def prune(
    model: Any,
    batches: Sequence[Any],
    kept: Mapping[str, Sequence[int]],
    progress: Callable[[Sequence[str]], Iterable[str]] = iter,
) -> list[BlockPrune]:
    """Take charts out of a model, in place, and refit the others.

    Each layer is fitted where it will be used, behind those that are pruned already. A layer that
    loses all charts keeps a :class:`~mkbackbones.keys.LinearK`, which
    :func:`mkbackbones.attention.inject.fold_layer` turns into the stock layer.

    Args:
        model (nn.Module): A model of mmengine, with ``test_step``.
        batches (Sequence): What ``test_step`` takes: pictures to calibrate with.
        kept (Mapping): Which charts of each layer stay, in the order in which the layers run.
        progress (Callable): Goes through the layers' names, e.g. with a bar.

    Returns:
        list[BlockPrune]: One a layer.
    """
    found = []
    for name in progress(list(kept)):
        layer: Any = model.get_submodule(name)
        own, charts = layer.key, kept[name]
        if len(charts) == own.num_charts:
            found.append(BlockPrune(name, own.num_charts, own.num_charts, 1.0, 0.0))
            continue
        here = seen_by(model, {name: tokens_to_keep(own)}, batches)[name]
        fit, calls = fit_charts(model, name, here), here.calls
        small = fit.key(charts).train(own.training)
        changed = change_of(parent_of(model, name), layer, small, calls)
        share = fit.share(fit.lost_at_last(charts))
        layer.key = small
        found.append(BlockPrune(name, own.num_charts, len(charts), share, changed))
    return found
