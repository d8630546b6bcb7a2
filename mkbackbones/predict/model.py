"""A trained model, built from its config and checked against its checkpoint."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..datasets.class_names import stated_classes
from ..datasets.naming import first_few
from ..datasets.palette import make_palette
from ..runner.config_files import one_line
from ..runner.errors import InputError
from ..runner.preflight import check_checkpoint
from ..runner.weights import check_names

if TYPE_CHECKING:
    import torch
    from mmengine.config import Config
    from torch import nn

__all__ = [
    'Kind',
    'check_count',
    'classes_and_palette',
    'kind_of',
    'load_model',
    'read_checkpoint',
    'the_device',
    'watch_overflow',
]

Kind = Literal['detection', 'segmentation']
Palette = list[tuple[int, int, int]]

_KINDS: dict[str, Kind] = {'mmdet': 'detection', 'mmseg': 'segmentation'}


def kind_of(cfg: Config) -> Kind:
    """What a model predicts: instances, or a class map.

    Raises:
        InputError: Neither.
    """
    scope = cfg.get('default_scope')
    if scope not in _KINDS:
        raise InputError(
            f'the config belongs to {scope or "no library"} (its default_scope); predict is for '
            'detectors and segmentors of mmdet and mmseg'
        )
    return _KINDS[scope]


def the_device(wanted: str) -> torch.device:
    """The device that a name stands for; ``auto`` is an accelerator if there is one.

    Raises:
        InputError: There is no such device.
    """
    import torch
    from mmengine.device import get_device

    try:
        device = torch.device(get_device() if wanted == 'auto' else wanted)
    except RuntimeError as error:
        raise InputError(f'device {wanted!r} is unknown; take auto, cpu or cuda') from error
    if device.type == 'cuda' and not torch.cuda.is_available():
        raise InputError(f'device {wanted}: torch sees no CUDA device; use cpu')
    return device


def read_checkpoint(checkpoint: str, trusted: bool = False) -> dict[str, Any]:
    """Read a checkpoint with its meta, without running anything in it.

    Args:
        checkpoint (str): Path or URL.
        trusted (bool): Load pickles that hold more than data, which can run code.

    Raises:
        InputError: It does not exist or cannot be read.
    """
    from ..checkpoints.download import download
    from ..checkpoints.report import CheckpointError
    from ..checkpoints.runner_loader import load_for_runner

    check_checkpoint(checkpoint)
    try:
        is_remote = checkpoint.startswith(('http://', 'https://'))
        file = os.fspath(download(checkpoint)) if is_remote else checkpoint
        return load_for_runner(file, trusted)
    except (CheckpointError, FileNotFoundError) as error:
        raise InputError(error) from error


def classes_and_palette(
    cfg: Config, dataset: Mapping[str, Any], content: Mapping[str, Any], checkpoint: str
) -> tuple[tuple[str, ...], Palette]:
    """Names and colours of the classes, on which config and checkpoint have to agree.

    Args:
        cfg (Config): The config.
        dataset (Mapping): Config of its test set.
        content (Mapping): From :func:`read_checkpoint`.
        checkpoint (str): Where that is from, for messages.

    Raises:
        InputError: They do not agree, or neither tells.
    """
    stated = stated_classes(dataset, cfg.get('default_scope'))
    meta = trained_meta(content)
    trained = tuple(map(str, meta.get('classes') or ()))
    if stated and trained and stated != trained:
        raise InputError(
            f'{checkpoint} was trained for {len(trained)} classes, {first_few(trained)}; the '
            f'config has {len(stated)}, {first_few(stated)}: give the config of that training'
        )
    classes = stated or trained
    if not classes:
        raise InputError(
            'neither the config nor the checkpoint names the classes; say '
            "test_dataloader.dataset.metainfo.classes in the config, e.g. ('crack', 'dent')"
        )
    palette = (dataset.get('metainfo') or {}).get('palette') or meta.get('palette')
    if not isinstance(palette, list | tuple) or len(palette) != len(classes):
        palette = make_palette(len(classes))
    return classes, [(int(red), int(green), int(blue)) for red, green, blue in palette]


def trained_meta(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of the data that it was trained on, with names in lower case."""
    meta = content.get('meta')
    if not isinstance(meta, Mapping):
        return {}
    found = meta.get('dataset_meta') or meta  # mmdet 2 and mmseg 0 have CLASSES and PALETTE in meta
    if not isinstance(found, Mapping):
        return {}
    return {str(name).lower(): value for name, value in found.items()}


def load_model(
    cfg: Config, content: Mapping[str, Any], checkpoint: str, device: torch.device
) -> nn.Module:
    """Build the model and give it the weights; its default scope has to be the config's.

    Raises:
        InputError: The weights are not those of the model.
    """
    from mmengine.model import revert_sync_batchnorm
    from mmengine.registry import MODELS

    from ..checkpoints.source import unwrap

    model_cfg = cfg.model
    if cfg.get('data_preprocessor') is not None:
        model_cfg.setdefault('data_preprocessor', cfg.data_preprocessor)
    try:
        model = MODELS.build(model_cfg)
    except Exception as error:  # a model of the user's raises anything
        raise InputError(f'the model of the config cannot be built: {one_line(error)}') from error
    state = {name.removeprefix('module.'): value for name, value in unwrap(content).items()}
    check_names(model, list(state), checkpoint)
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise InputError(
            f'{checkpoint} does not fit the config, which may have other classes or another size: '
            f'{" ".join(str(error).split()[:60])}'
        ) from error
    parameters = {name for name, _ in model.named_parameters()}
    lacking = [name for name in missing if name in parameters]
    if lacking:
        raise InputError(
            f'{checkpoint} lacks {len(lacking)} weights of the model, which would be random: '
            f'{first_few(lacking, 3)}; give the config of that training'
        )
    if unexpected:
        print(
            f'note: {len(unexpected)} entries of {Path(checkpoint).name} are not of the model: '
            f'{first_few(list(unexpected), 3)}',
            file=sys.stderr,
        )
    return revert_sync_batchnorm(model).to(device).eval()


def watch_overflow(model: nn.Module) -> None:
    """Let a backbone that gives infinite values raise InputError: nothing would be found, silently.

    Swin's activations may leave the range of float16.
    """

    def watch(module: nn.Module, inputs: Any, outputs: Any) -> None:
        maps = outputs if isinstance(outputs, list | tuple) else [outputs]
        if not all(bool(one.isfinite().all()) for one in maps):
            raise InputError(
                'fp16 does not do for this network, whose backbone gives infinite values in it: '
                'take --amp bf16, or none'
            )

    backbone: Any = model.backbone
    backbone.register_forward_hook(watch)


def check_count(model: nn.Module, classes: Sequence[str]) -> None:
    """Raise InputError if the last head of a model has another number of classes than names."""
    from torch.nn import ModuleList

    roi_head = getattr(model, 'roi_head', None)
    heads = [getattr(model, name, None) for name in ('decode_head', 'panoptic_head', 'bbox_head')]
    for head in [getattr(roi_head, 'bbox_head', None), *heads]:
        last: Any = head[-1] if isinstance(head, ModuleList) and len(head) else head
        count = getattr(last, 'num_classes', None)
        if isinstance(count, int) and count != len(classes):
            raise InputError(
                f'the model of the config has {count} classes (num_classes), and its test set '
                f'names {len(classes)}, {first_few(classes)}'
            )
