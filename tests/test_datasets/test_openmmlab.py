"""mmdet and mmseg read what is written."""

import subprocess
import sys

import numpy as np
import pytest
from pycocotools import mask as coco_mask

import mkbackbones
from mkbackbones.datasets import write_dataset
from mkbackbones.datasets.generic.yolo import Yolo
from mkbackbones.datasets.metainfo import SYNTHETIC_INSTANCES, SYNTHETIC_SEMANTIC

from .test_generic.common import png, write

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')


def test_import_needs_no_openmmlab_package():
    code = (
        'import sys, types; package = types.ModuleType("mkbackbones");'
        f'package.__path__ = {list(mkbackbones.__path__)!r};'
        'sys.modules["mkbackbones"] = package; import mkbackbones.datasets;'
        'assert not {"mmdet", "mmseg", "mmcv", "torch"} & set(sys.modules)'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


@pytest.fixture
def coco_dataset(synthetic):
    from mmdet.datasets import CocoDataset

    pipeline = [
        dict(type='mmdet.LoadImageFromFile'),
        dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
        dict(type='mmdet.PackDetInputs', meta_keys=('img_id', 'ori_shape', 'img_path')),
    ]
    return CocoDataset(
        data_root=str(synthetic),
        ann_file='annotations/train.json',
        data_prefix=dict(img='images/train/'),
        metainfo=SYNTHETIC_INSTANCES,
        pipeline=pipeline,
        filter_cfg=dict(filter_empty_gt=False),
    )


def test_mmdet_loads_boxes_and_masks(coco_dataset):
    assert len(coco_dataset) == 24
    for item in coco_dataset:
        instances = item['data_samples'].gt_instances
        assert tuple(item['inputs'].shape) == (3, 96, 96)
        assert len(instances) == len(instances.masks)
        # The tight boxes of the masks that mmdet draws are the boxes it loads.
        boxes = instances.masks.get_bboxes(type(instances.bboxes)).tensor.numpy()
        assert np.array_equal(boxes, instances.bboxes.tensor.numpy())


@pytest.mark.parametrize('filter_empty_gt, count', [(False, 3), (True, 1)])
def test_negatives_stay_unless_mmdet_is_told_to_drop_them(tmp_path, filter_empty_gt, count):
    from mmdet.datasets import CocoDataset

    files = {'classes.txt': 'dent', 'train/1.txt': '0 .5 .5 .2 .2', 'train/2.txt': ''}
    files |= {f'train/{n}.png': png(n) for n in (1, 2, 3)}
    write_dataset(Yolo(write(tmp_path / 'raw', files)), tmp_path / 'out')
    dataset = CocoDataset(
        data_root=str(tmp_path / 'out'),
        ann_file='annotations/train.json',
        data_prefix=dict(img='images/train/'),
        metainfo=dict(classes=('dent',)),
        filter_cfg=dict(filter_empty_gt=filter_empty_gt),
    )
    assert len(dataset) == count


def test_ground_truth_scores_one_in_coco_metric(coco_dataset, synthetic):
    from mmdet.evaluation import CocoMetric

    metric = CocoMetric(ann_file=str(synthetic / 'annotations/train.json'), metric=['bbox', 'segm'])
    metric.dataset_meta = coco_dataset.metainfo
    for item in coco_dataset:
        sample = item['data_samples']
        found = sample.gt_instances
        masks = [coco_mask.encode(np.asfortranarray(mask)) for mask in found.masks.masks]
        metric.results.append(
            (
                dict(img_id=sample.img_id, width=96, height=96),
                dict(
                    img_id=sample.img_id,
                    bboxes=found.bboxes.tensor.numpy(),
                    labels=found.labels.numpy(),
                    scores=np.ones(len(found)),
                    masks=masks,
                ),
            )
        )
    scores = metric.compute_metrics(metric.results)
    assert scores['bbox_mAP'] == scores['segm_mAP'] == 1


def test_boxes_without_masks_load_and_score(tmp_path):
    """Mask models ignore them, box models do not; neither fails."""
    from mmdet.datasets import CocoDataset
    from mmdet.evaluation import CocoMetric

    files = {'classes.txt': 'dent', 'train/1.png': png(1)}
    files['train/1.txt'] = '0 .2 .2 .2 .2\n0 .6 .6 .8 .6 .8 .8 .6 .8\n'
    write_dataset(Yolo(write(tmp_path / 'raw', files)), tmp_path / 'out')

    def load(with_mask):
        dataset = CocoDataset(
            data_root=str(tmp_path / 'out'),
            ann_file='annotations/train.json',
            data_prefix=dict(img='images/train/'),
            metainfo=dict(classes=('dent',)),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=with_mask),
                dict(type='mmdet.PackDetInputs', meta_keys=('img_id',)),
            ],
        )
        sample = dataset[0]['data_samples']
        return len(sample.gt_instances), len(sample.ignored_instances)

    assert load(with_mask=False) == (2, 0)
    assert load(with_mask=True) == (1, 1)
    metric = CocoMetric(
        ann_file=str(tmp_path / 'out/annotations/train.json'), metric=['bbox', 'segm']
    )
    metric.dataset_meta = dict(classes=('dent',))
    mask = dict(size=[20, 30], counts=[600])
    runs = coco_mask.frPyObjects(mask, 20, 30)
    found = dict(
        img_id=1,
        bboxes=np.array([[3.0, 2, 9, 6]]),
        labels=np.array([0]),
        scores=np.ones(1),
        masks=[runs],
    )
    scores = metric.compute_metrics([(dict(img_id=1, width=30, height=20), found)])
    assert scores['bbox_mAP'] > 0 and scores['segm_mAP'] == 0


def test_mmseg_loads_class_maps(synthetic):
    from mmengine.registry import DefaultScope
    from mmseg.datasets import BaseSegDataset

    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = BaseSegDataset(
            data_root=str(synthetic),
            data_prefix=dict(img_path='images/train', seg_map_path='masks/train'),
            img_suffix='.png',
            seg_map_suffix='.png',
            metainfo=SYNTHETIC_SEMANTIC,
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations'),
                dict(type='PackSegInputs', meta_keys=('img_path',)),
            ],
        )
    assert len(dataset) == 24
    labels = set()
    for item in dataset:
        seg_map = item['data_samples'].gt_sem_seg.data
        assert tuple(seg_map.shape) == (1, 96, 96)
        labels |= set(seg_map.unique().tolist())
    assert labels == set(range(6))
