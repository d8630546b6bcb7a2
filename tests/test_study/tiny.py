"""A study that takes seconds: a few noise images, nano backbones, a handful of iterations."""

from pathlib import Path
from textwrap import dedent

import numpy as np
from PIL import Image

from ..test_engine.tiny import write_images

ROOT = Path(__file__).parents[2]
BACKBONE = dict(
    type='mkbackbones.ManifoldSwin',
    arch=dict(embed_dims=8, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 2)),
    window_size=4,
    drop_path_rate=0.3,
)
RUNTIME = """
    custom_imports = dict(imports=['mkbackbones'])
    train_cfg = dict(type='IterBasedTrainLoop', max_iters=6, val_interval=3)
    val_cfg = dict(type='ValLoop')
    test_cfg = dict(type='TestLoop')
    optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05))
    param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=6)]
    default_hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1))
    log_level = 'ERROR'
"""
CLASSIFICATION = """
    data_root = '{root}/folder/'
    model = dict(
        type='mkbackbones.ImageClassifier', backbone={backbone}, num_classes=2, in_channels=64
    )
    train_dataloader = dict(
        batch_size=4,
        num_workers={workers},
        sampler=dict(type='InfiniteSampler', shuffle=True),
        dataset=dict(
            type='mkbackbones.ImageFolder',
            data_root=data_root,
            split='train',
            transforms=[dict(type='RandomResizedCrop', size=32, antialias=True)],
        ),
    )
    val_dataloader = dict(
        batch_size=4,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(type='mkbackbones.ImageFolder', data_root=data_root, split='val'),
    )
    test_dataloader = dict(val_dataloader, dataset=dict(val_dataloader['dataset'], split='test'))
    val_evaluator = dict(type='mkbackbones.Accuracy')
    test_evaluator = val_evaluator
"""
STUDY = """
    name = 'tiny'
    question = 'Does it run?'
    arms = dict(
        stock=dict(label='stock key', role='baseline'),
        spatial=dict(label='SpatialK', backbone=dict(key_cfg=dict(type='SpatialK', num_charts=2))),
    )
    tasks = dict(classification=dict(kind='classification', config='classification.py'))
    seeds = [0, 1]
"""


def write_image_folder(root: Path, test: bool = False) -> Path:
    """Two classes, dark and bright: 20 images a class for training, 6 for validation."""
    rng = np.random.default_rng(0)
    counts = dict(train=20, val=6, test=6) if test else dict(train=20, val=6)
    for split, count in counts.items():
        for label, name in enumerate(('bright', 'dark')):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                image = rng.integers(0, 160, (32, 32, 3)) + 90 * (1 - label)
                Image.fromarray(image.astype(np.uint8)).save(folder / f'{i}.png')
    return root


def write_study(folder: Path, workers: int = 0, extra: str = '') -> Path:
    """Write data, a config and a study file; return the study file."""
    if not (folder / 'folder').exists():
        write_image_folder(folder / 'folder')
    config = CLASSIFICATION.format(root=folder, backbone=BACKBONE, workers=workers)
    (folder / 'classification.py').write_text(dedent(RUNTIME) + dedent(config))
    file = folder / 'tiny.py'
    file.write_text(dedent(STUDY) + dedent(extra))
    return file


__all__ = ['BACKBONE', 'ROOT', 'write_image_folder', 'write_images', 'write_study']
