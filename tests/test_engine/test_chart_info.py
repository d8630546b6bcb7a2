"""What charts do over a training, as scalars."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.logging import MessageHub

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mkbackbones.attention.qkv import ManifoldQKV
from mkbackbones.engine import ChartInfoHook
from mkbackbones.keys import KUA
from mkbackbones.keys.measures import gamma_spread, pairwise_distances
from mkbackbones.study.worker.main import chart_curves

from ..lacking import needs_compiler
from .tiny import MANIFOLD_SWIN, detection_config, segmentation_config, train, write_images

HOOK = dict(type='mkbackbones.ChartInfoHook', interval=2)
ENTRIES = ['charts_over_base', 'distance', 'gamma_spread', 'out_scale']


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('tiny') / 'images')


def scalars(folder):
    """Lines with numbers of charts."""
    (file,) = Path(folder).rglob('vis_data/scalars.json')
    lines = [json.loads(line) for line in file.read_text(encoding='utf-8').splitlines()]
    return [line for line in lines if any(name.startswith('charts/') for name in line)], lines


@pytest.mark.parametrize('build', [detection_config, segmentation_config])
def test_numbers_of_every_block(build, images, tmp_path):
    backbone = dict(MANIFOLD_SWIN, key_cfg=dict(type='SpatialK', num_charts=2), with_cp=True)
    runner = train(build(images, tmp_path, backbone, max_iters=5, custom_hooks=[HOOK]))
    found, lines = scalars(tmp_path)
    assert [line['step'] for line in found] == [1, 2, 4]
    assert len(lines) == 3 + 5  # those of the losses are as they were
    blocks = [
        name.removeprefix('backbone.').removesuffix('.qkv')
        for name, module in runner.model.named_modules()
        if isinstance(module, ManifoldQKV)
    ]
    for line in found:
        assert sorted(name for name in line if name != 'step') == sorted(
            f'charts/{name}/{entry}' for name in [*blocks, 'mean'] for entry in ENTRIES
        )
        for entry in ENTRIES:
            values = [line[f'charts/{name}/{entry}'] for name in blocks]
            mean = sum(values) / len(values)
            assert line[f'charts/mean/{entry}'] == pytest.approx(mean, abs=1e-5)
    assert found[0]['charts/mean/charts_over_base'] == 0 < found[-1]['charts/mean/out_scale']
    key = runner.model.backbone.layers[0].blocks[0].attn.qkv.key
    last = found[-1]['charts/layers.0.blocks.0.attn/gamma_spread']
    assert last == pytest.approx(float(gamma_spread(key.gamma)), abs=1e-2)
    assert all(m.observer is None for m in runner.model.modules() if isinstance(m, ManifoldQKV))
    hub = runner.message_hub.log_scalars
    assert hub['charts/iteration']._log_history.tolist() == [1, 2, 4]


def test_training_is_the_same_with_it(images, tmp_path):
    backbone = dict(MANIFOLD_SWIN, key_cfg=dict(type='KUA', num_charts=2))
    found = []
    for name, hooks in (('with', [dict(HOOK, interval=1)]), ('without', [])):
        cfg = segmentation_config(images, tmp_path / name, backbone, custom_hooks=hooks)
        found.append(train(cfg).losses)
    assert found[0] == found[1]


def test_nothing_is_written_of_stock_keys(images, tmp_path):
    train(segmentation_config(images, tmp_path, MANIFOLD_SWIN, custom_hooks=[HOOK]))
    assert scalars(tmp_path)[0] == []


class Runner:
    """What the hook takes of mmengine's."""

    def __init__(self, model):
        self.model, self.iter, self.written = model, 0, {}
        self.message_hub = MessageHub.get_instance('chart_info')
        self.visualizer = self

    def add_scalars(self, scalars, step):
        self.written.update(scalars)


def test_the_numbers_are_those_of_the_tokens():
    torch.manual_seed(0)
    model = ManifoldQKV(8, dict(type='KUA', num_charts=3))
    torch.nn.init.normal_(model.key.out_scale)
    runner, hook = Runner(torch.nn.Sequential(model)), ChartInfoHook()
    hook.before_train(runner)
    hook.before_train_iter(runner, 0)
    x = torch.randn(2, 9, 8)
    runner.model(x)
    runner.model(x + 100)  # a recomputation: the first pass counts
    hook.after_train_iter(runner, 0)
    key: KUA = model.key
    charts = key.out_scale * key.charts(x, None, 0)
    ratio = (charts.square().mean() / key.base(x).square().mean()).sqrt()
    distances = pairwise_distances(key.weight * key.gamma[:, None])
    wanted = dict(
        out_scale=key.out_scale.abs().mean(),
        charts_over_base=ratio,
        gamma_spread=gamma_spread(key.gamma),
        distance=(distances[0, 1] + distances[0, 2] + distances[1, 2]) / 3,
    )
    for name, value in wanted.items():
        assert runner.written[f'charts/0/{name}'] == pytest.approx(float(value), rel=1e-5)


@pytest.mark.parametrize('interval', [0, -1, 2.5, 'often'])
def test_an_interval_is_a_positive_integer(interval):
    with pytest.raises(ValueError, match='interval'):
        ChartInfoHook(interval)


def test_a_resumed_training_has_the_whole_course(images, tmp_path):
    backbone = dict(MANIFOLD_SWIN, key_cfg=dict(type='KUA', num_charts=2))
    train(segmentation_config(images, tmp_path, backbone, max_iters=3, custom_hooks=[HOOK]))
    again = dict(custom_hooks=[HOOK], resume=True, load_from=str(tmp_path / 'iter_3.pth'))
    runner = train(segmentation_config(images, tmp_path, backbone, max_iters=6, **again))
    found = chart_curves(runner)
    assert found['iteration'] == [1, 2, 4, 6]
    assert sorted(found) == sorted([*ENTRIES, 'iteration'])
    assert {len(values) for values in found.values()} == {4}
    assert found['out_scale'][0] < found['out_scale'][-1]


def looked_at(model):
    """What the hook writes of a pass."""
    runner, hook = Runner(torch.nn.Sequential(model)), ChartInfoHook()
    hook.before_train(runner)
    hook.before_train_iter(runner, 0)
    runner.model(torch.randn(1, 9, 8))
    hook.after_train_iter(runner, 0)
    return {name.removeprefix('charts/0/') for name in runner.written if '/0/' in name}


def test_what_a_key_does_not_have_is_left_out():
    kua = dict(type='KUA', num_charts=2, base=False)
    assert looked_at(ManifoldQKV(8, kua)) == {'gamma_spread', 'distance'}
    assert looked_at(ManifoldQKV(8, dict(kua, num_charts=1))) == {'gamma_spread'}
    assert looked_at(ManifoldQKV(8, dict(type='MLPK', match=kua))) == set()
    assert looked_at(ManifoldQKV(8, dict(type='LinearK'))) == set()


@needs_compiler
def test_a_compiled_network_tells_what_needs_no_tokens():
    layer = ManifoldQKV(8, dict(type='KUA', num_charts=2))
    layer.compile(backend='eager')
    assert looked_at(layer) == {'gamma_spread', 'distance', 'out_scale'}
