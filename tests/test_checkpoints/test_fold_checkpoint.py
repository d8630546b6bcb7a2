"""Folding trained checkpoints: stock backbones load them and compute the same."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from mkbackbones.checkpoints.fold import read_settings
from mkbackbones.commands.fold import main
from mkbackbones.registry import MODELS

from .peers import (
    VIT,
    difference,
    manifold_swin,
    manifold_vit,
    randomise,
    timm_vit,
    timm_vit_features,
)
from .test_load_from import MM_BACKBONE, SWAPPED, detector, segmentor

LINEAR = [
    dict(type='LinearK'),
    dict(type='LinearK', temperature=True),
    dict(type='VanillaK', act_cfg=None, num_charts=2),
    dict(type='SimpleK', act_cfg=None, num_charts=2, base=False),
]
MIXED = [dict(type='VanillaK', act_cfg=None, blocks=[0]), dict(type='LinearK', blocks=[2, 3])]


def trained(tmp_path, backbone, scope='mmdet', model=None):
    """A model after training, as a runner's checkpoint stores it."""
    cfg = dict(
        default_scope=scope,
        custom_imports=dict(imports=['mkbackbones'], allow_failed_imports=False),
        model=dict(type='Detector', backbone=backbone),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4)),
    )
    if model is None:
        with DefaultScope.overwrite_default_scope(scope):
            model = nn.ModuleDict(dict(backbone=MODELS.build(backbone), head=nn.Linear(2, 2)))
        model = randomise(model)
    meta = {'cfg': Config(cfg).pretty_text, 'dataset_meta': {'CLASSES': ('a',)}, 'iter': 3}
    torch.save(
        {'meta': meta, 'state_dict': model.state_dict(), 'optimizer': {}, 'message_hub': {}},
        tmp_path / 'iter_3.pth',
    )
    return model.get_submodule('backbone')


def fold(*args):
    return main([str(arg) for arg in args])


@pytest.mark.parametrize(
    'key_cfg', [*LINEAR, MIXED], ids=['linear', 'temperature', 'vanilla', 'simple', 'mixed']
)
@pytest.mark.parametrize(('make', 'scope'), [(detector, 'mmdet'), (segmentor, 'mmseg')])
def test_whole_model_runs_on_the_stock_backbone(tmp_path, key_cfg, make, scope):
    backbone = {**SWAPPED, 'key_cfg': key_cfg}
    model = make(backbone)
    trained(tmp_path, backbone, scope, model)
    assert fold(tmp_path / 'iter_3.pth', tmp_path / 'folded.pth', '--to', scope) == 0
    folded = torch.load(tmp_path / 'folded.pth', weights_only=True)
    assert set(folded) == {'state_dict', 'meta'}
    assert folded['meta']['dataset_meta'] == {'CLASSES': ('a',)} and folded['meta']['iter'] == 3
    stock = make(MM_BACKBONE)
    stock.load_state_dict(folded['state_dict'], strict=True)
    x = torch.randn(1, 3, 61, 90)
    assert difference(model.backbone, stock.backbone, x) < 1e-5
    rest = {n: v for n, v in model.state_dict().items() if not n.startswith('backbone.')}
    assert all(torch.equal(stock.state_dict()[name], value) for name, value in rest.items())
    # The config that the checkpoint stores now describes the stock model.
    cfg = Config.fromstring(folded['meta']['cfg'], '.py')
    assert cfg.model.backbone.type == f'{scope}.SwinTransformer'
    assert cfg.custom_imports.imports == [] and cfg.optim_wrapper.optimizer.lr == 1e-4
    make(cfg.model.backbone).load_state_dict(folded['state_dict'], strict=True)


def test_backbone_alone_for_timm(tmp_path, capsys):
    backbone = dict(
        type='mkbackbones.ManifoldViT',
        arch=dict(VIT),
        pretrain_img_size=64,
        out_indices=(1, 2),
        init_values=0.1,
        key_cfg=dict(type='SimpleK', act_cfg=None),
    )
    model = trained(tmp_path, backbone)
    out = tmp_path / 'folded.safetensors'
    assert fold(tmp_path / 'iter_3.pth', out, '--to', 'timm') == 0
    assert 'head.*' in capsys.readouterr().out
    from safetensors.torch import load_file

    peer = timm_vit(num_classes=0, init_values=0.1)
    peer.load_state_dict(load_file(out), strict=True)
    x = torch.randn(1, 3, 64, 64)
    assert difference(model, timm_vit_features(peer, x), x) < 1e-5


def test_vit_in_its_segmentor(tmp_path):
    pytest.importorskip('mmseg.models')
    backbone = dict(
        type='mkbackbones.ManifoldViT',
        arch=dict(VIT),
        pretrain_img_size=64,
        out_indices=(1, 2),
        qkv_bias=False,
        key_cfg=dict(type='VanillaK', act_cfg=None, blocks=[1]),
    )
    model = trained(tmp_path, backbone, 'mmseg')
    assert fold(tmp_path / 'iter_3.pth', tmp_path / 'folded.pth', '--to', 'mmseg') == 0
    folded = torch.load(tmp_path / 'folded.pth', weights_only=True)
    cfg = Config.fromstring(folded['meta']['cfg'], '.py')
    stock = MODELS.build(cfg.model.backbone)
    state = folded['state_dict']
    stock.load_state_dict(
        {n.removeprefix('backbone.'): v for n, v in state.items() if n[:4] == 'back'}, strict=True
    )
    stock.train(False)
    assert difference(model, stock, torch.randn(1, 3, 64, 64)) < 1e-5


