"""What a backbone gives: channels and strides, measured."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from mmengine.registry import MODELS, DefaultScope

#: Side of the image that shows a backbone's channels and strides; a multiple of every stride.
PROBE = 128


class SwapError(ValueError):
    """A config whose backbone cannot be swapped; the message says why."""


@dataclass(frozen=True)
class Features:
    """What a backbone gives.

    Attributes:
        channels (tuple[int, ...]): Channels of each output.
        strides (tuple[int, ...]): Strides of each output, in pixels.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def select(self, positions: Iterable[int]) -> Features:
        """Some of the outputs."""
        positions = list(positions)
        return Features(
            tuple(self.channels[i] for i in positions), tuple(self.strides[i] for i in positions)
        )

    @property
    def is_pyramid(self) -> bool:
        """Whether the outputs differ in stride."""
        return len(set(self.strides)) > 1


def backbone_features(backbone: dict, scope: str) -> Features:
    """Build a backbone and see what it gives for a small image.

    Args:
        backbone (dict): Config of the backbone.
        scope (str): Scope for type names without one, e.g. ``mmdet``.

    Raises:
        SwapError: It cannot be built or run.
    """
    cfg = copy.deepcopy(dict(backbone))
    cfg.pop('init_cfg', None)
    try:
        with DefaultScope.overwrite_default_scope(scope), torch.random.fork_rng(devices=[]):
            module = MODELS.build(cfg)
        module.eval()
        with torch.no_grad():
            outs = module(torch.zeros(1, 3, PROBE, PROBE))
        outs = [outs] if isinstance(outs, torch.Tensor) else list(outs)
        outs = [out[0] if isinstance(out, list | tuple) else out for out in outs]  # mmseg's MAE
        return Features(
            tuple(out.shape[1] for out in outs), tuple(PROBE // out.shape[-1] for out in outs)
        )
    except Exception as error:  # any library's backbone may raise anything
        text = ' '.join(str(error).split())
        raise SwapError(f'backbone {backbone.get("type")} cannot be built: {text}') from error
