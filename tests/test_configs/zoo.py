"""What the tests of the configs share: the configs, and small data in the layout each one reads."""

import json
from functools import cache
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS

ROOT = Path(__file__).resolve().parents[2] / 'configs'
#: Every detector and segmentor, as paths below configs/ without the suffix.
CONFIGS = sorted(
    path.relative_to(ROOT).with_suffix('').as_posix()
    for folder in ('detection', 'segmentation', 'demo')
    for path in (ROOT / folder).rglob('*.py')
)
#: Arguments of transforms that are sizes in pixels.
SIZES = ('scale', 'crop_size', 'size', 'img_scale')


@cache
def load(name: str) -> Config:
    """Read a config by its path below configs/, to look at: the next caller gets the same one."""
    return Config.fromfile(ROOT / f'{name}.py')


def read(name: str) -> Config:
    """Read a config by its path below configs/, to change: it sees the environment as it is now."""
    return Config.fromfile(ROOT / f'{name}.py')


def libraries() -> None:
    """Fill the registries of mmdet and mmseg, as their own scripts do."""
    # mkbackbones comes first: it brings the operators that mmdet imports.
    for name in ('mkbackbones', 'mmdet.datasets', 'mmdet.models', 'mmseg.datasets', 'mmseg.models'):
        import_module(name)


#: Arguments that are channels.
WIDTHS = ('in_channels', 'c1_in_channels', 'out_channels', 'feat_channels', 'conv_out_channels')
WIDTHS += ('embed_dims',)
#: Small backbones: many CPUs take seconds for a block in bfloat16. A Swin has a block a stage, and
#: one that shifts its windows; a ViT all of its blocks, which its config may tell apart.
SWIN = dict(embed_dims=32, depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8))
VIT = dict(embed_dims=96, depth=12, num_heads=3)
#: Channels of the small ones by those of the shipped ones, as necks and heads name them.
CHANNELS = {96: 32, 192: 64, 384: 128, 768: 256}
SMALL = {
    'mkbackbones.ManifoldSwin': (SWIN, CHANNELS),
    'mkbackbones.ManifoldSwinV2': (SWIN, CHANNELS),
    'mkbackbones.ManifoldViT': (VIT, {384: 96}),
    'mkbackbones.ManifoldDINOv3': (dict(VIT, swiglu=False), {384: 96}),
}


def make_small(cfg: Config, side: int, batch_size: int = 2) -> None:
    """Let the config's own pipelines make pictures of ``side`` pixels, in this process."""
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=batch_size, num_workers=0, persistent_workers=False)
        shrink_transforms(loader.dataset.pipeline, side)
    if cfg.model.data_preprocessor.get('size'):
        cfg.model.data_preprocessor.size = (side, side)


def make_heads_small(cfg: Config) -> None:
    """Wide heads and hundreds of regions take most of the memory and time, and tell nothing."""
    box_heads = cfg.model.get('roi_head', {}).get('bbox_head', [])
    for head in box_heads if isinstance(box_heads, list) else [box_heads]:
        if 'fc_out_channels' in head:
            head.fc_out_channels = 64
    stages = (cfg.model.get('train_cfg') or {}).get('rcnn', [])
    for stage in stages if isinstance(stages, list) else [stages]:
        stage.sampler.num = 32
    if cfg.model.type != 'DINO':  # whose number of channels is that of its queries, too
        for name, part in cfg.model.items():
            if name == 'neck' or name.endswith('_head'):
                narrow(part or {})
    for stage, count in (('rpn', 100), ('rcnn', 20)):
        if stage in (cfg.model.get('test_cfg') or {}):
            cfg.model.test_cfg[stage].max_per_img = count
    if cfg.model.get('decode_head', {}).get('type') in (
        *('UPerHead', 'DepthwiseSeparableASPPHead', 'SegformerHead'),
    ):
        cfg.model.decode_head.channels = 64


def make_backbone_small(cfg: Config) -> None:
    """A third or quarter of the channels in the backbone, and in what takes its maps."""
    backbone = cfg.model.backbone
    backbone.arch, channels = SMALL[backbone.type]
    necks = cfg.model.get('neck')
    heads = [cfg.model[name] for name in ('decode_head', 'auxiliary_head') if cfg.model.get(name)]
    for part in heads if necks is None else [necks[0] if isinstance(necks, list) else necks]:
        for name in ('in_channels', 'c1_in_channels'):
            given = part.get(name)
            if isinstance(given, list):
                part[name] = [channels.get(one, one) for one in given]
            elif given is not None:
                part[name] = channels.get(given, given)


