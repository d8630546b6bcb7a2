"""A trained model that another one learns from, from its config and checkpoint."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from ..arguments import short
from ..checkpoints.report import CheckpointError
from ..checkpoints.source import load_file, read_source, unwrap

__all__ = [
    'TeacherError',
    'build_teacher',
    'check_preprocessing',
    'check_teacher',
    'read_teacher_config',
]


class TeacherError(ValueError):
    """A teacher that cannot be had, or does not go with its student, in one sentence."""


def read_teacher_config(path: str) -> Config:
    """The config of a teacher.

    Raises:
        TeacherError: There is none, or it has no model.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise TeacherError(f'the config of the teacher, {path}, does not exist')
    try:
        cfg = Config.fromfile(str(file))
    except Exception as error:  # a config is a program
        words = ' '.join(str(error).split())
        raise TeacherError(f'the config of the teacher, {path}, cannot be read: {words}') from error
    if not cfg.get('model'):
        raise TeacherError(f'the config of the teacher, {path}, has no model')
    return cfg


def build_teacher(cfg: Config, checkpoint: str | None, trusted: bool = False) -> nn.Module:
    """Build a teacher and load its weights strictly; the random numbers of others stay as they are.

    Args:
        cfg (Config): Its config.
        checkpoint (str | None): Its weights; None for those that it is built with.
        trusted (bool): Load a pickle that holds more than data.

    Returns:
        nn.Module: In evaluation mode, without gradients.

    Raises:
        TeacherError: The weights cannot be read, or do not fit.
    """
    state: Any = None
    try:
        if checkpoint is not None:
            state = read_source(checkpoint, trusted)
    except (CheckpointError, FileNotFoundError) as error:
        raise TeacherError(f'the teacher: {error}') from error
    with torch.random.fork_rng(devices=[]):
        model = built(cfg)
    try:
        if state is not None:
            model.load_state_dict(dict(state))
    except RuntimeError as error:
        raise other_weights(str(checkpoint), str(error)) from error
    return model.eval().requires_grad_(False)


def check_teacher(cfg: Config, checkpoint: str, trusted: bool = False) -> None:
    """See whether a teacher could be built, without reading values or memory for weights.

    Args:
        cfg (Config): Its config.
        checkpoint (str): Its weights; an address is left for later.
        trusted (bool): Load a pickle that holds more than data.

    Raises:
        TeacherError: As :func:`build_teacher` would.
    """
    if '://' in checkpoint:
        return
    try:
        state = unwrap(load_file(checkpoint, trusted, shapes_only=True), checkpoint)
    except (CheckpointError, FileNotFoundError) as error:
        raise TeacherError(f'the teacher: {error}') from error
    with torch.random.fork_rng(devices=[]):
        model = None
        with contextlib.suppress(Exception), torch.device('meta'):
            model = built(cfg)
        model = model or built(cfg)  # some look at their weights
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    if wanted == found:
        return
    lacking, more = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    other = sorted(n for n in wanted.keys() & found.keys() if wanted[n] != found[n])
    raise other_weights(
        checkpoint,
        f'{len(lacking)} are missing, {len(more)} are more, {len(other)} have another shape, e.g. '
        f'{(lacking + other + more)[0]}',
    )


def built(cfg: Config) -> Any:
    """The model of a config, with initial weights.

    Raises:
        TeacherError: If it cannot be built.
    """
    try:
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
            return MODELS.build(cfg.model)
    except Exception as error:  # a config names any class, which raises anything
        words = ' '.join(str(error).split())
        raise TeacherError(f'the model of the teacher cannot be built: {words}') from error


def other_weights(checkpoint: str, how: str) -> TeacherError:
    """The error for weights of another model."""
    return TeacherError(
        f'{checkpoint} does not hold the weights of the teacher that its config describes: '
        f'{" ".join(how.split())[:300]}'
    )


def check_preprocessing(own: Any, theirs: Any) -> None:
    """Raise TeacherError where the teacher would see pictures that are prepared otherwise."""
    own, theirs = (each.get('data_preprocessor') or {} for each in (own, theirs))
    for name in ('mean', 'std', 'bgr_to_rgb', 'rgb_to_bgr'):
        a, b = own.get(name), theirs.get(name)
        numbers = isinstance(a, list | tuple) and isinstance(b, list | tuple)
        same = (
            len(a) == len(b) and all(math.isclose(x, y, abs_tol=1e-3) for x, y in zip(a, b))
            if numbers
            else (a or None) == (b or None)
        )
        if not same:
            raise TeacherError(
                f'data_preprocessor.{name} is {short(a)} in the student and {short(b)} in the '
                'teacher, which sees what the student is given; make them the same'
            )
