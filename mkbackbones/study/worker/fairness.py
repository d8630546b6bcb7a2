"""Hooks that make the arms of a seed comparable: the same start, the same data, the same draws."""

from __future__ import annotations

import copy

from mmengine.config import ConfigDict
from mmengine.hooks import Hook
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner, load_checkpoint, set_random_seed
from torch import nn

from .processes import unwrap

__all__ = ['SharedStartHook', 'start_like']

#: Entries of a state dict that belong to the backbone.
BACKBONE = 'backbone.'


class SharedStartHook(Hook):
    """Give an arm the initial weights of the baseline, wherever both have them.

    The baseline's model is built with the seed of the run; its heads, and its backbone where the
    arm's is of the same type, are loaded into the arm's model. Stock weights load into a manifold
    key as from a checkpoint; what only the arm has keeps its own initial values.

    Args:
        model (ConfigDict): Config of the baseline's model.
        with_backbone (bool): Whether the backbone is shared, too. It is not where every arm starts
            from its own network of another task.
    """

    priority = 'HIGH'

    def __init__(self, model: ConfigDict, with_backbone: bool) -> None:
        self.model = model
        self.with_backbone = with_backbone

    def before_train(self, runner: Runner) -> None:
        if runner.iter:  # resumed
            return
        set_random_seed(runner.seed)
        with DefaultScope.overwrite_default_scope(runner.cfg.get('default_scope', 'mmengine')):
            baseline = MODELS.build(copy.deepcopy(self.model))
            baseline.init_weights()
        if runner.cfg.get('load_from'):
            load_checkpoint(baseline, runner.cfg.load_from, map_location='cpu')
        same_type = self.model.backbone.type == runner.cfg.model.backbone.type
        start_like(unwrap(runner.model), baseline, self.with_backbone and same_type)


def start_like(model: nn.Module, baseline: nn.Module, with_backbone: bool) -> list[str]:
    """Load into a model what it has in common with another one.

    Args:
        model (nn.Module): The model to change.
        baseline (nn.Module): The model to start like.
        with_backbone (bool): Whether entries of the backbone are loaded, too.

    Returns:
        list[str]: Names of the baseline's entries that were handed to the model.
    """
    own = model.state_dict()
    shared = {
        name: value.clone()  # hooks of the keys may write into what they are given
        for name, value in baseline.state_dict().items()
        if (with_backbone or not name.startswith(BACKBONE))
        and (name not in own or own[name].shape == value.shape)
    }
    names = list(shared)
    model.load_state_dict(shared, strict=False)
    return names
