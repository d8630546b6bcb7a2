"""The demo from end to end, on a few images and iterations."""

import re

import pytest

from mkbackbones.commands import demo
from mkbackbones.datasets import SyntheticDefects
from mkbackbones.datasets.writer import write_dataset

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')


@pytest.fixture
def recorded(monkeypatch):
    """The results that the report is built from."""
    found = []
    build = demo.build_report
    monkeypatch.setattr(demo, 'build_report', lambda r: found.extend(r) or build(r))
    return found


def test_from_data_to_report(tmp_path, capsys, monkeypatch, recorded):
    monkeypatch.setenv('MKBACKBONES_DATA', '')  # restored at the end: the command sets it
    counts = dict(train=8, val=2, test=6)
    write_dataset(SyntheticDefects(counts), tmp_path / 'data' / 'synthetic')
    assert demo.main(['--iters', '2', '--work-dir', str(tmp_path), '--device', 'cpu']) == 0

    printed = capsys.readouterr().out
    assert re.search(r'report: \S+report\.html', printed.replace('\n', ''))
    page = (tmp_path / 'report.html').read_text()
    text = (tmp_path / 'report.md').read_text()
    for arm in ('stock key', 'SpatialK'):
        for task in ('detection', 'segmentation'):
            assert re.search(rf'\| {task} \| {arm} \| \S+ [\d.e-]+', text)
    assert page.count('data:image/png;base64,') == 3
    assert {p.name for p in tmp_path.glob('*.png')} == {
        'losses.png',
        'detection.png',
        'segmentation.png',
    }

    # Fair by construction: both arms see the same batch with the same weights at first.
    assert len(recorded) == 4
    for stock, manifold in (recorded[:2], recorded[2:]):
        assert stock.losses[0] == manifold.losses[0]
        assert stock.untrained_score == manifold.untrained_score
        assert manifold.cost.parameters > stock.cost.parameters
        assert len(stock.samples) == demo.NUM_PICTURES


def test_chance_is_answering_background_everywhere(tmp_path):
    import numpy as np
    from mmengine.config import Config
    from PIL import Image

    from mkbackbones.study.chance import background_miou

    (tmp_path / 'masks').mkdir()
    mask = np.zeros((4, 5), dtype=np.uint8)
    mask[0] = 2
    Image.fromarray(mask).save(tmp_path / 'masks' / 'a.png')
    dataset = dict(
        data_root=str(tmp_path),
        data_prefix=dict(seg_map_path='masks'),
        seg_map_suffix='.png',
        metainfo=dict(classes=('background', 'a', 'b')),
    )
    cfg = Config(dict(test_dataloader=dict(dataset=dataset)))
    assert background_miou(cfg) == pytest.approx(100 * (15 / 20) / 2)


@pytest.mark.parametrize(('args', 'word'), [(['--iters', '0'], '--iters 0'), (['--x'], '--x')])
def test_wrong_arguments(args, word, tmp_path, capsys):
    try:
        code = demo.main([*args, '--work-dir', str(tmp_path / 'new')])
    except SystemExit as exit_:
        code = exit_.code
    assert code == 2
    assert word in capsys.readouterr().err
    assert not (tmp_path / 'new').exists()


def test_report_tells_when_nothing_was_learned():
    from types import SimpleNamespace

    def result(losses, score, untrained=0.0):
        window = SimpleNamespace(
            trial=SimpleNamespace(task='detection', arm='a', metric='m'),
            score=score,
            untrained_score=untrained,
            loss_at=lambda end: losses[end],
        )
        return demo.complaints(window)

    assert result([2.0, 1.0], 0.1) == []
    assert 'loss went from 2 to 1.9' in result([2.0, 1.9], 0.1)[0]
    assert 'not above chance' in result([2.0, 1.0], 0.0)[0]
    assert 'not above chance' in result([2.0, float('nan')], 0.1, untrained=0.2)[1]
