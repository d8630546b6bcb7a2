"""The metrics of a run are those of mmdet's and mmseg's own evaluation, on the same predictions."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from mkbackbones.predict.tiles import Tiling
from mkbackbones.study.evidence.base import FALSE_ALARMS
from mkbackbones.study.evidence.groups import groups_of
from mkbackbones.study.worker.collect import collect, collector_of, good_scores
from mkbackbones.study.worker.tiles import Tiles

from ...test_engine.tiny import (
    MANIFOLD_SWIN,
    SIZE,
    detection_config,
    segmentation_config,
    write_images,
)

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    folder = write_images(tmp_path_factory.mktemp('tiny') / 'images')
    coco = json.loads((folder / 'coco.json').read_text())
    for annotation in coco['annotations']:
        annotation['id'] += 1  # pycocotools takes a match with 0 for no match
        x, y, w, h = annotation['bbox']
        annotation['segmentation'] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    (folder / 'coco.json').write_text(json.dumps(coco))
    return folder


def trained(config, dataset, evaluator, tmp_path):
    """A runner that can test, with weights that find something."""
    config.test_dataloader = dict(
        batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dataset,
    )  # fmt: skip
    config.test_cfg, config.test_evaluator = dict(), evaluator
    config.train_cfg.max_iters = 4
    config.experiment_name = tmp_path.name
    runner = Runner.from_cfg(Config(config.to_dict()))
    runner.train()
    return runner


def both(runner, kind, folder, predictions):
    """Metrics of the library's evaluation, and of the evidence."""
    library = runner.test()
    predictions.mkdir()
    collector = collector_of(kind, runner.test_dataloader.dataset, str(folder), predictions)
    seconds = collect(runner.model, runner.test_dataloader, collector)
    assert seconds > 0
    return library, collector.evidence().metrics(collector.classes), collector


def test_segmentation(images, tmp_path):
    config = segmentation_config(images, tmp_path, MANIFOLD_SWIN, max_iters=4)
    dataset = config.train_dataloader.dataset
    dataset.pipeline = [step for step in dataset.pipeline if step['type'] != 'RandomFlip']
    runner = trained(
        config, dataset, dict(type='IoUMetric', iou_metrics=['mIoU', 'mFscore']), tmp_path
    )
    library, metrics, collector = both(runner, 'segmentation', images, tmp_path / 'drawn')
    assert metrics['mIoU'] == pytest.approx(library['mIoU'], abs=0.006)  # it rounds to 2 digits
    evidence = collector.evidence()
    for name, confusion in zip(evidence.images, evidence.confusion):
        drawn = np.asarray(Image.open(tmp_path / 'drawn' / f'{name}.png'))
        truth = np.asarray(Image.open(images / 'map' / f'{name}.png'))
        assert drawn.shape == truth.shape
        assert (
            confusion == [[((truth == t) & (drawn == p)).sum() for p in (0, 1)] for t in (0, 1)]
        ).all()