def test_a_library_backbone_with_manifold_keys(tmp_path):
    """ManifoldKeyBackbone around mmdet's own Swin."""
    pytest.importorskip('mmdet.models')
    backbone = dict(
        type='mkbackbones.ManifoldKeyBackbone', backbone=MM_BACKBONE, key_cfg=dict(LINEAR[1])
    )
    model = trained(tmp_path, backbone)
    assert fold(tmp_path / 'iter_3.pth', tmp_path / 'folded.pth', '--to', 'mmdet') == 0
    state = torch.load(tmp_path / 'folded.pth', weights_only=True)['state_dict']
    stock = MODELS.build({**MM_BACKBONE, 'type': 'mmdet.SwinTransformer'})
    stock.load_state_dict(
        {n.removeprefix('backbone.'): v for n, v in state.items() if n[:4] == 'back'}, strict=True
    )
    stock.train(False)
    assert difference(model, stock, torch.randn(1, 3, 61, 90)) < 1e-5


def write_config(tmp_path, **backbone):
    path = tmp_path / 'my_config.py'
    path.write_text(
        f'default_scope = "mmengine"\nmodel = dict(backbone={ {**SWAPPED, **backbone} })\n'
    )
    return path


def test_a_bare_state_dict_with_a_config(tmp_path):
    key_cfg = dict(type='VanillaK', act_cfg=None)
    model = randomise(manifold_swin(key_cfg=key_cfg))
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    config = write_config(tmp_path, key_cfg=key_cfg)
    assert fold(config, tmp_path / 'weights.pth', tmp_path / 'out.pth', '--to', 'mmdet') == 0
    again = manifold_swin()
    again.load_state_dict(torch.load(tmp_path / 'out.pth')['state_dict'])
    assert difference(model, again, torch.randn(1, 3, 64, 64)) < 1e-5


def test_a_bare_state_dict_of_plain_linear_keys_tells_enough(tmp_path):
    model = randomise(manifold_vit(key_cfg=dict(type='LinearK')))
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    assert fold(tmp_path / 'weights.pth', tmp_path / 'out.pth', '--to', 'timm') == 0
    again = manifold_vit()
    again.load_state_dict(torch.load(tmp_path / 'out.pth'), strict=True)
    assert difference(model, again, torch.randn(1, 3, 64, 64)) < 1e-5


def refusal(capsys, *args):
    assert fold(*args) == 2
    return capsys.readouterr().err


def test_what_cannot_be_folded(tmp_path, capsys):
    out = tmp_path / 'out.pth'
    keys = [dict(type='LinearK', blocks=[0]), dict(type='KUA', num_charts=2, blocks=[1, 4])]
    trained(tmp_path, {**SWAPPED, 'key_cfg': keys})
    message = refusal(capsys, tmp_path / 'iter_3.pth', out, '--to', 'mmdet')
    assert 'layers.0.blocks.1.attn.qkv, layers.2.blocks.0.attn.qkv' in message

    vanilla = dict(type='VanillaK', act_cfg=None)
    torch.save(manifold_swin(key_cfg=vanilla).state_dict(), tmp_path / 'weights.pth')
    message = refusal(capsys, tmp_path / 'weights.pth', out, '--to', 'mmdet')
    assert 'give the config' in message
    config = write_config(tmp_path, key_cfg=dict(vanilla, num_charts=3))
    message = refusal(capsys, config, tmp_path / 'weights.pth', out, '--to', 'mmdet')
    assert 'does not fit' in message and 'attn.qkv.key' in message
    config.write_text('model = dict(backbone=dict(type="ResNet"))')
    message = refusal(capsys, config, tmp_path / 'weights.pth', out, '--to', 'mmdet')
    assert 'no backbone with manifold keys' in message

    torch.save(manifold_swin().state_dict(), tmp_path / 'stock.pth')
    message = refusal(capsys, tmp_path / 'stock.pth', out, '--to', 'mmdet')
    assert 'no manifold keys' in message and 'convert-checkpoint' in message
    assert not out.exists()


def test_stored_config_is_data(tmp_path):
    """The text of a config in a checkpoint is never run."""
    flag = tmp_path / 'ran'
    text = f"""
model = dict(type='A', sizes=(1, -2.5), nested=[dict(a=None), {{'b': True}}])
evil = open({str(flag)!r}, 'w')
worse = dict(x=__import__('os').getcwd())
work_dir = './work'
"""
    settings = read_settings(text)
    assert settings == {
        'model': dict(type='A', sizes=(1, -2.5), nested=[dict(a=None), {'b': True}]),
        'work_dir': './work',
    }
    assert not flag.exists()
    assert read_settings('not python at all') == {}
