"""1x1 convolutions from the widths of a student's maps to those of its teacher's.

They are trained with the student and are no part of it, so that its checkpoints load into it as
they are: their parameters join a group of the optimiser, which schedules, clipping and loss scaling
then see as any others; with several processes they have a wrapper of their own, beside the
student's. (Projections of a student's maps: FitNets, arXiv 1412.6550.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import get_world_size
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from .teacher import TeacherError

__all__ = ['Adapters']


class Levels(nn.ModuleList):
    """One convolution a level, none where both have the same width.

    Args:
        widths (Sequence[tuple[int, int]]): Channels of the student and of the teacher, one a level.
    """

    def __init__(self, widths: Sequence[tuple[int, int]]) -> None:
        super().__init__(nn.Identity() if a == b else nn.Conv2d(a, b, 1) for a, b in widths)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps (B, C, H, W) in the teacher's widths."""
        return [layer(x.float()) for layer, x in zip(self, maps, strict=True)]


class Adapters:
    """What bridges the widths of two models, made when they are known.

    Args:
        optimizer (Optimizer): Trains them.
    """

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.widths: list[tuple[int, int]] = []
        self.levels: Levels | None = None
        self.called: Any = None

    def __call__(self, found: list[Tensor], wanted: list[Tensor]) -> list[Tensor]:
        """A student's maps in the widths of its teacher's; as they are where these are the same.

        Args:
            found (list[Tensor]): The student's maps (B, C, H, W), one a level.
            wanted (list[Tensor]): The teacher's.

        Raises:
            TeacherError: The optimiser cannot take parameters, or the widths have changed.
        """
        if not bridgeable(found, wanted):
            return found
        widths = [(a.shape[1], b.shape[1]) for a, b in zip(found, wanted)]
        if self.levels is None:
            with torch.random.fork_rng(devices=[]):  # all else draws what it draws without them
                self.make(widths, found[0].device)
        if widths != self.widths:
            raise TeacherError(
                f'the maps of student and teacher have {told(widths)} channels, and the adapters '
                f'between them were made for {told(self.widths)}'
            )
        return self.called(found)

    def make(self, widths: list[tuple[int, int]], device: torch.device) -> None:
        """Make them, and give them to the optimiser."""
        if not isinstance(self.optimizer, Optimizer):
            raise TeacherError(
                f'the maps of student and teacher have {told(widths)} channels, which takes '
                f'adapters, and optim_wrapper has no single optimiser to train them but a '
                f'{type(self.optimizer).__name__}; set features=0, or train with one optimiser'
            )
        self.widths, self.levels = widths, Levels(widths).to(device)
        usual_group(self.optimizer)['params'].extend(self.levels.parameters())
        # Beside the student's own wrapper, which was made without them. Their gradients are the
        # first of a backward pass, in all processes, whatever else a batch takes.
        self.called = DistributedDataParallel(self.levels) if get_world_size() > 1 else self.levels

    def state(self) -> dict | None:
        """For a checkpoint, on the CPU; None where there are none."""
        if self.levels is None:
            return None
        weights = {name: value.cpu() for name, value in self.levels.state_dict().items()}
        return dict(widths=self.widths, weights=weights)

    def load(self, state: dict, device: torch.device) -> None:
        """Make what a checkpoint holds, before the optimiser's state is loaded."""
        self.make([(a, b) for a, b in state['widths']], device)
        assert self.levels is not None
        self.levels.load_state_dict(state['weights'])


def bridgeable(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> bool:
    """Whether widths differ between maps, and nothing else."""
    return (
        len(found) == len(wanted)
        and all(a.dim() == b.dim() == 4 for a, b in zip(found, wanted))
        and all(a.shape[2:] == b.shape[2:] for a, b in zip(found, wanted))
        and any(a.shape[1] != b.shape[1] for a, b in zip(found, wanted))
    )


def usual_group(optimizer: Optimizer) -> dict:
    """The parameter group whose settings come closest to the optimiser's own.

    A group of their own would be left out by schedules, which know those that were there first.
    """
    usual = optimizer.defaults

    def distance(group: dict) -> tuple[float, float]:
        rate = group.get('initial_lr', group['lr'])
        decay = group.get('weight_decay', 0.0)
        return abs(rate - usual['lr']), abs(decay - usual.get('weight_decay', 0.0))

    return min(optimizer.param_groups, key=distance)


def told(widths: Sequence[tuple[int, int]]) -> str:
    """Widths of two models, in words."""
    return f'{[a for a, _ in widths]} and {[b for _, b in widths]}'
