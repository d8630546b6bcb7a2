"""What a report tells about a task."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config

from ..define.tasks import Task
from ..records.results import TaskInfo
from .tiles import tiles_in_words

__all__ = ['describe_task']


def describe_task(task: Task, cfg: Config, datasets: dict[str, Any]) -> TaskInfo:
    """What a report tells about a task."""
    dataset = datasets['test']
    num_images = {split: len(found) for split, found in datasets.items()}
    data = cfg.train_dataloader.dataset
    transforms = data.get('pipeline') or data.get('transforms') or []
    names = [step['type'] for step in transforms if not step['type'].startswith(('Load', 'Pack'))]
    settings = {
        'config': task.config.name,
        'batch size': str(cfg.train_dataloader.batch_size),
        'optimiser': cfg.optim_wrapper.optimizer.type,
        'precision': cfg.optim_wrapper.get('type', 'OptimWrapper'),
        'augmentation': ', '.join(names) or 'none',
    }
    if task.gpus > 1:
        settings['GPUs of a run'] = f'{task.gpus}, the batch dealt out to them'
    if task.tile is not None:
        settings['tiles'] = tiles_in_words(task.tile)
    if hasattr(dataset, 'split_rule'):
        settings['splits'] = dataset.split_rule
    classes = list((getattr(dataset, 'metainfo', None) or {}).get('classes') or [])
    root = cfg.get('data_root') or cfg.test_dataloader.dataset.get('data_root') or ''
    return TaskInfo(
        *(task.kind, task.primary, classes, num_images, root, settings), source=task.source
    )