def make_transformers_shallow(node: object) -> None:
    """Two layers where encoders and decoders of heads have six or nine."""
    for value in node.values() if isinstance(node, dict) else node:
        if isinstance(value, dict | list):
            make_transformers_shallow(value)
    if isinstance(node, dict) and node.get('num_layers', 0) > 2:
        node['num_layers'] = 2


def narrow(node: object) -> None:
    """Let 64 channels be where 256 are: bfloat16 is slow on many CPUs."""
    for value in node.values() if isinstance(node, dict) else node:
        if isinstance(value, dict | list):
            narrow(value)
    if not isinstance(node, dict):
        return
    for name, given in node.items():
        if name in WIDTHS and given == 256:
            node[name] = 64
        elif name == 'in_channels' and isinstance(given, list) and set(given) == {256}:
            node[name] = [64] * len(given)
        elif name == 'num_feats' and given == 128:  # half of the channels
            node[name] = 32


def shrink_transforms(pipeline: list, side: int) -> None:
    for step in pipeline:
        if isinstance(step, list | tuple):
            shrink_transforms(step, side)
            continue
        step.update({name: (side, side) for name in SIZES if name in step})
        if 'scales' in step:
            shortest_edges = isinstance(step.scales[0], int)
            step.scales = [side] if shortest_edges else [(side, side)]
        shrink_transforms(step.get('transforms', []), side)


def write_data(cfg: Config, side: int = 96, images: int = 2) -> None:
    """Write the pictures and annotations that a config reads, where it reads them.

    The folder comes from ``$MKBACKBONES_DATA``; the classes from the data set of the config.
    """
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        classes = classes_of(cfg)
        if dataset.get('ann_file'):
            write_coco(dataset, classes, side, images)
        else:
            write_seg_maps(dataset, classes, side, images)


def classes_of(cfg: Config) -> tuple[str, ...]:
    """The classes of the data set that a config trains on."""
    libraries()
    dataset = cfg.train_dataloader.dataset
    if 'metainfo' in dataset:
        return dataset.metainfo.classes
    with DATASETS.switch_scope_and_registry(cfg.default_scope) as registry:
        return registry.get(dataset.type).METAINFO['classes']


def picture(side: int, box: tuple[int, int, int, int], seed: int) -> np.ndarray:
    image = np.random.default_rng(seed).integers(90, 130, (side, side, 3), dtype=np.uint8)
    x, y, w, h = box
    image[y : y + h, x : x + w] = 230
    return image


def write_coco(dataset: dict, classes: tuple[str, ...], side: int, images: int) -> None:
    root = Path(dataset['data_root'])
    folder = root / dataset['data_prefix']['img']
    folder.mkdir(parents=True, exist_ok=True)
    box = (side // 8, side // 8, side // 2, side // 2)
    x, y, w, h = box
    polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
    content = dict(
        categories=[dict(id=i, name=name) for i, name in enumerate(classes)],
        images=[dict(id=i, file_name=f'{i}.png', width=side, height=side) for i in range(images)],
        annotations=[
            dict(
                id=i,
                image_id=i,
                category_id=i % len(classes),
                bbox=box,
                area=w * h,
                iscrowd=0,
                segmentation=[polygon],
            )
            for i in range(images)
        ],
    )
    for i in range(images):
        cv2.imwrite(str(folder / f'{i}.png'), picture(side, box, i))
    ann_file = root / dataset['ann_file']
    ann_file.parent.mkdir(parents=True, exist_ok=True)
    ann_file.write_text(json.dumps(content))


def write_seg_maps(dataset: dict, classes: tuple[str, ...], side: int, images: int) -> None:
    root = Path(dataset['data_root'])
    prefix = dataset['data_prefix']
    for folder in prefix.values():
        (root / folder).mkdir(parents=True, exist_ok=True)
    box = (side // 8, side // 8, side // 2, side // 2)
    x, y, w, h = box
    for i in range(images):
        labels = np.zeros((side, side), np.uint8)
        labels[y : y + h, x : x + w] = 1 + i % (len(classes) - 1)
        image = picture(side, box, i)
        suffix = dataset.get('img_suffix', '.jpg')
        cv2.imwrite(str(root / prefix['img_path'] / f'{i}{suffix}'), image)
        cv2.imwrite(str(root / prefix['seg_map_path'] / f'{i}.png'), labels)


def without_download(cfg: Config) -> Config:
    """Let the backbone start from random weights."""
    cfg.model.backbone.pop('init_cfg', None)
    return cfg
