"""Let mmengine's runner load checkpoints through our reader, which runs nothing in them.

mmengine's own loader unpickles whatever a file holds, at once or after a safe attempt has failed;
``load_from``, ``--resume``, ``test`` and every ``Pretrained`` of a model go through it. Files are
read by one reader and not checked by one and read by another, which could see another content.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

from .download import download
from .pickles import History
from .report import CheckpointError
from .source import load_file, unwrap

__all__ = ['load_for_runner', 'use_safe_loader']


def use_safe_loader(trusted: bool = False) -> None:
    """Register our reader for all that mmengine's ``CheckpointLoader`` loads in this process.

    Args:
        trusted (bool): Load pickles that hold more than data, which can run code.
    """
    from mmengine.runner import checkpoint as theirs

    def load_local(filename: str, map_location: Any = None) -> Any:
        return load_for_runner(filename, trusted)

    def load_url(filename: str, map_location: Any = None, **unused: object) -> Any:
        return load_for_runner(os.fspath(download(filename)), trusted)

    def load_zoo(prefixes: tuple[str, ...], urls: Callable[[], dict[str, str]]) -> Callable:
        def load(filename: str, map_location: Any = None) -> Any:
            name = next(filename.removeprefix(p) for p in prefixes if filename.startswith(p))
            found = urls()
            if name not in found:
                raise CheckpointError(f'checkpoint {filename!r}: mmengine knows no such model')
            return load_url(found[name], map_location)

        return load

    def load_remote(filename: str, map_location: Any = None, **unused: object) -> Any:
        raise CheckpointError(
            f'checkpoint {filename!r} lies on storage that is not read safely; copy it to a file '
            'and give that, or say --trusted if you trust who wrote it'
        )

    ours: dict[str, Callable] = {'': load_local, 'http://': load_url, 'https://': load_url}
    for prefixes, urls in (
        (('modelzoo://', 'torchvision://'), theirs.get_torchvision_models),
        (('open-mmlab://', 'openmmlab://'), theirs.get_external_models),
        (('mmcls://',), theirs.get_mmcls_models),
    ):
        ours |= dict.fromkeys(prefixes, load_zoo(prefixes, urls))
    loader = theirs.CheckpointLoader
    if not trusted:
        ours = {**dict.fromkeys(loader._schemes, load_remote), **ours}
    for prefix, function in ours.items():
        loader.register_scheme(prefixes=prefix, loader=function, force=True)


def load_for_runner(filename: str, trusted: bool = False) -> Any:
    """Load a checkpoint as mmengine's runner wants it, onto the CPU.

    What ``map_location`` says makes no difference: models and optimisers copy the values to where
    their parameters are.

    Args:
        filename (str): A file.
        trusted (bool): As in :func:`use_safe_loader`.

    Raises:
        FileNotFoundError: If it does not exist.
        CheckpointError: If it cannot be read, or needs ``trusted``.
    """
    checkpoint = load_file(filename, trusted)
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f'{filename} holds a {type(checkpoint).__name__}, not weights by name'
        )
    if not isinstance(checkpoint.get('state_dict', checkpoint), dict):
        raise CheckpointError(f"{filename}: its entry 'state_dict' is no dict of weights")
    if 'state_dict' not in checkpoint and not any(map(torch.is_tensor, checkpoint.values())):
        checkpoint = {**checkpoint, 'state_dict': unwrap(checkpoint, filename)}
    hub = checkpoint.get('message_hub') if isinstance(checkpoint, dict) else None
    scalars = hub.get('log_scalars') if isinstance(hub, dict) else None
    if isinstance(scalars, dict):
        from mmengine.logging import HistoryBuffer

        for key, value in scalars.items():
            if isinstance(value, History):
                log: Any = value.log  # it takes arrays as well as what it says, sequences
                counts: Any = value.counts
                scalars[key] = HistoryBuffer(log, counts, value.max_length)
    return checkpoint
