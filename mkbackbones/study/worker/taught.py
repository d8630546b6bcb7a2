"""An arm that learns from the trained network of another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ...engine.distill import add_distillation
from ...engine.teacher import build_teacher

__all__ = ['TeacherHook']


class TeacherHook(Hook):
    """As ``DistillHook``, with a teacher that the study describes.

    Args:
        teacher (dict): Its ``model`` and ``default_scope``; ``checkpoint``, None for the weights
            that it is built with, where speed alone counts; ``losses``, their weights.
        trusted (bool): Whether the checkpoint may hold more than data.
    """

    def __init__(self, teacher: dict, trusted: bool) -> None:
        self.teacher, self.trusted = teacher, trusted
        self.remove: Callable[[], None] | None = None

    def before_train(self, runner: Runner) -> None:
        """Build the teacher and add the losses."""
        model: Any = runner.model.module if is_model_wrapper(runner.model) else runner.model
        teacher = build_teacher(Config(self.teacher), self.teacher['checkpoint'], self.trusted)
        teacher.to(next(model.parameters()).device)
        self.remove = add_distillation(model, teacher, **self.teacher['losses'])

    def after_train(self, runner: Runner) -> None:
        """Take it away again."""
        if self.remove is not None:
            self.remove()
            self.remove = None
