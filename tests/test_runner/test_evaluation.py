"""A metric of some images is that of these alone."""

import json
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip('mmdet')

from mmdet.evaluation import CocoMetric
from mmdet.registry import DATASETS
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope

from mkbackbones.runner.evaluation import count_seen_images

from ..test_engine.tiny import MANIFOLD_SWIN, detection_config, evaluation, write_images


def perfect(annotation):
    x, y, width, height = annotation['bbox']
    found = dict(
        bboxes=torch.tensor([[x, y, x + width, y + height]]).float(),
        scores=torch.ones(1),
        labels=torch.zeros(1, dtype=torch.long),
    )
    return dict(img_id=annotation['image_id'], ori_shape=(64, 64), pred_instances=found)


@pytest.mark.parametrize('indices', [[1, 4], [3, 5], [1, 2, 3, 4, 5]])  # 0 is no match to COCO
def test_images_that_are_left_out_are_not_missed(indices, tmp_path):
    images = write_images(tmp_path / 'images')
    cfg = detection_config(images, tmp_path / 'work', MANIFOLD_SWIN)
    loader, evaluator = evaluation(cfg, images)
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(dict(loader['dataset'], indices=indices))
    metric = CocoMetric(ann_file=evaluator['ann_file'], metric='bbox')
    metric.dataset_meta = dataset.metainfo
    loop = SimpleNamespace(
        dataloader=SimpleNamespace(dataset=dataset), evaluator=Evaluator([metric])
    )
    count_seen_images(loop)
    assert len(dataset) == len(metric.img_ids) == len(indices)
    seen = {dataset.get_data_info(i)['img_id'] for i in range(len(dataset))}
    for annotation in json.loads((images / 'coco.json').read_text())['annotations']:
        if annotation['image_id'] in seen:
            metric.process({}, [perfect(annotation)])
    assert metric.evaluate(len(dataset))['coco/bbox_mAP'] == pytest.approx(1.0)


def test_what_has_no_images_of_a_file_is_left_alone():
    count_seen_images(None)
    metric = SimpleNamespace(img_ids=None)
    loop = SimpleNamespace(
        dataloader=SimpleNamespace(dataset=[1, 2]), evaluator=SimpleNamespace(metrics=[metric])
    )
    count_seen_images(loop)
    assert metric.img_ids is None
