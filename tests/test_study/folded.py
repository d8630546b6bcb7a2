"""A tiny study of all kinds of data on group folds."""

import json
from pathlib import Path
from textwrap import dedent

from mkbackbones.datasets import SyntheticDefects
from mkbackbones.datasets.writer import write_dataset

from ..test_engine.tiny import detection_config, segmentation_config
from .tiny import BACKBONE, write_study

FOLDS = 2
KINDS = ('classification', 'detection', 'segmentation')


def write_groups(root: Path, names: list[str], size: int = 2) -> None:
    """Put neighbours into one group."""
    groups = {name: f'part {i // size}' for i, name in enumerate(names)}
    (root / 'groups.json').write_text(json.dumps(groups))


def write_set(root: Path, counts: tuple[int, int, int] = (14, 6, 8)) -> Path:
    """Synthetic defects with boxes and class maps, two images a group."""
    write_dataset(SyntheticDefects.from_counts(*counts, size=64), root)
    names = sorted(path.stem for path in root.glob('images/*/*.png'))
    write_groups(root, names)
    return root


def write_folder(root: Path) -> Path:
    """Names of an image folder are made unique; the test images of tiny's are those of val."""
    for split in ('train', 'val'):
        for path in sorted(root.glob(f'{split}/*/*.png')):
            path.rename(path.with_name(f'{split}-{path.name}'))
    names = sorted(f'{p.parent.name}/{p.stem}' for p in root.glob('*/*/*.png'))
    write_groups(root, names, 4)
    return root


def splits_of(dataset: dict, prefixes: dict[str, str], **settings) -> dict:
    """Loaders of all splits."""
    loaders = {}
    for split in ('train', 'val', 'test'):
        prefix = {key: value.format(split) for key, value in prefixes.items()}
        loaders[f'{split}_dataloader'] = dict(
            batch_size=2,
            num_workers=0,
            sampler=dict(
                type='InfiniteSampler' if split == 'train' else 'DefaultSampler',
                shuffle=split == 'train',
            ),
            dataset={
                **dataset,
                'data_prefix': prefix,
                **{key: value.format(split) for key, value in settings.items()},
            },
        )
    return loaders


def write_configs(folder: Path, data: Path) -> None:
    """Configs of a tiny detector and a tiny segmentor of the synthetic set."""
    loop = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=1)
    common = dict(
        custom_imports=dict(imports=['mkbackbones']), data_root=f'{data}/', train_cfg=loop,
        val_cfg=dict(type='ValLoop'), test_cfg=dict(type='TestLoop'),
    )  # fmt: skip
    config = detection_config(data, folder, BACKBONE)
    config.model.train_cfg.rpn.sampler.add_gt_as_proposals = False  # truths are no anchors
    config.model.roi_head.bbox_head.num_classes = len(SyntheticDefects.classes)
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
    pack = dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    )
    dataset = dict(
        type='mkbackbones.SyntheticDetDataset', data_root=f'{data}/',
        pipeline=[*pipeline, dict(type='Resize', scale=(64, 64)), pack],
    )  # fmt: skip
    loaders = splits_of(dataset, dict(img='images/{}/'), ann_file='annotations/{}.json')
    config.merge_from_dict(common)
    for key, loader in loaders.items():
        config[key] = loader
    for split in ('val', 'test'):
        file = f'{data}/annotations/{split}.json'
        config[f'{split}_evaluator'] = dict(type='CocoMetric', metric='bbox', ann_file=file)
    config.dump(folder / 'detection.py')
    config = segmentation_config(data, folder, BACKBONE)
    config.model.decode_head.num_classes = len(SyntheticDefects.classes) + 1
    dataset = dict(
        type='mkbackbones.SyntheticSegDataset', data_root=f'{data}/',
        pipeline=[
            dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
    )  # fmt: skip
    config.merge_from_dict(common)
    loaders = splits_of(dataset, dict(img_path='images/{}', seg_map_path='masks/{}'))
    for key, loader in loaders.items():
        config[key] = loader
    config.val_evaluator = config.test_evaluator = dict(type='IoUMetric')
    config.dump(folder / 'segmentation.py')


def write_folded(
    folder: Path, keys=('classification',), seeds=(0, 1), folds=FOLDS, extra=''
) -> Path:
    """Data, configs and a study on folds; what is there already stays."""
    tasks = {key: dict(kind=key, config=f'{key}.py', splits=dict(folds=folds)) for key in keys}
    text = f'tasks = {tasks!r}\nseeds = {list(seeds)!r}\nbudget = dict(iters=2)\n'
    new = not (folder / 'folder').exists()
    study = write_study(folder, extra=text + dedent(extra))
    if new:
        write_folder(folder / 'folder')
        if set(keys) != {'classification'}:
            write_configs(folder, write_set(folder / 'defects'))
    return study


__all__ = ['FOLDS', 'KINDS', 'write_folded', 'write_groups', 'write_set']
