"""Build and run the training of one run."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from .fairness import PairedRandomHook, SharedStartHook
from .progress import Heartbeat
from .recording import LATEST, RecordHook

__all__ = ['build_training', 'train', 'training_size', 'unwrap']

EXACT_RESUME = 'mkbackbones.ExactResumeHook'


def build_training(cfg: Config, folder: Path, heartbeat: Heartbeat) -> tuple[Runner, RecordHook]:
    """Build the runner of a run, ready to go on from its last checkpoint.

    Args:
        cfg (Config): A config with the entry ``study``.
        folder (Path): The run's folder.
        heartbeat (Heartbeat): Told about the progress.

    Returns:
        tuple[Runner, RecordHook]: The runner, and the hook that records its training.
    """
    from ..commands.launch import build_runner
    from ..commands.train import set_up_amp

    study = cfg.study
    cfg.work_dir = str(folder / 'logs')
    # mmengine keeps loggers by name for the life of a process.
    cfg.experiment_name = '_'.join(folder.resolve().parts[-4:])
    set_up_amp(cfg, False)
    hooks = cfg.setdefault('default_hooks', {})
    # RecordHook takes the place of mmengine's, which can leave half a file.
    interval = (hooks.get('checkpoint') or {}).get('interval', cfg.train_cfg.max_iters)
    hooks.checkpoint = None
    cfg.custom_hooks = [
        hook for hook in cfg.get('custom_hooks') or [] if hook['type'] != EXACT_RESUME
    ] + [dict(type=EXACT_RESUME)]
    if study.stage == 'timing':
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if (folder / LATEST).is_file():
        cfg.resume, cfg.load_from = True, str(folder / LATEST)
    baseline = copy.deepcopy(cfg.model)
    baseline.backbone = study.baseline_backbone
    runner = build_runner(cfg)
    recorder = RecordHook(folder, study.metric, study.factor, max(interval, 1), heartbeat)
    for hook in (SharedStartHook(baseline, study.share_backbone), PairedRandomHook(), recorder):
        runner.register_hook(hook)
    return runner, recorder


def train(runner: Runner, recorder: RecordHook) -> None:
    """Train what is left of a run; nothing, where it was stopped after its last iteration."""
    path = recorder.folder / LATEST
    if path.is_file():
        checkpoint = torch.load(path, map_location='cpu', weights_only=False)
        if checkpoint['meta']['iter'] >= runner.cfg.train_cfg.max_iters:
            recorder.after_load_checkpoint(runner, checkpoint)
            return
    runner.train()


def training_size(runner: Runner) -> tuple[int, int]:
    """Height and width of the first training image as the model sees it."""
    item = runner.train_dataloader.dataset[0]
    return tuple(item['inputs'].shape[-2:])


def unwrap(model: torch.nn.Module) -> torch.nn.Module:
    """The model inside a wrapper for distributed training."""
    return getattr(model, 'module', model)
