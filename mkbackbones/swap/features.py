"""What a backbone gives: channels and strides, measured."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn

#: Side of the image that shows a backbone's channels and strides; a multiple of every stride.
PROBE = 128
#: Arguments that hold the side of the only image that a backbone takes, or starts from.
SIZE_KEYS = ('img_size', 'pretrain_img_size')


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

    @property
    def follow_stages(self) -> bool:
        """Whether the outputs can be stages one after another.

        Then they do not get finer or narrower. Those of mmseg's BiSeNet, U-Net or STDC do: they
        are the outputs of branches or of a decoder.
        """
        return all(
            list(values) == sorted(values) for values in (self.channels, self.strides)
        ) and not any(stride < 1 for stride in self.strides)


def backbone_features(backbone: dict, scope: str) -> Features:
    """Build a backbone and see what it gives for a small image.

    Args:
        backbone (dict): Config of the backbone.
        scope (str): Scope for type names without one, e.g. ``mmdet``.

    Raises:
        SwapError: It cannot be built, or does not run on any image that it should take.
    """
    return measure(build_backbone(backbone, scope), backbone)


def build_backbone(backbone: dict, scope: str) -> nn.Module:
    """Build a backbone without its pretrained weights, random numbers taken aside.

    Raises:
        SwapError: It cannot be built.
    """
    cfg = copy.deepcopy(dict(backbone))
    cfg.pop('init_cfg', None)
    cfg.pop('pretrained', None)
    try:
        with DefaultScope.overwrite_default_scope(scope), torch.random.fork_rng(devices=[]):
            return MODELS.build(cfg)
    except Exception as error:  # any library's backbone may raise anything
        raise SwapError(f'backbone {cfg.get("type")} cannot be built: {one_line(error)}') from error


def measure(module: nn.Module, backbone: dict) -> Features:
    """Run a backbone on a small image.

    Args:
        module (nn.Module): The backbone.
        backbone (dict): Its config, which may hold the size and the channels of its images.

    Raises:
        SwapError: It runs on no image, or hands on something other than maps.
    """
    name = backbone.get('type')
    channels = backbone.get('in_channels', 3)
    channels = channels if isinstance(channels, int) else 3
    module.eval()  # mmdet's ResNet returns None from it
    errors = []
    for height, width in probe_sizes(backbone):
        try:
            outs = run(module, torch.zeros(1, channels, height, width))
            break
        except Exception as error:
            errors.append(one_line(error))
    else:
        tried = ' or '.join(f'{height}x{width}' for height, width in probe_sizes(backbone))
        raise SwapError(
            f'backbone {name} was built, but takes no image of {tried} pixels: {errors[-1]}'
        )
    if any(not isinstance(out, torch.Tensor) or out.ndim != 4 for out in outs):
        raise SwapError(
            f'backbone {name} gives more than maps (B, C, H, W), e.g. class tokens, which the new '
            'one does not; start from a config whose heads read maps alone'
        )
    return Features(
        tuple(out.shape[1] for out in outs), tuple(round(height / out.shape[-2]) for out in outs)
    )


def probe_sizes(backbone: dict) -> list[tuple[int, int]]:
    """Images to try: a small one, then what the config says that the backbone takes."""
    sizes = [(PROBE, PROBE)]
    for key in SIZE_KEYS:
        value = backbone.get(key)
        pair = (value, value) if isinstance(value, int) else value
        if isinstance(pair, list | tuple) and all(isinstance(side, int) for side in pair):
            sizes.append((pair[0], pair[-1]))
    return sizes


def run(module: nn.Module, images: torch.Tensor) -> list:
    """The outputs of a backbone."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        outs = module(images)
    outs = [outs] if isinstance(outs, torch.Tensor) else list(outs)
    # mmseg's MAE and BEiT give lists of one; DPT's ViT gives a map with a class token.
    return [out[0] if isinstance(out, list | tuple) and len(out) == 1 else out for out in outs]


def require_same_in_training(module: nn.Module, backbone: dict, count: int) -> None:
    """Refuse a backbone that gives other outputs in training than in inference.

    Raises:
        SwapError: It does, as mmseg's DDRNet and PIDNet do.
    """
    channels = backbone.get('in_channels', 3)
    try:
        module.train()
        outs = run(module, torch.zeros(2, channels, PROBE, PROBE))
    except Exception:  # e.g. an image that is too small for batch norm: then it does not tell
        return
    finally:
        module.eval()
    if len(outs) != count:
        raise SwapError(
            f'backbone {backbone.get("type")} gives {len(outs)} outputs in training and {count} in '
            'inference, which its head relies on; start from a config of another backbone'
        )


def one_line(error: Exception) -> str:
    """An exception's text in one line."""
    return ' '.join(str(error).split())
