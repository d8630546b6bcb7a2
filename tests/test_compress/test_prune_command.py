"""``prune-charts`` from a training to a checkpoint and a config that train on, fold and export."""

import logging
import math
import re
import shlex
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.registry import DefaultScope

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mkbackbones.__main__ import main as command
from mkbackbones.attention.qkv import ManifoldQKV
from mkbackbones.commands.fold import main as fold
from mkbackbones.commands.prune_charts import build_parser, main
from mkbackbones.commands.train import main as train
from mkbackbones.compress.prune import clock
from mkbackbones.compress.prune.blocks import charted
from mkbackbones.compress.prune.choice import Choice
from mkbackbones.compress.prune.search import fewest, tried
from mkbackbones.engine.chart_sparsity import ChartGroups
from mkbackbones.registry import MODELS

from ..test_commands.test_help import DOCUMENTED
from ..test_engine.tiny import (
    MANIFOLD_SWIN,
    detection_config,
    let_charts_count,
    segmentation_config,
    write_images,
    write_project,
)
from ..test_engine.tiny import train as train_tiny
from .test_prune import plant
from .test_prune_clock import operations

THREE = dict(type='SpatialK', num_charts=3)
SHORT = ['train_cfg.max_iters=1', 'default_hooks.checkpoint.interval=1']
ON_CPU = ['--images', '6', '--device', 'cpu']


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('tiny') / 'images')


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.INFO)


def project(build, images, folder, planted=True, key_cfg=THREE, hooks=()):
    """A config with validation, and a checkpoint with two equal charts in each block."""
    cfg = build(images, folder / 'work', dict(MANIFOLD_SWIN, key_cfg=key_cfg))
    cfg.key_cfg = cfg.charts = key_cfg  # the provided ones have a name for it
    cfg.custom_hooks = list(hooks)
    is_det = cfg.default_scope == 'mmdet'
    cfg.default_hooks.checkpoint.save_best = 'coco/bbox_mAP' if is_det else 'mIoU'

    def touch(model):
        let_charts_count(model)
        for layer in charted(model).values() if planted else ():
            plant(layer.key, 'copy')

    return write_project(cfg, folder, dict(val=images), touch)


def rebuilt(config='fewer.py', file='fewer.pth'):
    cfg = Config.fromfile(config)
    content = torch.load(file, weights_only=False)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    model.load_state_dict(content['state_dict'])
    return model.eval(), cfg, content


