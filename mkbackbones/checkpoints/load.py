"""Load a checkpoint into a backbone: by call, by ``init_cfg``, or within ``load_state_dict``."""

import logging
import os
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from mmengine.model import PretrainedInit, update_init_info
from torch import Tensor, nn

from .fit import fit_weights, stock_layers
from .read import read_weights
from .report import CheckpointError, Entry, Report
from .source import read_source


def load_checkpoint(
    model: nn.Module,
    source: str | os.PathLike | Mapping,
    strict: bool = False,
    prefix: str | None = None,
    trusted: bool = False,
    entry: str | None = None,
) -> Report:
    """Load the weights of another library, or our own, into a backbone.

    The source's naming and wrappers are detected; position embeddings, position biases and patch
    embeddings are resampled; the head is dropped. The report is logged.

    Args:
        model (nn.Module): A backbone of this package, or another with a ``family``.
        source (str | PathLike | Mapping): A file (``.pth``, ``.pt``, ``.bin``, ``.safetensors``),
            an http(s) URL, ``timm://model_name``, or a state dict.
        strict (bool): Raise if anything is missing, unexpected or of another shape; the model is
            then as it was.
        prefix (str, optional): What the backbone's names start with; found if left out.
        trusted (bool): Load pickles that hold more than weights, which can run code.
        entry (str, optional): Which of several sets of weights in the file to take, e.g.
            ``state_dict_ema``; by default the plain weights, with a note on the others.

    Returns:
        Report: What was loaded and what not.

    Raises:
        FileNotFoundError: If the file does not exist.
        CheckpointError: If it cannot be read, holds no fitting backbone, or, with ``strict``, does
            not fit in full.
        TypeError: If the model is no such backbone.
    """
    if not hasattr(model, 'family'):
        raise TypeError(
            f'load_checkpoint fills a ManifoldSwin or another backbone with a family, not a '
            f'{type(model).__name__}; '
            "give a detector's backbone, or load the whole detector with load_from"
        )
    if source is None:
        raise CheckpointError('checkpoint is None; for random weights set init_cfg=None')
    name = 'the state dict' if isinstance(source, Mapping) else os.fspath(source)
    weights = read_weights(read_source(source, trusted, entry), prefix)
    state, report = fit_weights(weights, model, name)
    if strict and report.problems:
        raise CheckpointError(f'the checkpoint does not fit (strict=True)\n{report}')
    start_keys(model, state, report)
    own = model.state_dict()
    model.load_state_dict({name: state.get(name, value) for name, value in own.items()})
    log(report)
    return report


def start_keys(model: nn.Module, state: dict[str, Tensor], report: Report) -> None:
    """Start manifold keys from the stock projections, and report those that cannot."""
    for name, layer in stock_layers(model, state):
        if not layer.load_stock(state[f'{name}.weight'], state.get(f'{name}.bias')):
            reason = 'nonlinear charts without a base chart do not start from a stock key'
            if getattr(layer.key, 'base', None) is not None:
                reason = 'its output scale is not zero: the charts add to the stock key'
            report.entries.append(Entry('own init', f'{name}.key', reason))


def log(report: Report) -> None:
    """Log a report, as a warning if it holds problems."""
    level = logging.WARNING if report.problems else logging.INFO
    print_log(str(report), logger='current', level=level)


def translate_state_dict(
    module: nn.Module, state_dict: dict[str, Any], prefix: str, *unused: object
) -> None:
    """Pre-hook of a backbone's ``load_state_dict``: translate foreign names, orders and sizes.

    Whatever loads the model benefits, ``load_from`` and resume included. A state dict of the
    backbone itself is left as it is; what cannot be read is left for the loader to report.
    """
    names = [name for name in state_dict if name.startswith(prefix)]
    inside = {name[len(prefix) :]: state_dict[name] for name in names}
    own = module.state_dict()
    if not inside or (
        inside.keys() == own.keys() and all(inside[n].shape == own[n].shape for n in own)
    ):
        return
    try:
        weights = read_weights(inside)
        state, report = fit_weights(weights, module, 'the state dict')
    except CheckpointError as error:
        if inside.keys() - own.keys():
            print_log(f'{type(module).__name__}: {error}', logger='current', level=logging.WARNING)
        return
    start_keys(module, state, report)
    state.update({name: own[name] for name in report.names('fresh')})
    # Problems are the loader's to raise or list: leave it the entries that cause them.
    problems = set(report.unexpected) | set(report.mismatched)
    left = {**weights.unknown, **weights.state}
    for name in names:
        del state_dict[name]
    for name, value in {**{n: left[n] for n in problems if n in left}, **state}.items():
        state_dict[prefix + name] = value
    log(report)


class ReportedPretrained(PretrainedInit):
    """mmengine's ``Pretrained``, loading through :func:`load_checkpoint`, with its report.

    mmengine's own loads with ``strict=False``: what does not fit is then easily overlooked.

    Args:
        checkpoint (str): As ``source`` of :func:`load_checkpoint`.
        prefix (str, optional): As there.
        map_location (str): As in mmengine; makes no difference.
        strict (bool): As there.
        trusted (bool): As there.
        entry (str, optional): As there.
    """

    def __init__(
        self,
        checkpoint: str,
        prefix: str | None = None,
        map_location: str = 'cpu',
        strict: bool = False,
        trusted: bool = False,
        entry: str | None = None,
    ) -> None:
        super().__init__(checkpoint, prefix, map_location)
        self.strict = strict
        self.trusted = trusted
        self.entry = entry

    def __call__(self, module: nn.Module) -> None:
        load_checkpoint(module, self.checkpoint, self.strict, self.prefix, self.trusted, self.entry)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=self._get_init_info())


def is_pretrained(init_cfg: dict) -> bool:
    """Whether an ``init_cfg`` loads a checkpoint."""
    return init_cfg.get('type') in ('Pretrained', PretrainedInit)
