"""Files in float16 and int8, and what they cost."""

import re
from pathlib import Path

import onnx
import pytest

import mkbackbones
from mkbackbones.commands.export import main
from mkbackbones.commands.train import main as train
from mkbackbones.datasets import SyntheticDefects, write_dataset
from mkbackbones.decide.operating_point import OperatingPoint
from mkbackbones.decide.thresholds import Outcome, Wish
from mkbackbones.export.run import ExportedModel

ROOT = Path(__file__).parents[2]
CONFIG = f"""
_base_ = '{ROOT}/configs/demo/upernet_swin-nano-stock.py'
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dims=8, depths=(1, 1, 1, 1),
                            num_heads=(1, 1, 1, 1))),
    decode_head=dict(in_channels=[8, 16, 32, 64]), auxiliary_head=dict(in_channels=32))
train_dataloader = dict(batch_size=2)
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2))
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A trained segmentor and its data."""
    monkeypatch.delenv('MKBACKBONES_DATA', raising=False)
    monkeypatch.chdir(tmp_path)
    write_dataset(SyntheticDefects(dict(train=4, val=2, test=2), size=64), Path('data/synthetic'))
    Path('config.py').write_text(CONFIG)
    assert train(['config.py', '--device', 'cpu', '--work-dir', 'run']) == 0
    return ['config.py', 'run/iter_2.pth']


@pytest.mark.slow
def test_lower_precision_comes_with_the_metric(project, capsys):
    assert main([*project, 'full.onnx']) == 0
    assert main([*project, 'int8.onnx', '--int8', '3']) == 0
    assert main([*project, 'half.onnx', '--fp16']) == 0
    told = capsys.readouterr().out
    assert re.search(r'\d+ operators of backbone and neck in int8', told)
    assert re.search(r'mIoU: [\d.]+ before, [\d.]+ after', told)
    full, int8, half = (onnx.load(f'{name}.onnx') for name in ('full', 'int8', 'half'))
    kinds = [node.op_type for node in int8.graph.node]
    assert 'DequantizeLinear' in kinds
    assert {one.data_type for one in half.graph.initializer} >= {onnx.TensorProto.FLOAT16}
    assert not any(one.data_type == onnx.TensorProto.FLOAT16 for one in full.graph.initializer)
    for name, precision in (('int8', 'int8'), ('half', 'float16')):
        notes = ExportedModel(Path(f'{name}.onnx')).notes
        assert notes['precision'] == precision
        assert notes['kind'] == 'segmentation'


def test_mistakes_are_told_before_long_work(project, capsys):
    for arguments, message in (
        (['--int8', '0'], 'has to be at least 1 picture'),
        (['--int8', '--part', 'neck'], '--int8 is for whole models'),
        (['--int8', '0', '--part', 'neck'], '--int8 is for whole models'),
    ):
        assert main([*project, 'model.onnx', *arguments]) == 2
        assert message in capsys.readouterr().err
    predictor = mkbackbones.Predictor(*project, device='cpu')
    nothing = Outcome(None, None)
    OperatingPoint(0.7, Wish(0.1), list(predictor.classes), 'iter_2.pth', nothing).save(
        Path('t.json')
    )
    capsys.readouterr()
    given = [*project, 'model.onnx', '--threshold', 't.json', '--images', 'nowhere']
    for arguments, told in ((['--fp16'], True), ([], False)):
        assert main([*given, *arguments]) == 2
        assert ('was chosen in float32' in capsys.readouterr().out) == told
    Path('data/synthetic/images/val').rename('gone')
    assert main([*project, 'model.onnx', '--fp16']) == 2
    assert 'val' in capsys.readouterr().err
    assert not list(Path().glob('*model.onnx*'))
