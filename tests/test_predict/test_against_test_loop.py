"""What ``predict`` says is what ``test`` says of the same pictures, to the bit, and a study too."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

import mkbackbones
from mkbackbones.commands.test import main
from mkbackbones.datasets import SyntheticDefects, write_dataset
from mkbackbones.predict import masks
from mkbackbones.predict.evaluation import evaluate
from mkbackbones.predict.tiles import Tiling
from mkbackbones.runner.build import build_runner
from mkbackbones.study.worker.collect import collect, collector_of
from mkbackbones.study.worker.tiles import Tiles

ROOT = Path(__file__).parents[2]
ARCH = dict(embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1))
#: Of a head that is not trained, all finds are kept.
ALL = dict(rcnn=dict(score_thr=0.0, max_per_img=12))
NECK = dict(neck=dict(in_channels=[8, 16, 32, 64]))
#: What comes behind the backbone, in a small size.
REGIONS = dict(roi_extractor=dict(out_channels=16))
MASKS = dict(
    neck=dict(NECK['neck'], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=REGIONS,
        bbox_head=dict(in_channels=16, fc_out_channels=32),
        mask_roi_extractor=REGIONS,
        mask_head=dict(in_channels=16, conv_out_channels=16, num_convs=1),
    ),
    test_cfg=dict(ALL, rpn=dict(nms_pre=200, max_per_img=100)),
)
MODELS = {
    'detection': ('demo/faster-rcnn_swin-nano-spatial.py', dict(NECK, test_cfg=ALL)),
    'instance-segmentation': ('detection/mask-rcnn_swin-t-stock_synthetic.py', MASKS),
    'segmentation': (
        'demo/upernet_swin-nano-stock.py',
        dict(
            decode_head=dict(in_channels=[8, 16, 32, 64]),
            auxiliary_head=dict(in_channels=32),
        ),
    ),
}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    write_dataset(SyntheticDefects(dict(train=4, val=2, test=5), size=96), root / 'synthetic')
    return root


class Kept:
    """The samples beside what a collector makes of them."""

    def __init__(self, collector):
        self.collector, self.samples = collector, []

    def add(self, sample):
        self.samples.append(sample)
        self.collector.add(sample)


@pytest.fixture(scope='module', params=MODELS)
def tested_once(request, data, tmp_path_factory):
    """Kind, config, checkpoint, and what the test loop of the runner sees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('MKBACKBONES_DATA', str(data))
        patch.setattr('mmengine.device.utils.DEVICE', 'cpu')
        yield build_and_test(request.param, data, tmp_path_factory.mktemp('tested'))


@pytest.fixture
def tested(tested_once):
    """The same, with a config that may be changed."""
    kind, cfg, *others = tested_once
    return kind, copy.deepcopy(cfg), *others


def build_and_test(kind, data, folder):
    name, model = MODELS[kind]
    cfg = Config.fromfile(ROOT / 'configs' / name)
    cfg.model.backbone.arch = ARCH
    cfg.merge_from_dict(dict(model=model, work_dir=str(folder / 'work')))
    for step in cfg.test_dataloader.dataset.pipeline:
        if step.type == 'Resize':
            step.scale = (96, 96)
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False, batch_size=2)
    torch.manual_seed(0)
    runner = build_runner(cfg)
    loader = runner.test_dataloader
    path = str(folder / 'run.pth')
    meta = dict(dataset_meta=loader.dataset.metainfo)
    torch.save(dict(state_dict=runner.model.state_dict(), meta=meta), path)
    (folder / 'drawn').mkdir()
    root = str(data / 'synthetic')
    kept = Kept(collector_of(kind, loader.dataset, root, folder / 'drawn'))
    collect(runner.model, loader, kept)
    return kind, cfg, path, kept, runner


def test_predictions_are_those_of_the_test_loop(tested):
    """A tile that the pictures fit in changes nothing, either."""
    kind, cfg, checkpoint, kept, _ = tested
    for tile in (None, 96):
        predictor = mkbackbones.Predictor(cfg, checkpoint, device='cpu', tile=tile, overlap=16)
        found = predictor([sample.img_path for sample in kept.samples])
        assert len(found) == 5
        compare(kind, kept, found)