@pytest.mark.parametrize('kind, metric', [('detection', 'bbox'), ('instance-segmentation', 'segm')])
def test_detection(images, tmp_path, monkeypatch, kind, metric):
    config = detection_config(images, tmp_path, MANIFOLD_SWIN, max_iters=4)
    dataset = config.train_dataloader.dataset
    dataset.pipeline = [step for step in dataset.pipeline if step['type'] != 'RandomFlip']
    dataset.pipeline[-1] = dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    )
    dataset.test_mode = True
    evaluator = dict(type='CocoMetric', ann_file=str(images / 'coco.json'), metric=metric)
    runner = trained(config, dataset, evaluator, tmp_path)

    def found(self, batch, **kwargs):
        """Boxes near the truth, so that the AP is neither 0 nor 100."""
        from mmengine.structures import InstanceData

        for sample in batch['data_samples']:
            rng = np.random.default_rng(sample.img_id)
            truth = next(i for i in coco['annotations'] if i['image_id'] == sample.img_id)
            x, y, w, h = truth['bbox']
            boxes = np.array([x, y, x + w, y + h]) + rng.normal(0, 4, (3, 4))
            masks = torch.zeros(3, SIZE, SIZE, dtype=torch.bool)
            for mask, (x1, y1, x2, y2) in zip(masks, boxes.round().astype(int)):
                mask[max(y1, 0) : y2 - 3, max(x1, 0) : x2] = True  # flatter than the box
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor(boxes, dtype=torch.float32),
                scores=torch.tensor(rng.uniform(0.1, 1, 3), dtype=torch.float32),
                labels=torch.zeros(3, dtype=torch.int64),
                masks=masks,
            )
        return batch['data_samples']

    coco = json.loads((images / 'coco.json').read_text())
    monkeypatch.setattr(type(runner.model), 'test_step', found)
    library, metrics, _ = both(runner, kind, images, tmp_path / 'drawn')
    assert 5 < metrics['AP'] < 95
    for name, key in (('AP', 'mAP'), ('AP50', 'mAP_50'), ('AP75', 'mAP_75')):
        assert metrics[name] == pytest.approx(100 * library[f'coco/{metric}_{key}'], abs=0.06)
    drawn = json.loads((tmp_path / 'drawn' / '0.json').read_text())
    assert all(entry['score'] >= 0.3 and len(entry['bbox']) == 4 for entry in drawn)
    assert all(('segmentation' in entry) == (metric == 'segm') for entry in drawn)
    assert len(good_scores(runner.model, runner.test_dataloader, kind, str(images))) == 0


def test_scores_of_defect_free_images(tmp_path, monkeypatch):
    images = write_images(tmp_path / 'images')
    for i in range(2):
        blank = np.zeros((SIZE, SIZE), np.uint8)
        Image.fromarray(blank).save(images / 'map' / f'{i}.png')
    config = segmentation_config(images, tmp_path, MANIFOLD_SWIN, max_iters=4)
    dataset = config.train_dataloader.dataset
    dataset.pipeline = [step for step in dataset.pipeline if step['type'] != 'RandomFlip']
    runner = trained(config, dataset, dict(type='IoUMetric', iou_metrics=['mIoU']), tmp_path)
    loader = runner.test_dataloader
    assert len(good_scores(runner.model, loader, 'segmentation', str(images))) == 0  # too few
    monkeypatch.setitem(FALSE_ALARMS, 'fa5', 2)
    collector = collector_of('segmentation', loader.dataset, str(images), tmp_path)
    monkeypatch.setattr(type(collector), 'has_background', True)
    found = good_scores(runner.model, loader, 'segmentation', str(images))
    collect(runner.model, loader, collector)
    evidence = collector.evidence()
    assert np.array_equal(found, evidence.defect_score[~evidence.defective])
    assert len(found) == 2 and 0 < found.min() < found.max() < 1
    # Where the test is in tiles, so is what a threshold follows from.
    config.study = dict(kind='segmentation')
    tiles = Tiles(config, Tiling(SIZE // 2, 4))
    again = collector_of('segmentation', loader.dataset, str(images), tmp_path)
    collect(runner.model, loader, again, tiles)
    cut = good_scores(runner.model, loader, 'segmentation', str(images), tiles)
    assert np.array_equal(cut, again.evidence().defect_score[~evidence.defective])
    assert (cut != found).all()


class TestGroups:
    def test_a_file_in_the_data_folder_tells(self, tmp_path):
        (tmp_path / 'groups.json').write_text('{"a": "strip 1", "b": "strip 1"}')
        assert groups_of(tmp_path, ['a', 'b', 'c']) == dict(a='strip 1', b='strip 1', c='c')

    def test_neu_is_grouped_as_in_the_shipped_split(self, tmp_path):
        found = groups_of(tmp_path, ['patches_101', 'patches_105', 'crazing_1'])
        assert found['patches_101'] == found['patches_105'] != found['crazing_1']

    def test_other_images_are_on_their_own(self, tmp_path):
        assert groups_of(tmp_path, ['patches_101', 'x']) == {'patches_101': 'patches_101', 'x': 'x'}
