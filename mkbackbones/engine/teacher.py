"""A trained model that another one learns from, from its config and checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from ..checkpoints.report import CheckpointError
from ..checkpoints.source import read_source

__all__ = ['build_teacher', 'read_teacher_config']


def read_teacher_config(path: str) -> Config:
    """The config of a teacher.

    Raises:
        ValueError: There is none, or it has no model.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f'the config of the teacher, {path}, does not exist')
    try:
        cfg = Config.fromfile(str(file))
    except Exception as error:  # a config is a program
        words = ' '.join(str(error).split())
        raise ValueError(f'the config of the teacher, {path}, cannot be read: {words}') from error
    if not cfg.get('model'):
        raise ValueError(f'the config of the teacher, {path}, has no model')
    return cfg


def build_teacher(cfg: Config, checkpoint: str, trusted: bool = False) -> nn.Module:
    """Build a teacher and load its weights strictly; the random numbers of others stay as they are.

    Args:
        cfg (Config): Its config.
        checkpoint (str): Its weights.
        trusted (bool): Load a pickle that holds more than data.

    Returns:
        nn.Module: In evaluation mode, without gradients.

    Raises:
        ValueError: The weights cannot be read, or do not fit.
    """
    try:
        state: Any = read_source(checkpoint, trusted)
    except (CheckpointError, FileNotFoundError) as error:
        raise ValueError(f'the teacher: {error}') from error
    with (
        torch.random.fork_rng(devices=[]),
        DefaultScope.overwrite_default_scope(cfg.get('default_scope')),
    ):
        model = MODELS.build(cfg.model)
    try:
        model.load_state_dict(dict(state))
    except RuntimeError as error:
        first = ' '.join(str(error).split())[:300]
        raise ValueError(
            f'{checkpoint} does not hold the weights of the teacher that its config describes: '
            f'{first}'
        ) from error
    return model.eval().requires_grad_(False)