def test_metrics_of_tiles(tested, tmp_path, capsys):
    """Those of the test loop where pictures fit in, and of class maps put together elsewhere."""
    kind, cfg, checkpoint, _, runner = tested
    whole = evaluate(mkbackbones.Predictor(cfg, checkpoint, device='cpu', tile=96, overlap=16))
    wanted = runner.test()
    assert whole.keys() == wanted.keys() and len(whole) > 3
    assert whole == pytest.approx(wanted, abs=1e-3, nan_ok=True)
    predictor = mkbackbones.Predictor(cfg, checkpoint, device='cpu', tile=64, overlap=16)
    tiled = evaluate(predictor)
    assert tiled.keys() == wanted.keys()
    cfg.dump(tmp_path / 'config.py')
    capsys.readouterr()
    argv = [str(tmp_path / 'config.py'), checkpoint, '--device', 'cpu']
    assert main([*argv, '--tile', '64', '--overlap', '16']) == 0
    printed = capsys.readouterr().out
    told = dict(line.split(': ') for line in printed.splitlines() if line.count(': ') == 1)
    for name, value in tiled.items():
        assert float(told[name]) == pytest.approx(value, abs=1e-3, nan_ok=True)
    if kind == 'segmentation':
        dataset = runner.test_dataloader.dataset
        samples = [dataset[i]['data_samples'] for i in range(len(dataset))]
        found = [one.class_map for one in predictor([sample.img_path for sample in samples])]
        truth = [sample.gt_sem_seg.data[0].numpy() for sample in samples]
        right = 100 * np.mean([(a == b).mean() for a, b in zip(found, truth)])
        assert tiled['aAcc'] == pytest.approx(right, abs=0.01)


def test_tiles_of_a_study(tested, data, tmp_path):
    """Evidence of what fits into a tile is that of the test loop, else that of ``test --tile``."""
    kind, cfg, checkpoint, kept, runner = tested
    cfg.study = dict(kind=kind)
    loader, found = runner.test_dataloader, {}
    for size in (96, 64):
        drawn = tmp_path / str(size)
        drawn.mkdir()
        collector = collector_of(kind, loader.dataset, str(data / 'synthetic'), drawn)
        taken = collect(runner.model, loader, collector, Tiles(cfg, Tiling(size, 16)))
        assert taken > 0 and len(list(drawn.iterdir())) == 5
        found[size] = collector.evidence()
    wanted = vars(kept.collector.evidence())
    assert len(wanted) > 4
    for name, value in wanted.items():
        assert np.array_equal(getattr(found[96], name), value), name
    predictor = mkbackbones.Predictor(cfg, checkpoint, device='cpu', tile=64, overlap=16)
    paths = [sample.img_path for sample in kept.samples]
    scores = {Path(one.path).stem: one.score for one in predictor(paths)}
    names = [Path(name).stem for name in found[64].images]
    assert dict(zip(names, found[64].defect_score.tolist())) == pytest.approx(scores, rel=1e-6)
    metrics = found[64].metrics(kept.collector.classes)
    library = evaluate(predictor)
    if kind == 'segmentation':
        assert metrics['mIoU'] == pytest.approx(library['mIoU'], abs=0.006)
        assert (found[64].confusion != wanted['confusion']).any()
    else:
        what = 'segm' if kind == 'instance-segmentation' else 'bbox'
        assert metrics['AP50'] == pytest.approx(100 * library[f'coco/{what}_mAP_50'], abs=0.06)
        assert len(found[64].score) != len(wanted['score'])


def compare(kind, kept, found):
    """Every number of predictions with those of the test loop and of a study."""
    for sample, prediction in zip(kept.samples, found, strict=True):
        if kind == 'segmentation':
            wanted = sample.pred_sem_seg.data[0].numpy()
            assert np.array_equal(prediction.class_map, wanted)
            continue
        instances = sample.pred_instances
        assert len(instances) == len(prediction.instances) > 0
        boxes = instances.bboxes.double().numpy()
        boxes[:, 2:] -= boxes[:, :2]
        assert np.array_equal([one.box for one in prediction.instances], boxes)
        assert [one.score for one in prediction.instances] == instances.scores.tolist()
        assert [one.label for one in prediction.instances] == instances.labels.tolist()
        if kind == 'instance-segmentation':
            for one, mask in zip(prediction.instances, instances.masks.numpy()):
                assert np.array_equal(masks.decode(one.mask), mask)
    evidence = kept.collector.evidence()
    scores = {Path(one.path).stem: one.score for one in found}
    wanted = {Path(n).stem: s for n, s in zip(evidence.images, evidence.defect_score.tolist())}
    assert scores == wanted
