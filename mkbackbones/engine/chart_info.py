"""Whether charts move while a network is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from ..arguments import check, integer
from ..attention.inject import manifold_layers
from ..attention.qkv import ManifoldQKV
from ..keys import BasedKey, ManifoldKey
from ..keys.measures import gamma_spread, mean_distance
from ..registry import HOOKS
from .unwrapped import model_of

__all__ = ['PREFIX', 'ChartInfoHook']

#: What names of scalars begin with. Those of mmengine's log begin with ``train/``: lines of the log
#: stay short.
PREFIX = 'charts/'
#: Tokens of a layer that are looked at, about.
TOKENS = 2048


@contextmanager
def unobserved(key: Any) -> Iterator[None]:
    """Keep memberships from MembershipLossHook, which are none of the model's own pass."""
    observed = getattr(key, 'observed', None)
    if observed is None:
        yield
        return
    key.observed = None
    try:
        yield
    finally:
        key.observed = observed


@HOOKS.register_module()
class ChartInfoHook(Hook):
    """Write what the charts of every block are, every so many iterations.

    ``custom_hooks=[dict(type='mkbackbones.ChartInfoHook', interval=100)]`` adds scalars to
    ``vis_data/scalars.json``, and to TensorBoard and other backends that the config names, e.g.
    ``charts/layers.0.blocks.0.attn/out_scale``; those of ``charts/mean/`` are means over the
    blocks, which mmengine's message hub keeps over a resumed training, too:

    - ``out_scale``: mean absolute output scale;
    - ``charts_over_base``: root mean square of what the charts add to the base chart over that of
      the base chart, on some of the tokens of that iteration;
    - ``gamma_spread`` and ``distance``: see :mod:`mkbackbones.keys.measures`; the distance is the
      mean over pairs of charts, of their maps with Gamma in them.

    Entries that a key does not have are left out. In other iterations it costs nothing, and the
    device is waited for once in those that count; tokens are looked at on the Triton kernels, too.
    Under ``CompileBackboneHook`` there is no ``charts_over_base``. Without charts nothing is
    written, so that all arms of a study may have it.

    Args:
        interval (int): Iterations between two looks; there is one at the first iteration, too.

    Raises:
        ValueError: The interval is not a positive integer.
    """

    def __init__(self, interval: int = 100) -> None:
        check('interval', interval, integer(1, 10**9))
        self._interval = interval
        self._layers: dict[str, ManifoldQKV] = {}
        self._ratios: dict[str, Tensor] = {}

    def before_train(self, runner: Runner) -> None:
        """Find the layers with charts."""
        model = model_of(runner)
        root = getattr(model, 'backbone', model)
        layers = {name: root.get_submodule(name) for name in manifold_layers(root)}
        self._layers = {
            name.removesuffix('.qkv'): layer
            for name, layer in layers.items()
            if isinstance(layer.key, BasedKey) and is_main_process()
        }

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Have the tokens looked at in an iteration that counts."""
        if self._counts(runner):
            for name, layer in self._layers.items():
                layer.observer = partial(self._look, name)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Write the numbers of an iteration that counts."""
        if not self._counts(runner):
            return
        for layer in self._layers.values():
            layer.observer = None
        found = {
            f'{name}/{entry}': value
            for name, layer in self._layers.items()
            for entry, value in self._numbers(name, layer).items()
        }
        self._ratios = {}
        if not found:  # an MLP without a base chart has none of them
            return
        values = torch.stack([value.float() for value in found.values()]).tolist()  # waits once
        scalars = dict(zip(found, values))
        of_all: dict[str, list[float]] = {}
        for name, value in scalars.items():
            of_all.setdefault(name.rpartition('/')[2], []).append(value)
        means = {f'mean/{name}': sum(each) / len(each) for name, each in of_all.items()}
        step = runner.iter + 1
        runner.visualizer.add_scalars(
            {PREFIX + name: value for name, value in {**means, **scalars}.items()}, step=step
        )
        for name, value in {'iteration': float(step), **means}.items():
            runner.message_hub.update_scalar(PREFIX + name, value)

    def _counts(self, runner: Runner) -> bool:
        done = runner.iter + 1
        return bool(self._layers) and (done == 1 or done % self._interval == 0)

    @torch.no_grad()
    def _look(self, name: str, layer: ManifoldQKV, x: Tensor) -> None:
        """Charts over base on some tokens, (windows, N, C)."""
        key: Any = layer.key
        if key.base is None or name in self._ratios:  # not again where blocks are recomputed
            return
        x = x.detach()[: max(TOKENS // x.shape[1], 1)].float()
        with torch.autocast(x.device.type, enabled=False), unobserved(key):
            charts = key.scaled_charts(x, layer.grid, layer.num_prefix_tokens)
            base = key.base(x)
        squares = charts.square().mean() / base.square().mean().clamp(min=1e-30)
        self._ratios[name] = squares.sqrt()

    @torch.no_grad()
    def _numbers(self, name: str, layer: ManifoldQKV) -> dict[str, Tensor]:
        """What is known of a layer's key, on the device."""
        key: Any = layer.key
        found = {}
        if key.base is not None:
            found['out_scale'] = key.out_scale.abs().mean()
        if name in self._ratios:
            found['charts_over_base'] = self._ratios[name]
        if isinstance(key, ManifoldKey):
            found['gamma_spread'] = gamma_spread(key.gamma)
            if key.num_charts > 1:
                maps = key.chart_map()[0].unflatten(0, (key.num_charts, -1))
                found['distance'] = mean_distance(maps)
        return found
