"""Write weights in the naming of another library."""

import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files import why_not_written, written_aside
from ..hints import did_you_mean
from .families import FAMILIES, Family, Weights
from .namings import Naming
from .read import read_weights
from .report import CheckpointError, Entry

#: The key under which a library's own loader looks for the weights; None for the weights alone.
CONTAINERS: dict[str, str | None] = {
    'official': 'model',
    'mmdet': 'state_dict',
    'mmseg': 'state_dict',
    'mmpretrain': 'state_dict',
    'timm': None,
}
SUFFIXES = ('.pth', '.pt', '.bin', '.safetensors')


def to_naming(state_dict: dict[str, Tensor], naming: str) -> dict[str, Tensor]:
    """Translate weights in our layout, or in any naming that is read, into a library's naming.

    Args:
        state_dict (dict[str, Tensor]): Weights of a backbone.
        naming (str): ``timm``, ``official``, ``mmdet``, ``mmseg`` or ``mmpretrain``.

    Returns:
        dict[str, Tensor]: Weights that the library's own backbone loads strictly.

    Raises:
        CheckpointError: If the weights cannot be read, or the naming cannot hold them: manifold
            keys (fold them first), or an architecture or parts that the library does not have.
    """
    return write_weights(read_weights(state_dict), naming)


def write_weights(weights: Weights, naming: str) -> dict[str, Tensor]:
    """Translate weights in our layout into a library's naming.

    What is left out is added to ``weights.entries``. Arguments and errors as in :func:`to_naming`.
    """
    family = weights.family
    names = find_naming(family, naming)
    manifold = sorted({n.split('.qkv.')[0] for n in weights.state if is_manifold(n)})
    if manifold:
        raise CheckpointError(
            f'{naming} naming cannot hold the manifold keys of {manifold[0]}'
            f'{f" and {len(manifold) - 1} more layers" if manifold[1:] else ""}; fold them first '
            '(python -m mkbackbones fold)'
        )
    state = family.write(dict(weights.state), naming, weights.entries)
    theirs = {name: names.to_theirs(name) for name in state}
    refused = [name for name, renamed in theirs.items() if renamed is None]
    if refused:
        raise CheckpointError(f'{naming} has no place for {", ".join(refused[:6])}')
    weights.entries += [Entry('unexpected', name) for name in weights.unknown]
    return {to: state[name] for name, to in theirs.items() if to is not None}


def find_naming(family: Family, naming: str) -> Naming:
    """Look up a naming for a family.

    Raises:
        CheckpointError: If the library is unknown, or has no such backbone.
    """
    known = sorted({name for kind in FAMILIES.values() for name in written(kind)})
    if naming not in known:
        raise CheckpointError(
            f"naming '{naming}' is unknown; choose from {', '.join(known)}"
            f'{did_you_mean(naming, known)}'
        )
    if naming not in written(family):
        raise CheckpointError(
            f'{naming} has no {family.title}; choose from {", ".join(written(family))}'
        )
    return family.namings[naming]


def written(family: Family) -> list[str]:
    """The libraries in whose naming weights of a family are written."""
    return sorted(name for name, naming in family.namings.items() if naming.is_written)


def is_manifold(name: str) -> bool:
    """Whether an entry belongs to a manifold key."""
    return re.search(r'\.qkv\.(qv|key)\.', name) is not None


def pack(state: dict[str, Tensor], naming: str) -> dict[str, Any]:
    """Put weights where the library's own loader looks for them."""
    container = CONTAINERS.get(naming)
    return state if container is None else {container: state}


def save_checkpoint(
    checkpoint: dict[str, Any], path: str | os.PathLike, force: bool = False
) -> None:
    """Write a checkpoint file in one step: afterwards it is complete, or as it was before.

    Args:
        checkpoint (dict): What to store; the weights alone for ``.safetensors``.
        path (str | PathLike): Where to.
        force (bool): Replace an existing file.

    Raises:
        CheckpointError: If the file exists or cannot be written, or its suffix is not known.
    """
    path = check_target(path, force)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(path) as work:
            if path.suffix == '.safetensors':
                from safetensors.torch import save_file

                tensors = {name: value.contiguous().clone() for name, value in checkpoint.items()}
                save_file(tensors, work, metadata={'format': 'pt'})
            else:
                torch.save(checkpoint, work)
    except (OSError, RuntimeError) as error:  # torch tells a full disk by a RuntimeError
        raise CheckpointError(f'{path} cannot be written: {error}') from error


def check_target(path: str | os.PathLike, force: bool = False) -> Path:
    """Check, before long work, that a checkpoint may be written to ``path``.

    Raises:
        CheckpointError: If the file exists and ``force`` is not set, the suffix is not known, or
            the folder takes no files.
    """
    path = Path(path).expanduser()
    if path.suffix not in SUFFIXES:
        raise CheckpointError(f'{path} has to end with one of {", ".join(SUFFIXES)}')
    if reason := why_not_written(path, force):
        raise CheckpointError(reason)
    return path
