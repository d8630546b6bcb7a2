"""What the optimiser's settings say about the old backbone."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config, ConfigDict
from torch import nn

from .custom_keys import fit_custom_keys

#: Layer-wise decay of mmdet and mmseg. They know the modules of ConvNeXt, BEiT and MAE alone.
LAYER_DECAY = ('LearningRateDecayOptimizerConstructor', 'LayerDecayOptimizerConstructor')
#: Constructors that take any backbone.
KNOWN = (
    'DefaultOptimWrapperConstructor',
    'LayerDecayConstructor',
    'MergedGroupsConstructor',
)
#: Learning rate of AdamW above which a pretrained transformer's weights are soon lost.
HIGH_LR = 1e-3


def fit_optimizer(
    cfg: Config, old: nn.Module, new: nn.Module, changes: list[str], advice: list[str]
) -> None:
    """Fit ``optim_wrapper`` to the new backbone, or tell what has to be decided.

    Args:
        cfg (Config): The config, changed in place.
        old (nn.Module): The old backbone.
        new (nn.Module): The new one.
        changes (list[str]): Extended in place.
        advice (list[str]): Extended in place.
    """
    wrapper = cfg.get('optim_wrapper')
    if not isinstance(wrapper, ConfigDict):
        return
    fit_constructor(wrapper, new, changes, advice)
    keys = (wrapper.get('paramwise_cfg') or {}).get('custom_keys')
    if isinstance(keys, dict) and keys:
        fit_custom_keys(wrapper.paramwise_cfg, old, new, changes, advice)
    advise_rate(wrapper, advice)


def fit_constructor(wrapper: ConfigDict, new: Any, changes: list[str], advice: list[str]) -> None:
    """Put our layer-wise decay in the place of mmdet's and mmseg's, which know few backbones."""
    name = str(wrapper.get('constructor') or 'DefaultOptimWrapperConstructor')
    short = name.rpartition('.')[2]
    layered = hasattr(new, 'get_layer_depth')
    if short == 'LayerDecayConstructor' and not layered:
        advice.append(
            f'optim_wrapper.constructor {name} needs a backbone with get_layer_depth, which '
            f'{type(new).__name__} has not; choose another constructor'
        )
    if short in KNOWN:
        return
    if short not in LAYER_DECAY or not layered:
        advice.append(
            f'optim_wrapper.constructor {name} may know the modules of certain backbones only; '
            'check that it takes the new one'
        )
        return
    before = wrapper.get('paramwise_cfg') or {}
    rate = before.get('decay_rate', before.get('layer_decay_rate'))
    layers = new.get_layer_depth('')[1]
    # The constructors of mmdet and mmseg spare norms and biases everywhere.
    options = ConfigDict(decay_rate=rate, norm_decay_mult=0.0, bias_decay_mult=0.0)
    wrapper.constructor = 'mkbackbones.LayerDecayConstructor'
    wrapper.paramwise_cfg = options
    changes.append(
        f'optim_wrapper.constructor: {name} {dict(before)} -> mkbackbones.LayerDecayConstructor '
        f'{dict(options)}'
    )
    if isinstance(rate, int | float):
        old_layers = before.get('num_layers')
        was = ''
        if isinstance(old_layers, int):
            was = f', which was {rate ** (old_layers + 1):.2g} over {old_layers} layers'
        advice.append(
            f'decay_rate={rate} now counts blocks: the first of the {layers} layers has '
            f'{rate ** (layers - 1):.2g} of the learning rate{was}'
        )


def advise_rate(wrapper: ConfigDict, advice: list[str]) -> None:
    """Tell a learning rate that was set for another kind of model."""
    optimizer = wrapper.get('optimizer') or {}
    kind, rate = optimizer.get('type'), optimizer.get('lr')
    if kind == 'SGD':
        advice.append(
            f'the optimizer is SGD with lr={rate}; transformers want AdamW, e.g. '
            'lr=1e-4, weight_decay=0.05 and a linear warm-up'
        )
    elif isinstance(rate, int | float) and rate >= HIGH_LR:
        advice.append(
            f'the optimizer is {kind} with lr={rate}, which was set for the old backbone and its '
            'training from scratch; a pretrained transformer wants about 1e-4'
        )
