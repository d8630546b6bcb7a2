"""``python -m mkbackbones swap-backbone``."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mkbackbones.commands.swap_backbone import main

from .shipped import train_step


@pytest.fixture
def retinanet():
    mmdet = pytest.importorskip('mmdet')
    folder = Path(mmdet.__file__).parent / '.mim' / 'configs'
    return str(folder / 'retinanet' / 'retinanet_r50_fpn_1x_coco.py')


def test_the_written_config_trains(retinanet, tmp_path, capsys):
    out = tmp_path / 'swapped.py'
    arch = ['arch.embed_dims=16', 'arch.depths=1,1,1,1', 'arch.num_heads=1,2,4,4']
    args = ['key_cfg.type=SpatialK', 'key_cfg.num_charts=2']
    assert main([retinanet, str(out), '--backbone', *arch, *args]) == 0
    told = capsys.readouterr().out
    assert 'model.neck.in_channels: [256, 512, 1024, 2048] -> [32, 64, 128]' in told
    assert 'note: ' in told and f'wrote {out}' in told
    cfg = Config.fromfile(out)
    assert cfg.model.backbone.key_cfg == dict(type='SpatialK', num_charts=2)
    train_step(cfg)


@pytest.mark.parametrize(
    ('out', 'options', 'word'),
    [
        ('out.yaml', [], 'is not a .py file'),
        ('none/out.py', [], 'there is no folder'),
        ('out.py', ['arch'], '--backbone arch is not of the form KEY=VALUE'),
        ('out.py', ['arch=huge'], "'huge'"),
        ('out.py', ['type=mkbackbones.ManifoldSwim'], 'ManifoldSwim'),
    ],
)
def test_wrong_input(retinanet, tmp_path, capsys, out, options, word):
    extra = ['--backbone', *options] if options else []
    assert main([retinanet, str(tmp_path / out), *extra]) == 2
    assert word in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), 'nothing half-written'


def test_an_existing_file_is_kept_unless_forced(retinanet, tmp_path, capsys):
    out = tmp_path / 'out.py'
    out.write_text('a = 1')
    assert main([retinanet, str(out)]) == 2
    assert '--force' in capsys.readouterr().err and out.read_text() == 'a = 1'
