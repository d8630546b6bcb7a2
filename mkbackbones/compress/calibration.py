"""Pictures to calibrate with: training images, prepared as for validation."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from ..runner.errors import InputError

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner

__all__ = ['calibration_batches', 'calibration_dataset']


def calibration_dataset(cfg: Config) -> dict:
    """Config of the training images with the pipeline of the validation images.

    Validation images are left for the metric, training augmentation is left out. Wrappers that
    repeat, mix or balance images are left out, too.

    Raises:
        InputError: If the config has no training or no validation images.
    """
    for name in ('train_dataloader', 'val_dataloader'):
        if not (cfg.get(name) or {}).get('dataset'):
            raise InputError(
                f'the config has no {name}.dataset; keys are calibrated with training images, '
                'prepared as validation images are'
            )
    (pattern, *_) = leaves(cfg.val_dataloader.dataset)
    found = [like(leaf, pattern) for leaf in leaves(cfg.train_dataloader.dataset)]
    return found[0] if len(found) == 1 else dict(type='ConcatDataset', datasets=found)


def leaves(dataset: Any) -> list[dict]:
    """The data sets within wrappers."""
    inner = dataset.get('dataset') or dataset.get('datasets')
    if inner is None:
        return [dataset]
    return [
        leaf for each in (inner if isinstance(inner, list) else [inner]) for leaf in leaves(each)
    ]


def like(leaf: dict, pattern: dict) -> dict:
    """A training data set as one of validation."""
    found = copy.deepcopy({k: v for k, v in leaf.items() if k != 'filter_cfg'})
    if 'pipeline' in pattern:
        found['pipeline'] = copy.deepcopy(pattern['pipeline'])
    return dict(found, test_mode=True)


def calibration_batches(runner: Runner, cfg: Config, number: int, seed: int = 0) -> list[Any]:
    """Some training images, drawn at random, as ``test_step`` takes them.

    Args:
        runner (Runner): Builds the loader.
        cfg (Config): Its config.
        number (int): Images, fewer where there are not so many.
        seed (int): Of the draw.
    """
    import torch
    from torch.utils.data import DataLoader, Subset

    settings = copy.deepcopy(cfg.val_dataloader)
    settings.update(num_workers=0, persistent_workers=False)
    # Not by update(), which would merge it into the data set of validation.
    settings['dataset'] = calibration_dataset(cfg)
    whole = runner.build_dataloader(settings)
    images: Any = whole.dataset
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    some = Subset(images, order[:number].tolist())
    return list(DataLoader(some, batch_size=whole.batch_size or 1, collate_fn=whole.collate_fn))
