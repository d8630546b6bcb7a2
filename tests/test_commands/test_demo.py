"""The demo from end to end, on a few images and iterations."""

import json
import re

import pytest

from mkbackbones.commands import demo
from mkbackbones.datasets import SyntheticDefects
from mkbackbones.datasets.writer import write_dataset
from mkbackbones.study import load_results

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')


@pytest.mark.slow
def test_from_data_to_results(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('MKBACKBONES_DATA', '')  # restored at the end: the command sets it
    counts = dict(train=8, val=2, test=6)
    write_dataset(SyntheticDefects(counts), tmp_path / 'data' / 'synthetic')
    assert demo.main(['--iters', '2', '--work-dir', str(tmp_path), '--device', 'cpu']) == 0

    printed = capsys.readouterr().out
    assert re.search(r'report: \S+report\.html', printed.replace('\n', ''))
    assert 'SpatialK' in (tmp_path / 'report.md').read_text()
    results = load_results(tmp_path)
    assert results.failures == []
    for task in ('detection', 'segmentation'):
        (stock,) = results.of(task, 'stock').values()
        (manifold,) = results.of(task, 'spatial').values()
        # Fair by construction: both arms see the same batch with the same weights at first.
        assert stock.losses[0] == manifold.losses[0]
        assert manifold.parameters > stock.parameters
    drawn = tmp_path / 'runs' / 'detection' / 'stock' / 'seed0' / 'predictions'
    assert len(list(drawn.glob('*.json'))) == 6
    assert isinstance(json.loads(next(drawn.glob('*.json')).read_text()), list)


@pytest.mark.parametrize(('args', 'word'), [(['--iters', '0'], '--iters 0'), (['--x'], '--x')])
def test_wrong_arguments(args, word, tmp_path, capsys):
    try:
        code = demo.main([*args, '--work-dir', str(tmp_path / 'new')])
    except SystemExit as exit_:
        code = exit_.code
    assert code == 2
    assert word in capsys.readouterr().err
    assert not (tmp_path / 'new').exists()
