"""An arm that learns from the trained network of another one."""

from __future__ import annotations

from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn

from ...engine.distill import TaughtHook
from ...engine.teacher import build_teacher

__all__ = ['TeacherHook']


class TeacherHook(TaughtHook):
    """As ``DistillHook``, with a teacher that the study describes.

    Args:
        teacher (dict): Its ``model`` and ``default_scope``; ``checkpoint``, None for the weights
            that it is built with, where speed alone counts; ``losses``, their weights.
        trusted (bool): Whether the checkpoint may hold more than data.
    """

    def __init__(self, teacher: dict, trusted: bool) -> None:
        super().__init__(teacher['losses'])
        self.teacher, self.trusted = teacher, trusted

    def build(self, runner: Runner) -> nn.Module:
        return build_teacher(Config(self.teacher), self.teacher['checkpoint'], self.trusted)
