"""Backbones and necks as torch.export programs and ONNX files."""

import json
import re

import pytest
import torch
from torch import nn

from mkbackbones.attention.qkv import ManifoldQKV
from mkbackbones.commands.export import main as export_main
from mkbackbones.export import (
    ExportError,
    Features,
    deployed,
    export_onnx,
    export_program,
    features,
)
from mkbackbones.necks import SimpleFeaturePyramid

from ..test_backbones.common import (
    KEY_CFGS,
    VARIANTS,
    tiny_dinov3,
    tiny_swin,
    tiny_swin_v2,
    tiny_vit,
)

#: A key of each kind, one a block.
EVERY_KEY = [dict(cfg, blocks=[i]) for i, cfg in enumerate(KEY_CFGS) if cfg is not None]
SIZES = [(1, 3, 64, 64), (2, 3, 33, 117), (1, 3, 129, 40)]
BUILDERS = {
    'swin': lambda: tiny_swin(
        arch=dict(embed_dims=16, depths=(2, 7), num_heads=(2, 4)), key_cfg=EVERY_KEY
    ),
    'swin-v2': lambda: tiny_swin_v2(key_cfg=dict(type='SpatialK', num_charts=2)),
    'swin-context': lambda: tiny_swin(context_broadcasting=True),
    'vit-context': lambda: tiny_vit(context_broadcasting=True),
    'vit': lambda: tiny_vit(
        arch=dict(embed_dims=32, depth=3, num_heads=2),
        out_indices=(1, 2),
        window_size=3,
        global_blocks=(2,),
        num_register_tokens=2,
        key_cfg=dict(type='SpatialK', num_charts=2),
    ),
    'every-key': lambda: tiny_vit(
        arch=dict(embed_dims=96, depth=len(KEY_CFGS), num_heads=3),
        out_indices=-1,
        key_cfg=[dict(cfg, num_charts=8) if 'num_charts' in cfg else cfg for cfg in EVERY_KEY],
    ),
    'dinov3': lambda: tiny_dinov3(
        arch=dict(embed_dims=32, depth=3, num_heads=2, swiglu=True),
        out_indices=(1, 2),
        window_size=3,
        global_blocks=(2,),
        key_cfg=dict(type='SpatialK', num_charts=2),
    ),
}


def main(arguments):
    """The command for a part; the neck unless another one is named."""
    return export_main([*arguments, *([] if '--part' in arguments else ['--part', 'neck'])])


def trained(model):
    """Charts and branches that count, as after training: their scale starts at zero."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if name.endswith(('out_scale', 'norm1.weight', 'norm2.weight')):
            nn.init.normal_(parameter)
    return model


#: That with every key is compared in a file, too, which is made of it; a Swin by the command below.
PROGRAMS = ('swin-v2', 'vit', 'vit-context', 'dinov3')


@pytest.mark.parametrize(
    'name', [n if n in PROGRAMS else pytest.param(n, marks=pytest.mark.slow) for n in BUILDERS]
)
def test_a_program_computes_the_same_at_every_size(name):
    model = trained(BUILDERS[name]())
    run = export_program(model).module(check_guards=False)
    model = deployed(model)
    for size in SIZES:
        images = torch.randn(size)
        for found, wanted in zip(run(images), model(images), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    'name',
    [n if n == 'every-key' else pytest.param(n, marks=pytest.mark.slow) for n in BUILDERS],
)
def test_a_file_computes_the_same_at_every_size(name, tmp_path):
    differences = export_onnx(trained(BUILDERS[name]()), tmp_path / 'm.onnx', dict(note='x'))
    assert max(differences.values()) < 1e-4
    assert [file.name for file in tmp_path.iterdir()] == ['m.onnx']
    import onnx

    file = onnx.load(str(tmp_path / 'm.onnx'))
    onnx.checker.check_model(file)
    assert {p.key: p.value for p in file.metadata_props}['note'] == 'x'
    if name == 'every-key':
        check_products(file.graph)
    sides = file.graph.input[0].type.tensor_type.shape.dim
    assert [side.dim_param or side.dim_value for side in sides] == ['batch', 3, 'height', 'width']


def check_products(graph):
    """Charts are products with weights, so that --int8 takes them.

    Their matrix is not made anew of maps and Gamma each time. What is small, the exporter
    multiplies out by itself: these have 96 channels.
    """
    weights = {one.name: list(one.dims) for one in graph.initializer}
    products = [node for node in graph.node if node.op_type in ('MatMul', 'Gemm')]
    assert [weights.get(node.input[1]) for node in products].count([96, 768]) == len(VARIANTS)


def test_the_pyramid_of_a_vit_comes_along():
    model = Features(tiny_vit(out_indices=-1), SimpleFeaturePyramid(32, 8, num_outs=3))
    run = export_program(model).module(check_guards=False)
    images = torch.randn(1, 3, 50, 90)
    for found, wanted in zip(run(images), deployed(model)(images), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_linear_keys_are_folded_and_the_model_is_left_alone():
    model = tiny_swin(key_cfg=dict(type='VanillaK', num_charts=2, act_cfg=None)).train()
    ready = deployed(model)
    assert not any(isinstance(module, ManifoldQKV) for module in ready.modules())
    assert any(isinstance(module, ManifoldQKV) for module in model.modules())
    assert model.training
    assert not ready.training


class Wrong(nn.Module):
    """Computes something else from the second time on."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return (x * (1.0 if self.calls == 1 else 2.0),)