@pytest.mark.parametrize('build', [detection_config, segmentation_config])
def test_what_costs_nothing_goes_and_the_rest_trains_on_and_folds(
    build, images, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    whole, cfg = project(build, images, tmp_path)
    argv = ['config.py', 'trained.pth', 'fewer.pth', '--budget', '1', *ON_CPU]
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert '10 of 15 charts stay; fewer.py is its config' in text and 'GFLOPs before, ' in text
    model, new, content = rebuilt()
    assert content['meta']['cfg'] == Path('fewer.py').read_text(encoding='utf-8')
    assert len(content['meta']['dataset_meta']['classes'])
    (entry,) = new.model.backbone.key_cfg
    assert entry == dict(THREE, num_charts=2, chart_scale=True, blocks=[0, 1, 2, 3, 4])
    assert not {'key_cfg', 'charts'} & new.keys()  # they told of charts that are gone
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for a, b in zip(whole.backbone(x), model.backbone(x)):
            assert (a - b).norm() < 1e-2 * a.norm()
    assert not list(tmp_path.glob('work*'))  # no folder of a runner is left

    assert main(argv) == 2 and '--force' in capsys.readouterr().err
    assert (
        train(['fewer.py', '--device', 'cpu', '--cfg-options', 'load_from=fewer.pth', *SHORT]) == 0
    )
    assert list(Path('work_dirs/fewer').glob('iter_*.pth'))
    naming = cfg.default_scope
    argv = ['fewer.py', 'fewer.pth', 'folded.pth', '--to', naming, '--calibrate', *ON_CPU]
    assert fold(argv) == 0
    assert '5 of 5 keys folded' in capsys.readouterr().out


@pytest.mark.slow
def test_what_is_left_is_exported(images, tmp_path, capsys, monkeypatch):
    pytest.importorskip('onnxruntime')
    if tuple(map(int, torch.__version__.split('.')[:2])) < (2, 7):
        pytest.skip('export needs torch 2.7')
    monkeypatch.chdir(tmp_path)
    project(segmentation_config, images, tmp_path)
    argv = ['config.py', 'trained.pth', 'fewer.pth', '--budget', '0.5', *ON_CPU]
    assert main(argv) == 0
    assert command(['export', 'fewer.py', 'fewer.pth', 'fewer.onnx', '--part', 'backbone']) == 0
    assert Path('fewer.onnx').is_file()


def test_a_budget_is_met_and_empty_blocks_are_stock(images, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hook = dict(type='mkbackbones.ChartSparsityHook', keep=0.5)
    project(segmentation_config, images, tmp_path, hooks=[hook])
    argv = ['config.py', 'trained.pth', 'fewer.pth', '--budget', '0.2', *ON_CPU]
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert 'ChartSparsityHook is left out of fewer.py' in text
    model, new, _ = rebuilt()
    assert not new.custom_hooks
    kept = [m.key.num_charts for m in model.modules() if isinstance(m, ManifoldQKV)]
    assert 0 < len(kept) < 5
    assert {b for entry in new.model.backbone.key_cfg for b in entry['blocks']} < {0, 1, 2, 3, 4}

    argv = ['config.py', 'trained.pth', 'none.safetensors', '--budget', '0', *ON_CPU]
    assert main(argv) == 0
    assert Config.fromfile('none.py').model.backbone.key_cfg is None
    assert '0 of 15 charts stay' in capsys.readouterr().out


def test_a_budget_in_milliseconds_is_met(images, tmp_path, capsys, monkeypatch):
    """By a clock that counts operations, so that other load changes nothing."""
    monkeypatch.setattr(clock, 'in_turn', lambda runs, device: operations(runs))
    monkeypatch.chdir(tmp_path)
    project(segmentation_config, images, tmp_path)
    argv = ['config.py', 'trained.pth', 'fewer.pth', '--force', *ON_CPU, '--budget-ms']

    def told(budget):
        assert main([*argv, str(budget)]) == 0
        text = capsys.readouterr().out
        assert 'block by block (one picture of 64x64 on cpu)' in text
        numbers = re.findall(r'(?:charts|whole network): ([\d.]+) ms before, ([\d.]+) after', text)
        (charts, stay), (before, after) = (tuple(map(float, each)) for each in numbers)
        assert before - after == pytest.approx(charts - stay, rel=0.05)
        return int(re.search(r'(\d+) of 15 charts stay', text)[1]), charts, stay

    count, whole, left = told(1e6)
    assert count == 10 and left == pytest.approx(whole * 2 / 3, rel=0.05)
    count, again, half = told(whole / 2)
    assert 0 < count < 10 and again == whole and whole / 4 < half <= whole / 2
    assert told(0)[::2] == (0, 0)
    assert Config.fromfile('fewer.py').model.backbone.key_cfg is None


def test_a_budget_by_the_clock_of_this_machine(images, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project(segmentation_config, images, tmp_path)
    assert main(['config.py', 'trained.pth', 'fewer.pth', '--budget-ms', '0', *ON_CPU]) == 0
    before, after = re.search(
        r'whole network: (\S+) ms before, (\S+) after', capsys.readouterr().out
    ).groups()
    assert float(before) > 0 and float(after) > 0


def test_documented_lines(images, tmp_path, monkeypatch):
    """Those of README, docs/compress.md, the page of results and --help, with their names."""
    monkeypatch.chdir(tmp_path)
    _, cfg = project(segmentation_config, images, tmp_path)
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.test_cfg = dict(type='TestLoop')
    cfg.dump('my_config.py')
    for name in ('epoch_12.pth', 'work_dirs/.../iter_12000.pth', 'runs/0/iter_400.pth'):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(Path('trained.pth').read_bytes())
    of_results = [words for name, words in DOCUMENTED.items() if name.startswith('compressed_')]
    lines = [words for words in DOCUMENTED.values() if words[0] == 'prune-charts']
    lines = [words for words in lines if words not in of_results] + of_results
    lines += [
        shlex.split(line)
        for line in re.findall('python -m mkbackbones (.*)', build_parser().epilog)
    ]
    assert len(lines) == 18
    for name, *words in lines:
        more = SHORT if name == 'train' else []
        if name == 'prune-charts':
            Path('fewer.pth').unlink(missing_ok=True)
            Path('fewer.py').unlink(missing_ok=True)
        if '--images' in words or name == 'prune-charts':
            more = ['--images', '6']
        assert command([name, *words, *more, '--device', 'cpu']) == 0, words


def test_what_training_has_set_to_zero_goes_without_loss(images, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hook = dict(type='mkbackbones.ChartSparsityHook', keep=0.4, weight=200.0)
    changes = {
        'train_cfg.max_iters': 8,
        'default_hooks.checkpoint.interval': 8,
        'load_from': 'trained.pth',
        'optim_wrapper.optimizer.lr': 1e-4,
    }
    key_cfg = dict(THREE, num_charts=4)
    _, cfg = project(
        segmentation_config, images, tmp_path, planted=False, key_cfg=key_cfg, hooks=[hook]
    )
    cfg.merge_from_dict(changes)
    cfg.dump('sparse.py')
    runner = train_tiny(cfg)
    groups = ChartGroups(runner.model, runner.optim_wrapper.optimizer.param_groups)
    alive = [int(each.sum()) for each in groups.alive()]
    assert groups.share(groups.alive()) <= 0.4 and sum(alive) > 0
    argv = ['sparse.py', 'work/iter_8.pth', 'fewer.pth', '--budget', '1', *ON_CPU]
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert f'{sum(alive)} of 20 charts stay' in text
    assert [int(n) for n in re.findall(r'4 > (\d)', text)] == alive
    for name, before, after in re.findall(r'(\S+): ([\d.]+) before, ([\d.]+) after \(val', text):
        assert float(after) == pytest.approx(float(before), abs=1e-3), name
    model, *_ = rebuilt()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for a, b in zip(runner.model.eval().cpu().backbone(x), model.backbone(x)):
            torch.testing.assert_close(b, a, atol=1e-3, rtol=1e-3)


def test_the_metric_is_kept(images, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project(segmentation_config, images, tmp_path)
    argv = ['config.py', 'trained.pth', 'fewer.pth', '--keep-metric', '100', *ON_CPU]
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert '0 of 15 charts stay' in text and 'points of mIoU less' in text
    argv[2:5] = ['some.pth', '--keep-metric', '0.5']
    assert main(argv) == 0
    text = capsys.readouterr().out
    before, after = (float(text.split('mIoU: ')[1].split()[i]) for i in (0, 2))
    assert after >= before - 0.5
    assert ' tried' in text and ' yes\n' in text


def test_where_no_chart_can_go_nothing_is_written(images, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project(segmentation_config, images, tmp_path, planted=False)
    argv = ['config.py', 'trained.pth', 'fewer.pth', '--budget', '1', *ON_CPU]
    assert main(argv) == 2
    assert 'no chart goes' in capsys.readouterr().err
    argv[3:5] = ['--budget-ms', '1e6']
    assert main(argv) == 2
    assert re.search(r'--budget-ms 1000000.0 \(they take \S+ ms\)', capsys.readouterr().err)
    assert {p.name for p in tmp_path.iterdir()} == {'config.py', 'trained.pth'}


def test_a_checkpoint_that_cannot_be_written_leaves_no_config(images, tmp_path, monkeypatch):
    from mkbackbones.checkpoints.report import CheckpointError
    from mkbackbones.commands import prune_charts

    monkeypatch.setattr(
        'mkbackbones.checkpoints.write.torch.save',
        lambda *args: (_ for _ in ()).throw(OSError('full')),
    )
    with pytest.raises(CheckpointError, match='full'):
        prune_charts.write(tmp_path / 'a.pth', tmp_path / 'a.py', {}, dict(cfg='x = 1'), False)
    assert not list(tmp_path.iterdir())


CHOICES = [Choice((9 - i,), 1 - i / 9, False) for i in range(9)]


@pytest.mark.parametrize('best', range(-1, 9))
def test_the_fewest_charts_that_are_allowed_are_found(best):
    looks = []

    def allowed(choice):
        looks.append(choice)
        return CHOICES.index(choice) <= best

    assert fewest(CHOICES, allowed) == best
    assert len(looks) == len(set(looks)) <= 6


@given(st.lists(st.booleans(), max_size=40))
def test_of_those_tried_the_fewest_charts_that_are_allowed_are_taken(curve):
    """Whatever the curve; one that is not looked at is not claimed."""
    looks = []

    def allowed(place):
        looks.append(place)
        return curve[place]

    found = fewest(range(len(curve)), allowed)
    assert found == max((place for place in looks if curve[place]), default=-1)
    assert len(looks) <= math.log2(len(curve) + 1) + 4


def test_a_loss_that_falls_again_is_seen_and_told():
    """By bisection alone, the second of nine was found."""
    losses = dict(zip(CHOICES, [0.1, 0.2, 0.7, 0.9, 0.8, 0.6, 0.4, 0.5, 0.9], strict=True))
    lost = {}

    def allowed(choice):
        lost[choice] = losses[choice]
        return losses[choice] <= 0.5

    assert fewest(CHOICES, allowed) == 7
    head, *rows, rest = tried(lost, 0.5, CHOICES).splitlines()
    assert head.split()[-1] == 'allowed' and len(rows) == len(lost) < 9
    assert [row.split()[1:] for row in rows[-2:]] == [['2', '0.50', 'yes'], ['1', '0.90', 'no']]
    assert rest.startswith(f'{len(lost)} of 9 choices were tried; loss grew')
    lost[CHOICES[4]] = 0.8
    assert 'one that was not tried may have fewer' in tried(lost, 0.5, CHOICES)


@pytest.mark.parametrize(
    'argv, told',
    [
        (['x.py', 'c.pth', 'o.pth'], 'is required'),
        (['x.py', 'c.pth', 'o.pth', '--budget', '1', '--keep-metric', '1'], 'not allowed with'),
        (['x.py', 'c.pth', 'o.pth', '--budget', '50'], 'a share from 0 to 1'),
        (['x.py', 'c.pth', 'o.pth', '--budget', 'nan'], 'a share from 0 to 1'),
        (['x.py', 'c.pth', 'o.pth', '--keep-metric', '-1'], 'at least 0'),
        (['x.py', 'c.pth', 'o.pth', '--budget-ms', '-1'], 'milliseconds of at least 0'),
        (['x.py', 'c.pth', 'o.pth', '--budget-ms', 'nan'], 'milliseconds of at least 0'),
        (['x.py', 'c.pth', 'o.pth', '--budget-ms', 'inf'], 'milliseconds of at least 0'),
        (['x.py', 'c.pth', 'o.pth', '--budget', '1', '--budget-ms', '1'], 'not allowed with'),
        (['x.py', 'c.pth', 'o.pth', '--budget', '1', '--images', '0'], 'at least 1'),
        (['x.py', 'c.pth', 'o.txt', '--budget', '1'], 'end with'),
        (['config.py', 'trained.pth', 'config.pth', '--budget', '1', '--force'], 'config itself'),
        (['config.py', 'trained.pth', 'config.pth', '--budget', '1'], 'where the config goes'),
        (['config.py', 'trained.pth', 'o.pth', '--budget', '1', '--images', '2'], 'too few to fit'),
        (['less.py', 'trained.pth', 'o.pth', '--keep-metric', '1'], 'less is better'),
    ],
)  # fmt: skip
def test_bad_input_is_told(argv, told, images, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if Path(argv[0]).name != 'x.py':
        _, cfg = project(segmentation_config, images, tmp_path)
        cfg.default_hooks.checkpoint.rule = 'less'
        cfg.dump('less.py')
    files = {path.name for path in tmp_path.iterdir()}
    try:
        code = main([*argv, '--device', 'cpu'])
    except SystemExit as error:
        code = error.code
    assert code == 2 and told in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == files


def test_a_stock_model_is_told(images, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project_without = dict(MANIFOLD_SWIN, key_cfg=None)
    cfg = segmentation_config(images, tmp_path / 'work', project_without)
    cfg.dump('config.py')
    torch.save({'state_dict': {}}, 'trained.pth')
    argv = ['config.py', 'trained.pth', 'o.pth', '--budget', '1', *ON_CPU]
    assert main(argv) == 2
    assert 'no model.backbone.key_cfg to prune' in capsys.readouterr().err
