"""Get the raw weights from a file, a URL or timm; nothing in a file is run unless it is trusted."""

import argparse
import contextlib
import difflib
import os
import pickle
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlparse

import numpy as np
import torch
from torch import Tensor, nn

from .report import CheckpointError

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
    'model_ema',
)


def read_source(source: str | os.PathLike | Mapping, trusted: bool = False) -> dict[str, Tensor]:
    """Read weights and take off the wrappers around them.

    Args:
        source (str | PathLike | Mapping): A file (``.pth``, ``.pt``, ``.bin``, ``.safetensors``),
            an http(s) URL, ``timm://model_name``, or a state dict.
        trusted (bool): Load pickles that hold more than weights, which can run code.

    Returns:
        dict[str, Tensor]: Names as in the source, on the CPU.

    Raises:
        FileNotFoundError: If the file does not exist.
        CheckpointError: If it cannot be read, or is a pickle that needs ``trusted``.
    """
    if isinstance(source, Mapping | nn.Module):
        return unwrap(source, 'the state dict')
    source = os.fspath(source)
    if source.startswith('timm://'):
        return read_timm(source.removeprefix('timm://'))
    if source.startswith(('http://', 'https://')):
        return unwrap(load_file(download(source), trusted), source)
    if '://' in source:
        raise CheckpointError(
            f"checkpoint '{source}' has an unknown scheme; give a file, an http(s) URL or "
            'timm://model_name'
        )
    return unwrap(load_file(source, trusted), source)


def unwrap(checkpoint: Any, source: str = 'the checkpoint') -> dict[str, Tensor]:
    """The tensors inside wrappers such as ``state_dict`` or ``model``.

    Raises:
        CheckpointError: If there are none.
    """
    while isinstance(checkpoint, Mapping | nn.Module):
        if isinstance(checkpoint, nn.Module):
            checkpoint = checkpoint.state_dict()
        inner = [checkpoint[name] for name in WRAPPERS if name in checkpoint]
        inner = [value for value in inner if isinstance(value, Mapping | nn.Module)]
        if not inner:
            break
        checkpoint = inner[0]
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(f'{source} holds a {type(checkpoint).__name__}, not weights by name')
    tensors = {name: value for name, value in checkpoint.items() if isinstance(value, Tensor)}
    if not tensors:
        names = ', '.join(map(str, list(checkpoint)[:8])) or 'nothing'
        raise CheckpointError(f'{source} holds no weights; its entries are: {names}')
    return tensors


def load_file(path: str | os.PathLike, trusted: bool = False) -> Any:
    """Load a checkpoint file onto the CPU, without running anything that it holds.

    Args:
        path (str | PathLike): ``.safetensors``, or what ``torch.save`` wrote.
        trusted (bool): Load pickles that hold more than weights, which can run code.

    Raises:
        FileNotFoundError: If it does not exist.
        CheckpointError: If it cannot be read, or is a pickle that needs ``trusted``.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'checkpoint {path} does not exist')
    if path.suffix == '.npz':
        raise CheckpointError(
            f'{path} holds JAX weights, which are not read; timm has converted them, e.g. '
            'timm://vit_base_patch16_224.augreg_in21k'
        )
    try:
        if path.suffix == '.safetensors':
            from safetensors.torch import load_file as load_safetensors

            return load_safetensors(path)
        if trusted:
            return torch.load(path, map_location='cpu', weights_only=False)
        with safe_globals():
            return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # a broken file raises any of a dozen types
        if isinstance(error, pickle.UnpicklingError) and not trusted:
            wanted = re.findall(r'(?:GLOBAL|global|class) ([\w.]+\.\w+)', str(error))
            if wanted:
                raise CheckpointError(refusal(path, wanted[0])) from error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f'{path} cannot be read as a checkpoint: {reason}') from error


def refusal(path: Path, wanted: str) -> str:
    """Why a pickle was not loaded, and what to do."""
    return (
        f'{path} holds more than weights (it asks for {wanted}), and loading it could run any '
        'code; if you trust who wrote it, say so with trusted=True (in init_cfg or '
        'load_checkpoint) or --trusted (in the tools)'
    )


def safe_globals() -> contextlib.AbstractContextManager:
    """Allow, within ``torch.load(weights_only=True)``, the data types of training checkpoints.

    mmengine stores its training history (``HistoryBuffer``, whose pickle refers to its own methods
    through ``getattr``; a weights-only load calls none of them), timm and the official codes
    their arguments (``Namespace``), and all of them numpy scalars.
    """
    from mmengine.logging import HistoryBuffer

    core = np._core if hasattr(np, '_core') else np.core
    allowed = [argparse.Namespace, HistoryBuffer, getattr, slice, np.ndarray, np.dtype]
    allowed += [core.multiarray.scalar, core.multiarray._reconstruct]
    allowed += {type(np.dtype(code)) for code in '?bBhHiIlLqQefd'}
    serialization = torch.serialization
    if hasattr(serialization, 'safe_globals'):
        return serialization.safe_globals(allowed)
    serialization.add_safe_globals(allowed)  # torch 2.4 has no context for it
    return contextlib.nullcontext()


def download(url: str) -> Path:
    """Download into the cache that mmengine's loader uses; rank 0 first.

    mmengine's loader itself would unpickle whatever comes, without ``weights_only``.

    Raises:
        CheckpointError: If it cannot be downloaded.
    """
    from mmengine.dist import barrier, get_rank

    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    file = folder / Path(urlparse(url).path).name

    def fetch() -> None:
        if not file.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(file), progress=sys.stderr.isatty())

    try:
        if get_rank() == 0:
            fetch()
    except (URLError, OSError) as error:
        raise CheckpointError(f'{url} cannot be downloaded: {error}') from error
    finally:
        barrier()
    fetch()  # ranks whose file system rank 0 does not share
    return file


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
