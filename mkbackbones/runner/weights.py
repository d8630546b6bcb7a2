"""Checks of the checkpoint that a runner is to load, before it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .errors import InputError

if TYPE_CHECKING:
    from torch import nn

__all__ = ['check_complete', 'check_names', 'check_readable', 'entry_names']


def check_readable(checkpoint: str | None, trusted: bool = False) -> None:
    """Raise InputError unless a local checkpoint can be read; its values are not."""
    from ..checkpoints.report import CheckpointError
    from ..checkpoints.source import load_file

    if checkpoint and '://' not in checkpoint and not trusted:
        try:
            load_file(checkpoint, shapes_only=True)
        except (CheckpointError, FileNotFoundError) as error:
            raise InputError(error) from error


def entry_names(checkpoint: str | None, trusted: bool = False) -> list[str]:
    """Names of the weights in a local checkpoint, whose values are not read; [] for a URL.

    Raises:
        InputError: If it cannot be read.
    """
    from ..checkpoints.report import CheckpointError
    from ..checkpoints.source import load_file, unwrap

    if not checkpoint or '://' in checkpoint:
        return []
    try:
        return list(unwrap(load_file(checkpoint, trusted, shapes_only=True), checkpoint))
    except (CheckpointError, FileNotFoundError) as error:
        raise InputError(error) from error


def check_names(model: nn.Module, names: list[str], checkpoint: str) -> None:
    """Raise InputError if no entry of a checkpoint has a name in the model.

    mmengine would warn of unexpected keys, and go on with the model's initial weights.

    Args:
        model (nn.Module): The model.
        names (list[str]): From :func:`entry_names`.
        checkpoint (str): The checkpoint, for the message.
    """
    tops = {name.split('.')[0] for name in model.state_dict()}
    if names and not any(name.removeprefix('module.').split('.')[0] in tops for name in names):
        raise InputError(
            f'none of the {len(names)} entries of {checkpoint} belongs to the model: they begin '
            f'with {names[0]}, and its parts are {", ".join(sorted(tops))}; weights of a '
            "backbone alone go into model.backbone.init_cfg=dict(type='Pretrained', "
            'checkpoint=...)'
        )


def check_complete(model: nn.Module, content: Mapping[str, Any], checkpoint: str) -> None:
    """Raise InputError unless a checkpoint has all weights of the model, in their shapes.

    mmengine goes on with initial values where some are missing or do not fit, and says so among
    much else.

    Args:
        model (nn.Module): The model.
        content (Mapping): What :func:`mkbackbones.checkpoints.source.load_file` gives; shapes do.
        checkpoint (str): Where it is from, for the message.
    """
    from ..checkpoints.source import unwrap

    state = unwrap(content, checkpoint)
    shapes = {name.removeprefix('module.'): tuple(value.shape) for name, value in state.items()}
    check_names(model, list(shapes), checkpoint)
    wanted = {name: tuple(value.shape) for name, value in model.named_parameters()}
    lacking = [name for name in wanted if name not in shapes]
    other = [name for name in wanted if shapes.get(name, wanted[name]) != wanted[name]]
    if lacking or other:
        first = (other or lacking)[0]
        size = f' has the shape {shapes[first]} instead of {wanted[first]}' if other else ''
        raise InputError(
            f'{checkpoint} is not of this model: {len(lacking)} of its {len(wanted)} weights are '
            f'missing and {len(other)} have another shape, e.g. {first}{size}; give the config of '
            'that training'
        )
