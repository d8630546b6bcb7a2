import pickle
from pathlib import Path

import pytest
from mmengine.config import Config

from mkbackbones.commands.errors import CommandError
from mkbackbones.commands.test import main, paint_into
from mkbackbones.commands.train import main as train


@pytest.fixture
def checkpoint(toy_config):
    assert train([toy_config, '--device', 'cpu']) == 0
    return 'work_dirs/mk_toy_config/epoch_1.pth'


def test_prints_the_metrics_and_writes_the_predictions(toy_config, checkpoint, capsys):
    assert main([toy_config, checkpoint, '--device', 'cpu', '--out', 'out.pkl']) == 0
    printed = dict(line.split(': ') for line in capsys.readouterr().out.splitlines()[-2:])
    assert printed.keys() == {'mean', 'count'}
    assert int(printed['count']) == 4
    predictions = pickle.loads(Path('out.pkl').read_bytes())
    assert len(predictions) == 4
    assert predictions[0].keys() == {'y'}  # without the logits
    mean = sum(float(p['y']) for p in predictions) / 4
    assert float(printed['mean']) == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize(
    'argv, message',
    [
        (['none.pth'], 'checkpoint none.pth does not exist'),
        (['https://host/w.pth', '--out', 'out.json'], 'must end with .pkl'),
        (['https://host/w.pth', '--show-dir', 'painted'], 'default_hooks.visualization'),
        (['https://host/w.pth', '--cfg-options', 'test_dataloader=None'], 'no test_dataloader'),
        (['https://host/w.pth', '--tile', '64', '--out', 'o.pkl'], '--out o.pkl does not go with'),
        (['https://host/w.pth', '--overlap', '16'], '--overlap 16 is for --tile PIXELS'),
    ],
)
def test_bad_input_ends_with_code_2(toy_config, capsys, argv, message):
    assert main([toy_config, *argv, '--device', 'cpu']) == 2
    assert message in capsys.readouterr().err


def test_painting_goes_where_each_library_looks():
    det = Config({'default_hooks': {'visualization': {'type': 'DetVisualizationHook'}}})
    paint_into(det, 'painted')
    assert det.default_hooks.visualization.draw
    assert det.default_hooks.visualization.test_out_dir == str(Path('painted').absolute())

    seg = Config({'default_hooks': {'visualization': {'type': 'SegVisualizationHook'}}})
    paint_into(seg, 'painted')
    assert seg.default_hooks.visualization == dict(
        type='mkbackbones.PaintSegmentationHook', folder=str(Path('painted').absolute())
    )

    with pytest.raises(CommandError, match='visualization'):
        paint_into(Config({}), 'painted')
