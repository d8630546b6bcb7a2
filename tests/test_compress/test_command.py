"""``fold --calibrate`` from a training to a stock checkpoint."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mkbackbones.commands.fold import main
from mkbackbones.compress.calibration import calibration_batches, calibration_dataset
from mkbackbones.registry import MODELS
from mkbackbones.runner.errors import InputError

from ..test_engine.tiny import (
    MANIFOLD_SWIN,
    detection_config,
    evaluation,
    segmentation_config,
    write_images,
)

SPATIAL = dict(type='SpatialK', num_charts=2)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('tiny') / 'images')


def project(build, images, folder, key_cfg=SPATIAL):
    """A config with validation, and a checkpoint in which charts count."""
    cfg = build(images, folder / 'work', dict(MANIFOLD_SWIN, key_cfg=key_cfg))
    scope = cfg.default_scope
    cfg.custom_imports = dict(imports=['mkbackbones'])
    cfg.val_dataloader, cfg.val_evaluator = evaluation(cfg, images)
    cfg.val_cfg = dict(type='ValLoop')
    cfg.default_hooks.checkpoint.save_best = 'auto'  # as in the provided configs
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(cfg.model)
    for name, parameter in model.named_parameters():
        if '.key.' in name or '.qv.weight' in name:
            nn.init.normal_(parameter, std=0.3)
    cfg.dump(str(folder / 'config.py'))
    torch.save({'state_dict': model.state_dict()}, folder / 'trained.pth')
    return model.eval(), cfg


def loaded(cfg, backbone_cfg, file):
    """A model with another backbone and the weights of a file."""
    content = torch.load(file, weights_only=False)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(dict(cfg.model, backbone=backbone_cfg))
    model.load_state_dict(content['state_dict'])
    return model.eval(), content


@pytest.mark.parametrize('build', [detection_config, segmentation_config])
def test_a_stock_checkpoint_comes_out(build, images, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained, cfg = project(build, images, tmp_path)
    naming = cfg.default_scope
    argv = ['config.py', 'trained.pth', 'folded.pth', '--to', naming, '--calibrate']
    assert main([*argv, '--images', '6', '--device', 'cpu']) == 0
    text = capsys.readouterr().out
    assert 'folded.pth: 5 of 5 keys folded' in text and ' before, ' in text
    stock = dict(
        type='SwinTransformer', embed_dims=8, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 2),
        window_size=4,
    )  # fmt: skip
    model, content = loaded(cfg, stock, 'folded.pth')
    assert 'mkbackbones' not in content['meta'].get('cfg', '')
    assert (
        content['meta']['dataset_meta']['classes'] == cfg.train_dataloader.dataset.metainfo.classes
    )
    files = sorted((images / 'img').iterdir())
    pixels = np.stack([cv2.imread(str(file)) for file in files]).transpose(0, 3, 1, 2)
    x = (torch.from_numpy(pixels).float() - 60) / 40
    with torch.no_grad():
        without = MODELS.build(dict(cfg.model.backbone, key_cfg=SPATIAL))
        without.load_state_dict(trained.backbone.state_dict())
        for name, parameter in without.named_parameters():
            if name.endswith('out_scale'):
                parameter.zero_()
        wanted, found, stripped = (
            torch.cat([each.flatten() for each in net(x)])
            for net in (trained.backbone, model.backbone, without.eval())
        )
    assert (found - wanted).norm() < (stripped - wanted).norm()
    assert not list(tmp_path.glob('work*'))  # no folder of a runner is left
    assert main([*argv, '--images', '4']) == 2 and '--force' in capsys.readouterr().err


def test_what_keeps_its_keys_is_written_with_them(images, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, cfg = project(segmentation_config, images, tmp_path)
    argv = ['config.py', 'trained.pth', 'fewer.pth', '--to', 'mkbackbones', '--calibrate']
    argv += ['--images', '6', '--keep-worse-than', '1.0', '--device', 'cpu']
    assert main(argv) == 0
    assert '0 of 5 keys folded' in capsys.readouterr().out
    backbone = dict(cfg.model.backbone, key_cfg=[dict(SPATIAL, blocks=[0, 1, 2, 3, 4])])
    model, content = loaded(cfg, backbone, 'fewer.pth')
    before = torch.load('trained.pth')['state_dict']
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    kept = Config.fromstring(content['meta']['cfg'], '.py').model.backbone
    assert kept.to_dict() == backbone


@pytest.mark.parametrize(
    'argv, told',
    [
        (['c.pth', 'o.pth', '--to', 'mmdet', '--calibrate'], 'needs the config'),
        (['x.py', 'c.pth', 'o.pth', '--to', 'mmdet', '--keep-worse-than', '0.5'], 'is for --calib'),
        (['x.py', 'c.pth', 'o.pth', '--to', 'mkbackbones'], 'is for --calibrate'),
        (['x.py', 'c.pth', 'o.pth', '--to', 'mmdet', '--calibrate', '--images', '0'], 'at least 1'),
        (
            ['x.py', 'c.pth', 'o.pth', '--to', 'mmdet', '--calibrate', '--keep-worse-than', '0.5'],
            'add --to mkbackbones',
        ),
        (
            ['x.py', 'c.pth', 'o', '--to', 'mkbackbones', '--calibrate', '--keep-worse-than', '2'],
            'at most 1',
        ),
        (['x.py', 'c.pth', 'o.txt', '--to', 'mmdet', '--calibrate'], 'end with'),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_are_told(argv, told, capsys):
    assert main(argv) == 2
    assert told in capsys.readouterr().err


def test_too_few_images_are_told(images, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project(segmentation_config, images, tmp_path)
    argv = ['config.py', 'trained.pth', 'o.pth', '--to', 'mmseg', '--calibrate', '--device', 'cpu']
    assert main([*argv, '--images', '2']) == 2
    assert 'tokens for its' in capsys.readouterr().err and not (tmp_path / 'o.pth').exists()


@pytest.mark.parametrize('damage', ['other task', 'other classes', 'other size'])
def test_a_checkpoint_of_something_else_is_told(damage, images, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project(segmentation_config, images, tmp_path)
    content = torch.load('trained.pth')
    state = content['state_dict']
    if damage == 'other task':
        kept = {name: value for name, value in state.items() if name.startswith('backbone')}
        content['state_dict'] = {**kept, 'neck.x': torch.zeros(1)}
    elif damage == 'other classes':
        content['meta'] = dict(dataset_meta=dict(classes=('a', 'b')))
    else:
        state['decode_head.conv_seg.weight'] = torch.zeros(5, 8, 1, 1)
    torch.save(content, 'trained.pth')
    argv = ['config.py', 'trained.pth', 'o.pth', '--to', 'mmseg', '--calibrate', '--device', 'cpu']
    assert main(argv) == 2
    told = {
        'other task': 'weights are missing',
        'other classes': 'was trained for 2 classes',
        'other size': 'have another shape, e.g. decode_head.conv_seg.weight',
    }
    assert told[damage] in capsys.readouterr().err and not Path('o.pth').exists()


@pytest.mark.parametrize(
    'name, content',
    [('img/3.png', b'x'), ('img/3.png', b''), ('map/3.png', b''), ('map/3.png', b'x')],
)
def test_an_image_that_cannot_be_read_is_told(name, content, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = write_images(tmp_path / 'images')
    project(segmentation_config, own, tmp_path)
    (own / name).write_bytes(content)
    argv = ['config.py', 'trained.pth', 'o.pth', '--to', 'mmseg', '--calibrate', '--device', 'cpu']
    assert main(argv) == 2
    told = capsys.readouterr().err
    assert 'an image cannot be read: ' in told and told.strip().endswith(name)
    assert not Path('o.pth').exists()


def test_a_stock_model_is_told(images, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project(segmentation_config, images, tmp_path, key_cfg=None)
    argv = ['config.py', 'trained.pth', 'o.pth', '--to', 'mmseg', '--calibrate', '--device', 'cpu']
    assert main(argv) == 2
    assert 'no model.backbone.key_cfg to fold' in capsys.readouterr().err


def test_training_images_are_prepared_as_for_validation():
    leaf = dict(type='A', ann_file='train.json', pipeline=['flip'], filter_cfg=dict(x=1))
    val = dict(dataset=dict(type='B', ann_file='val.json', pipeline=['load']))
    wrapped = dict(type='RepeatDataset', times=3, dataset=dict(type='Mosaic', dataset=leaf))
    cfg = Config(dict(train_dataloader=dict(dataset=wrapped), val_dataloader=val))
    wanted = dict(type='A', ann_file='train.json', pipeline=['load'], test_mode=True)
    assert calibration_dataset(cfg) == wanted
    both = dict(type='ConcatDataset', datasets=[leaf, dict(leaf, ann_file='more.json')])
    cfg = Config(dict(train_dataloader=dict(dataset=both), val_dataloader=val))
    found = calibration_dataset(cfg)
    assert found['datasets'] == [wanted, dict(wanted, ann_file='more.json')]
    with pytest.raises(InputError, match=r'no val_dataloader\.dataset'):
        calibration_dataset(Config(dict(train_dataloader=dict(dataset=leaf))))


@pytest.mark.parametrize('several', [False, True])
def test_nothing_of_the_validation_images_data_set_is_left(several):
    leaf = dict(type='A', ann_file='train.json')
    train = dict(type='ConcatDataset', datasets=[leaf, leaf]) if several else leaf
    val = dict(type='A', ann_file='val.json', indices=1, filter_cfg=dict(x=1), pipeline=['load'])
    cfg = Config(
        dict(
            train_dataloader=dict(dataset=train),
            val_dataloader=dict(batch_size=2, num_workers=4, persistent_workers=True, dataset=val),
        )
    )
    built = []

    class Builder:
        def build_dataloader(self, settings):
            built.append(settings)
            return torch.utils.data.DataLoader(range(5), batch_size=settings['batch_size'])

    batches = calibration_batches(Builder(), cfg, 4)
    assert [len(batch) for batch in batches] == [2, 2]
    assert built[0]['dataset'] == calibration_dataset(cfg)
    assert cfg.val_dataloader.dataset == val
