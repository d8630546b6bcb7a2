"""Build and run the training of one run."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...checkpoints.report import CheckpointError, UntrustedError
from ...checkpoints.runner_loader import load_for_runner
from ...checkpoints.source import load_file
from ...files import written_aside
from ...runner.build import build_runner
from ...runner.precision import set_up_amp
from ..records.progress import Heartbeat
from ..records.run_folder import BEST, LATEST
from .fairness import SharedStartHook
from .hand_over import hand_over
from .processes import MeanLossHook, join_group, rank, share_batch
from .recording import ENTRY, RecordHook
from .share import bound_loaders
from .taught import TeacherHook

__all__ = ['build_training', 'train', 'training_size']

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

    study = cfg.study
    cfg.work_dir = str(folder / 'logs')
    # mmengine keeps loggers by name for the life of a process.
    cfg.experiment_name = '_'.join(folder.resolve().parts[-4:])
    set_up_amp(cfg, False)
    bound_loaders(cfg)
    hooks = cfg.setdefault('default_hooks', {})
    # RecordHook takes the place of mmengine's, which can leave half a file.
    interval = (hooks.get('checkpoint') or {}).get('interval', cfg.train_cfg.max_iters)
    hooks.checkpoint = None
    cfg.custom_hooks = [
        hook for hook in cfg.get('custom_hooks') or [] if hook['type'] != EXACT_RESUME
    ] + [dict(type=EXACT_RESUME)]
    if study.stage in ('timing', 'throughput'):
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    latest = None
    if rank() is None:  # else whoever started this process has done so
        latest = drop_damaged(folder, study.get('trusted', False))
    else:
        share_batch(cfg, study.gpus)
        join_group(cfg)
    if (folder / LATEST).is_file():
        cfg.resume, cfg.load_from = True, str(folder / LATEST)
    baseline = copy.deepcopy(cfg.model)
    baseline.backbone = study.baseline_backbone
    runner = build_runner(cfg, study.get('trusted', False))
    if latest is not None and not is_done(latest, cfg):
        hand_over(folder / LATEST, latest)
    recorder = RecordHook(folder, study.metric, study.factor, max(interval, 1), heartbeat)
    own: list[Hook] = [SharedStartHook(baseline, study.share_backbone)]
    if study.get('teacher') is not None:
        own.append(TeacherHook(study.teacher, study.get('trusted', False)))
    if rank() is not None:
        own.append(MeanLossHook())
    # Of several processes the first one keeps the record.
    for hook in own if rank() else [*own, recorder]:
        runner.register_hook(hook)
    return runner, recorder


def is_done(checkpoint: dict, cfg: Config) -> bool:
    """Whether a checkpoint is that of a run's last iteration."""
    return checkpoint['meta']['iter'] >= cfg.train_cfg.max_iters


def drop_damaged(folder: Path, trusted: bool) -> dict | None:
    """Remove checkpoints of a run that are damaged, and say so: what is left decides.

    Without ``latest.pth`` the run starts again. Without ``best.pth`` it starts again too, unless
    ``latest.pth`` has the same weights.

    Returns:
        dict | None: What ``latest.pth`` holds, if it is there still.

    Raises:
        UntrustedError: One is whole, but holds what a hook of the user has put into it, and the
            study file does not say ``trusted``.
    """
    contents = {}
    for name in (LATEST, BEST):
        path = folder / name
        if not path.is_file():
            continue
        try:
            contents[name] = load_for_runner(str(path), trusted)
        except UntrustedError:
            raise
        except CheckpointError as error:
            print(f'{error}; it is removed', file=sys.stderr)
            path.unlink()
    latest = contents.get(LATEST)
    if latest is None or BEST in contents:
        if latest is None and not (folder / LATEST).is_file() and BEST in contents:
            print(f'{folder}: no {LATEST}; the run starts again', file=sys.stderr)
        return latest
    record = latest.get(ENTRY) or {}
    if not record.get('best_iteration'):  # before the first validation
        return latest
    if record['best_iteration'] == latest['meta']['iter']:
        kept = {k: latest[k] for k in ('meta', 'state_dict', ENTRY)}
        with written_aside(folder / BEST) as work:
            torch.save(kept, work)
        print(f'{BEST} is made again from {LATEST}, which has its weights', file=sys.stderr)
        return latest
    print(f'{BEST} is gone, and {LATEST} has later weights: the run starts again', file=sys.stderr)
    (folder / LATEST).unlink()
    return None


def train(runner: Runner, recorder: RecordHook) -> None:
    """Train what is left of a run; nothing, where it was stopped after its last iteration."""
    path = recorder.folder / LATEST
    if path.is_file():
        # Its values are read by whoever goes on from them.
        checkpoint = load_file(path, runner.cfg.study.get('trusted', False), shapes_only=True)
        if is_done(checkpoint, runner.cfg):
            recorder.after_load_checkpoint(runner, checkpoint)
            if checkpoint.get('message_hub'):  # what ChartInfoHook saw
                whole = load_for_runner(str(path), runner.cfg.study.get('trusted', False))
                runner.message_hub.load_state_dict(whole['message_hub'])
            return
    runner.train()


def training_size(runner: Runner) -> tuple[int, int]:
    """Height and width of the first training image as the model sees it."""
    item = runner.train_dataloader.dataset[0]
    return tuple(item['inputs'].shape[-2:])
