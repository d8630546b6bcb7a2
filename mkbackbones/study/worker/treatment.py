"""Was the treatment applied? What a trained key does, and what the network scores without it."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from ...attention.inject import fold_manifold_keys
from ...attention.qkv import ManifoldQKV
from ...compress.linear_fit import LinearFit
from ...keys import BasedKey
from ...keys.measures import gamma_spread

__all__ = ['Treatment', 'check_treatment', 'fold_by_least_squares', 'watch_charts']

#: Validation images that a key is looked at with: at least so many, and so many more, if there are,
#: that every layer has seen enough tokens for a linear map.
LEAST_IMAGES = 32
#: Most images at a time.
BATCH = 8
#: How charts are switched off: their output scale set to zero; or, without a base chart, the best
#: linear map in their place.
Off = Literal['scale', 'linear']


@dataclass
class Treatment:
    """What the keys of a trained network do; means over its layers.

    Args:
        out_scale (float | None): Mean absolute output scale; None without a base chart.
        charts_over_base (float | None): Root mean square of the scaled charts over that of the base
            chart, on validation images; None without a base chart.
        linear_share (float | None): Share of the charts' variance that the best linear map of the
            tokens explains, on the same images, less what it explains by chance (adjusted R2): 1
            for a key that might as well be linear. None with too few tokens.
        gamma_spread (float | None): Standard deviation of log |Gamma| over the charts, which may
            change sign at high learning rates; None without charts.
        temperature (float | None): Of a LinearK that has one.
        off (Off | None): How the charts were switched off; None for keys without charts.
        score_off (float | None): The primary metric on the test split then, in per cent.
        score_linear (float | None): The same with the best linear map in the charts' place, where
            ``score_off`` is with the scale at zero: what of a key is more than a linear one.
    """

    out_scale: float | None = None
    charts_over_base: float | None = None
    linear_share: float | None = None
    gamma_spread: float | None = None
    temperature: float | None = None
    off: Off | None = None
    score_off: float | None = None
    score_linear: float | None = None


def check_treatment(
    model: nn.Module, charts: dict[ManifoldQKV, LinearFit], score: Callable[[], float]
) -> Treatment | None:
    """Look at the keys of a trained network, and score it with their charts switched off.

    Args:
        model (nn.Module): A model of mmengine, with the weights that are tested.
        charts (dict[ManifoldQKV, LinearFit]): What :func:`watch_charts` saw of it.
        score (Callable): Gives the primary metric on the test split, in per cent.

    Returns:
        Treatment | None: What was found; None for a network without keys of its own.
    """
    layers = [module for module in model.modules() if isinstance(module, ManifoldQKV)]
    if not layers:
        return None
    found = Treatment(
        gamma_spread=mean_of(layers, 'gamma', lambda gamma: float(gamma_spread(gamma))),
        temperature=mean_of(layers, 'temperature', float),
        out_scale=mean_of(layers, 'out_scale', lambda scale: float(scale.abs().mean())),
    )
    if not charts:
        return found
    charted, watched = list(charts), list(charts.values())
    shares = [share for one in watched if (share := one.linear_share()) is not None]
    found.linear_share = statistics.fmean(shares) if len(shares) == len(watched) else None
    if based := [one for one in watched if one.base]:
        found.charts_over_base = statistics.fmean(
            (one.charts_squared / one.base) ** 0.5 for one in based
        )
    with linear_instead(charted, watched):
        found.score_linear = score()
    if any(getattr(layer.key, 'base', None) is None for layer in charted):
        found.off, found.score_off, found.score_linear = 'linear', found.score_linear, None
        return found
    with charts_off(charted):
        found.off, found.score_off = 'scale', score()
    return found


def fold_by_least_squares(model: nn.Module, charts: dict[ManifoldQKV, LinearFit]) -> None:
    """Turn all keys of a trained network into stock ones, in place, each by its best linear map.

    Args:
        model (nn.Module): A model of mmengine.
        charts (dict[ManifoldQKV, LinearFit]): What :func:`watch_charts` saw of it.
    """
    for layer, one in charts.items():
        layer.key = one.linear_key(layer.key)
    fold_manifold_keys(model)


def watch_charts(model: nn.Module, loader: DataLoader) -> dict[ManifoldQKV, LinearFit]:
    """What the charts of a trained network do with validation images; empty without charts.

    Args:
        model (nn.Module): A model of mmengine, with the weights that are tested.
        loader (DataLoader): Batches of the validation split.
    """
    layers = [module for module in model.modules() if isinstance(module, ManifoldQKV)]
    charted = [layer for layer in layers if isinstance(layer.key, BasedKey)]
    return dict(zip(charted, watch(model, charted, loader))) if charted else {}


def mean_of(
    layers: list[ManifoldQKV], name: str, measure: Callable[[Tensor], float]
) -> float | None:
    """Mean over the layers whose key has that parameter."""
    values = [getattr(layer.key, name, None) for layer in layers]
    measured = [measure(value.detach()) for value in values if value is not None]
    return statistics.fmean(measured) if measured else None


def watch(model: Any, layers: list[ManifoldQKV], loader: DataLoader) -> list[LinearFit]:
    """Let validation images pass, drawn from the whole split, until every layer has seen enough."""
    dataset: Any = loader.dataset
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))
    # Not more at a time than in validation: images of several sizes make no batch in mmseg.
    size = min(BATCH, loader.batch_size or 1)
    images = DataLoader(
        Subset(dataset, order.tolist()), batch_size=size, collate_fn=loader.collate_fn
    )
    watched = [LinearFit(layer) for layer in layers]
    handles = [layer.register_forward_pre_hook(one) for layer, one in zip(layers, watched)]
    model.eval()
    try:
        for count, batch in enumerate(images, 1):
            with torch.no_grad():
                model.test_step(batch)
            if count * size >= LEAST_IMAGES and all(one.suffices for one in watched):
                break
    finally:
        for handle in handles:
            handle.remove()
    return watched


@contextlib.contextmanager
def linear_instead(layers: list[ManifoldQKV], watched: list[LinearFit]) -> Iterator[None]:
    """Put the best linear map in the place of each layer's charts for a while."""
    keys = [layer.key for layer in layers]
    try:
        for layer, key, one in zip(layers, keys, watched):
            layer.key = one.linear_key(key)
        yield
    finally:
        for layer, key in zip(layers, keys):
            layer.key = key


@contextlib.contextmanager
def charts_off(layers: list[ManifoldQKV]) -> Iterator[None]:
    """Set the output scale of the charts to zero for a while."""
    keys: list[Any] = [layer.key for layer in layers]
    scales = [key.out_scale.detach().clone() for key in keys]
    with torch.no_grad():
        try:
            for key in keys:
                key.out_scale.zero_()
            yield
        finally:
            for key, scale in zip(keys, scales):
                key.out_scale.copy_(scale)


def as_entry(treatment: Treatment | None) -> dict[str, float | str]:
    """What a result keeps: entries that are known."""
    found = {} if treatment is None else asdict(treatment)
    return {name: value for name, value in found.items() if value is not None}
