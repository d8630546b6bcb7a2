"""Get the raw weights from a file, a URL or timm; nothing in a file is run unless it is trusted."""

import difflib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..exported_files import is_exported
from .archive import read_archive
from .download import download
from .pickles import UnsafePickle
from .report import CheckpointError, UntrustedError

#: Where libraries keep the weights in a checkpoint, best first.
WRAPPERS = (
    'state_dict',
    'model',
    'module',
    'teacher',
    'model_state_dict',
    'model_state',
    'net',
    'network',
    'weights',
    'student',
    'state_dict_ema',
    'ema_state_dict',
    'model_ema',
    'ema',
)


def read_source(
    source: str | os.PathLike | Mapping, trusted: bool = False, entry: str | None = None
) -> dict[str, Tensor]:
    """Read weights and take off the wrappers around them.

    Args:
        source (str | PathLike | Mapping): A file (``.pth``, ``.pt``, ``.bin``, ``.safetensors``),
            an http(s) URL, ``timm://model_name``, or a state dict.
        trusted (bool): Load pickles that hold more than weights, which can run code.
        entry (str, optional): Which of several sets of weights to take, e.g. ``state_dict_ema``;
            by default the first of :data:`WRAPPERS`, with a note on the others.

    Returns:
        dict[str, Tensor]: Names as in the source, on the CPU.

    Raises:
        FileNotFoundError: If the file does not exist.
        CheckpointError: If it cannot be read, or is a pickle that needs ``trusted``.
    """
    if isinstance(source, Mapping | nn.Module):
        return unwrap(source, 'the state dict', entry)
    source = os.fspath(source)
    if source.startswith('timm://'):
        return read_timm(source.removeprefix('timm://'))
    if source.startswith(('http://', 'https://')):
        return unwrap(load_file(download(source), trusted), source, entry)
    if '://' in source:
        raise CheckpointError(
            f"checkpoint '{source}' has an unknown scheme; give a file, an http(s) URL or "
            'timm://model_name'
        )
    return unwrap(load_file(source, trusted), source, entry)


def unwrap(
    checkpoint: Any, source: str = 'the checkpoint', entry: str | None = None
) -> dict[str, Tensor]:
    """The tensors inside wrappers such as ``state_dict`` or ``model``.

    Args:
        checkpoint (Any): What a file holds.
        source (str): Where it came from, for messages.
        entry (str, optional): Which of several sets of weights to take.

    Raises:
        CheckpointError: If there are none, or not the one that is wanted.
    """
    if entry is not None:
        if not isinstance(checkpoint, Mapping) or entry not in checkpoint:
            names = ', '.join(sets_of_weights(checkpoint)) or 'nothing'
            raise CheckpointError(
                f'{source} has no entry {entry!r}; sets of weights in it: {names}'
            )
        checkpoint = checkpoint[entry]
    seen: set[int] = set()
    while isinstance(checkpoint, Mapping | nn.Module) and id(checkpoint) not in seen:
        seen.add(id(checkpoint))
        if isinstance(checkpoint, nn.Module):
            checkpoint = checkpoint.state_dict()
        found = sets_of_weights(checkpoint)
        if not found:
            break
        averages = [name for name in found[1:] if 'ema' in name]
        if averages:
            print_log(
                f'{source} holds {found[0]} and {", ".join(averages)}, averages of the weights: '
                f'{found[0]} is taken; entry={averages[0]!r} (--entry) takes the other',
                logger='current',
                level=logging.WARNING,
            )
        checkpoint = checkpoint[found[0]]
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(f'{source} holds a {type(checkpoint).__name__}, not weights by name')
    tensors = {name: value for name, value in checkpoint.items() if isinstance(value, Tensor)}
    for name in tensors:
        if not isinstance(name, str) or not name.isprintable():
            raise CheckpointError(f'{source} has weights under {name!a}; names must be plain text')
    if not tensors:
        names = ', '.join(map(str, list(checkpoint)[:8])) or 'nothing'
        raise CheckpointError(f'{source} holds no weights; its entries are: {names}')
    return tensors


def sets_of_weights(checkpoint: Any) -> list[str]:
    """Names of the entries that can be weights by name, best first."""
    if not isinstance(checkpoint, Mapping):
        return []
    return [n for n in WRAPPERS if isinstance(checkpoint.get(n), Mapping | nn.Module)]


def load_file(path: str | os.PathLike, trusted: bool = False, shapes_only: bool = False) -> Any:
    """Load a checkpoint file onto the CPU, without running anything that it holds.

    Args:
        path (str | PathLike): ``.safetensors``, or what ``torch.save`` wrote.
        trusted (bool): Load pickles that hold more than data, which can run code.
        shapes_only (bool): Leave the values out, which takes no time: tensors are on the ``meta``
            device.

    Raises:
        FileNotFoundError: If it does not exist.
        CheckpointError: If it cannot be read.
        UntrustedError: If it is a pickle that needs ``trusted``.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise CheckpointError(f'checkpoint {path} is a folder; give a file in it')
    if not path.is_file():
        raise FileNotFoundError(f'checkpoint {path} does not exist')
    if path.suffix == '.npz':
        raise CheckpointError(
            f'{path} holds JAX weights, which are not read; timm has converted them, e.g. '
            'timm://vit_base_patch16_224.augreg_in21k'
        )
    try:
        if trusted and path.suffix != '.safetensors':
            return torch.load(path, map_location='cpu', weights_only=False)
        return read_archive(path, shapes_only)
    except UnsafePickle as error:
        raise UntrustedError(refusal(path, error.wanted)) from error
    except Exception as error:  # a broken file raises any of a dozen types
        if is_exported(path):
            raise CheckpointError(
                f'{path} cannot be read as a checkpoint: by its name it is a file that export has '
                'written, of which calibrate-threshold alone makes use; give the checkpoint that '
                'it was exported from'
            ) from error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f'{path} cannot be read as a checkpoint: {reason}') from error


def refusal(path: Path, wanted: str) -> str:
    """Why a pickle was not loaded, and what to do."""
    return (
        f'{path} holds more than weights (it asks for {wanted}), and loading it could run any '
        'code; if you trust who wrote it, say so with trusted=True (in init_cfg, load_checkpoint '
        'or a study file) or --trusted (in the tools)'
    )


def read_timm(name: str) -> dict[str, Tensor]:
    """The pretrained weights of a timm model.

    Raises:
        CheckpointError: If timm has no such model, or no weights for it.
    """
    import timm

    try:
        return dict(timm.create_model(name, pretrained=True).state_dict())
    except Exception as error:  # the hub, the network and timm raise types of their own
        base = name.split('.')[0]
        reason = str(error)
        if not timm.is_model(base) and ':' not in name:
            near = difflib.get_close_matches(base, timm.list_models(), n=3)
            reason = 'there is no such model' + (
                f'; did you mean {", ".join(near)}?' if near else ''
            )
        raise CheckpointError(f"timm gives no weights for '{name}': {reason}") from error