def test_a_file_that_computes_something_else_is_not_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(features, 'deployed', lambda model: model)
    with pytest.raises(ExportError, match='nothing was written'):
        export_onnx(Wrong(), tmp_path / 'm.onnx')
    assert not list(tmp_path.iterdir())


CONFIG = """
default_scope = 'mmdet'
custom_imports = dict(imports=['mkbackbones'])
model = dict(
    type='FasterRCNN',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[1.0, 2.0, 3.0], pad_size_divisor=32),
    backbone=dict(
        type='mkbackbones.ManifoldSwin', window_size=4,
        arch=dict(embed_dims=16, depths=(1, 2), num_heads=(2, 4)), out_indices=(0, 1),
        key_cfg=dict(type='SpatialK', num_charts=2)),
    neck=dict(type='FPN', in_channels=[16, 32], out_channels=8, num_outs=3))
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A config, and the checkpoint of its backbone, neck and something else."""
    from mmdet.models.necks import FPN

    from mkbackbones.backbones import ManifoldSwin

    monkeypatch.chdir(tmp_path)
    (tmp_path / 'config.py').write_text(CONFIG)
    arch = dict(embed_dims=16, depths=(1, 2), num_heads=(2, 4))
    key_cfg = dict(type='SpatialK', num_charts=2)
    backbone = ManifoldSwin(arch, key_cfg, out_indices=(0, 1), window_size=4)
    model = trained(Features(backbone, FPN([16, 32], 8, 3)))
    state = dict(model.state_dict(), **{'rpn_head.weight': torch.zeros(1)})
    torch.save(dict(state_dict=state), tmp_path / 'trained.pth')
    return tmp_path


def test_the_command_writes_backbone_and_neck(project, capsys):
    assert main(['config.py', 'trained.pth', 'out.onnx']) == 0
    told = capsys.readouterr().out
    assert 'backbone and neck' in told
    differences = [float(number) for number in re.findall(r'differs by (\S+)', told)]
    assert len(differences) == len(features.CHECKED) and max(differences) < 1e-4
    import onnx

    file = onnx.load('out.onnx')
    onnx.checker.check_model(file)
    assert [output.name for output in file.graph.output] == ['map0', 'map1', 'map2']
    kept = {prop.key: json.loads(prop.value) for prop in file.metadata_props}
    assert kept['mean'] == [1.0, 2.0, 3.0]
    assert main(['config.py', 'trained.pth', 'out.onnx']) == 2
    assert '--force' in capsys.readouterr().err


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['config.py', 'trained.pth', 'out.pth'], 'has to end with .onnx'),
        (['config.py', 'trained.pth', 'no/such/out.onnx'], 'does not exist'),
        (['config.py', 'no.pth', 'out.onnx'], 'no.pth does not exist'),
        (['no_such_config.py', 'trained.pth', 'out.onnx'], 'no_such_config.py'),
        (['other.py', 'trained.pth', 'out.onnx'], 'does not fit the config'),
        (['bare.py', 'trained.pth', 'out.onnx', '--part', 'neck'], 'has no neck'),
        (['config.py', 'headless.pth', 'out.onnx'], 'no entries that start with backbone.'),
    ],
)
def test_a_mistake_is_told_in_one_sentence(arguments, message, project, capsys):
    (project / 'other.py').write_text(CONFIG.replace('embed_dims=16', 'embed_dims=32'))
    (project / 'bare.py').write_text(CONFIG.split('    neck=')[0] + ')')
    torch.save({'head.weight': torch.zeros(1)}, 'headless.pth')
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not (project / 'out.onnx').exists()


def test_the_former_name_of_the_command(project, capsys):
    """It writes backbone and neck, as it did, and so refuses what has no neck."""
    from mkbackbones.__main__ import main as run

    (project / 'bare.py').write_text(CONFIG.split('    neck=')[0] + ')')
    assert run(['export-onnx', 'config.py', 'no.pth', 'out.onnx', '--force']) == 2
    told = capsys.readouterr().err
    assert 'now called export' in told and 'no.pth does not exist' in told
    assert run(['export-onnx', 'bare.py', 'trained.pth', 'out.onnx', '--images', 'x.png']) == 2
    assert '--images is for whole models' in capsys.readouterr().err


def test_pictures_are_for_whole_models(project, capsys):
    assert main(['config.py', 'trained.pth', 'out.onnx', '--images', 'x.png']) == 2
    assert '--images is for whole models' in capsys.readouterr().err
