"""Two studies side by side, and the export of numbers."""

import json

import numpy as np
import pytest

from mkbackbones.commands.study import main
from mkbackbones.study.records.results import (
    ArmInfo,
    StudyInfo,
    StudyResults,
    TaskInfo,
    load_results,
)
from mkbackbones.study.report.changes import Change, changed_settings, changes, common_tasks
from mkbackbones.study.statistics import analyse

from ..fake import FakeStudy
from ..simulated import run_of


def study(scores, metric='AP', **facts):
    """A detection study from scores by arm; the first arm is the baseline."""
    arms = {arm: ArmInfo(arm, 'candidate' if i else 'baseline') for i, arm in enumerate(scores)}
    seeds = list(range(max(map(len, scores.values()))))
    info = StudyInfo('s', '?', arms, {'det': TaskInfo('detection', metric, ['a'])}, seeds, **facts)
    runs = [
        run_of('det', arm, seed, {metric: value})
        for arm, values in scores.items()
        for seed, value in enumerate(values)
    ]
    return StudyResults(info, runs)


def test_changes_of_metrics_and_of_gains():
    before = study({'stock': [50.0, 52.0, 51.0], 'spatial': [52.0, 53.0, 53.0]})
    after = study({'stock': [40.0, 42.0, 41.0], 'spatial': [45.0, 46.0, 46.0]})
    metrics, gains = changes(before, after, ['det'])
    assert [(c.arm, round(c.mean, 6)) for c in metrics] == [
        ('stock', -10.0),
        ('spatial', round(137 / 3 - 158 / 3, 6)),
    ]
    assert [(c.arm, round(c.mean, 6)) for c in gains] == [('spatial', 3.0)]


def test_interval_covers_the_change():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        low, high = Change(
            't',
            'a',
            'm',
            dict(enumerate(rng.normal(0, 1, 3))),
            dict(enumerate(rng.normal(2, 3, 5))),
        ).interval()
        hits += low <= 2 <= high
    assert hits / 400 == pytest.approx(0.95, abs=0.03)


def test_no_interval_from_one_seed_or_without_any_spread():
    assert Change('t', 'a', 'm', {0: 1.0}, {0: 2.0, 1: 3.0}).interval() is None
    assert Change('t', 'a', 'm', {0: 1.0, 1: 1.0}, {0: 2.0, 1: 2.0}).interval() is None


def test_no_task_in_common():
    with pytest.raises(ValueError, match=r'first one has det \(AP\), the second one det \(AP50\)'):
        common_tasks(study({'stock': [1.0]}).info, study({'stock': [1.0]}, 'AP50').info)


def test_changed_settings():
    before = study({'stock': [1.0]}, budget='100 iterations', environment={'torch': '2.4'})
    after = study({'stock': [1.0, 2.0]}, budget='200 iterations', environment={'torch': '2.4'})
    after.info.arms['stock'].backbone = {'key_cfg': {'type': 'LinearK'}}
    assert changed_settings(before.info, after.info) == [
        ('seeds', '0', '0, 1'),
        ('budget', '100 iterations', '200 iterations'),
        ('arm stock: key_cfg.type', 'none', 'LinearK'),
    ]


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    root = tmp_path_factory.mktemp('two')
    FakeStudy(root / 'before', 2, ['segmentation'], 3).run_all()
    later = FakeStudy(root / 'after', 3, ['segmentation', 'classification'], 3, gain=0.4)
    later.write_info(environment={'torch': '2.15', 'data of segmentation': 'other'})
    later.run_all()
    return root


def test_compare_command(two, capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '160')
    assert main(['compare', str(two / 'before'), str(two / 'after')]) == 0
    out = capsys.readouterr().out
    assert 'before: SpatialK, 8 charts against stock key' in out
    change = changes(*map(load_results, (two / 'before', two / 'after')), ['segmentation'])[0][1]
    assert f'{change.mean:+.2f}' in out
    assert 'The data of segmentation differ' in ' '.join(out.split())
    assert 'Only in after: task classification, arm mlp, arm vanilla.' in out


def test_commands_say_what_is_wrong(two, tmp_path, capsys):
    for arguments, message in (
        (['compare', str(tmp_path), str(two / 'after')], 'holds no study'),
        (['report', str(tmp_path)], 'holds no study'),
        (['export', str(tmp_path), '--out', str(tmp_path / 'n.csv')], 'holds no study'),
        (['export', str(two / 'before'), '--out', 'n.xlsx'], 'n.xlsx has to end in .json or .csv'),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_export_command(two, tmp_path, capsys):
    for name in ('n.json', 'deep/n.csv'):
        assert main(['export', str(two / 'before'), '--out', str(tmp_path / name)]) == 0
    assert json.loads((tmp_path / 'n.json').read_text())['analysis']['baseline'] == 'stock'
    assert (tmp_path / 'deep/n.csv').read_text().startswith('table,task,arm,reference,metric,seed')


def test_exported_evidence_gives_the_same_numbers_elsewhere(two, tmp_path, capsys):
    out = tmp_path / 'published' / 'evidence'
    assert main(['export', str(two / 'after'), '--evidence', str(out)]) == 0
    assert ' runs, ' in capsys.readouterr().out
    for path in out.rglob('*'):
        if path.is_file():
            assert str(two).encode() not in path.read_bytes()
            assert path.name == 'study.json' or path.stat().st_size < 40_000
    moved = out.rename(tmp_path / 'moved')
    first, again = (load_results(folder) for folder in (two / 'after', moved))
    assert analyse(again).to_dict() == analyse(first).to_dict()
    assert analyse(again).difference('segmentation', 'spatial').test_sd is not None
    assert main(['report', str(moved), '--out', str(tmp_path / 'report')]) == 0
    assert main(['export', str(moved), '--evidence', str(tmp_path / 'again')]) == 0
    assert analyse(load_results(tmp_path / 'again')).to_dict() == analyse(first).to_dict()
    page = (tmp_path / 'report/report.md').read_text()
    assert 'Defective images found at few false alarms' in page


def test_evidence_that_cannot_be_exported_or_read(two, tmp_path, capsys):
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full/file').write_text('')
    (tmp_path / 'none').mkdir()
    FakeStudy(tmp_path / 'none', 2, ['segmentation'], 1)
    for folder, out, message in (
        (two / 'before', 'full', 'full is not an empty folder; name another one'),
        (tmp_path / 'none', 'out', 'no run of the study is finished'),
    ):
        assert main(['export', str(folder), '--evidence', str(tmp_path / out)]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
    assert main(['export', str(two / 'before'), '--evidence', str(tmp_path / 'ok')]) == 0
    for path in (tmp_path / 'ok').rglob('left_out.npz'):
        path.write_bytes(b'no archive')
    assert main(['export', str(tmp_path / 'ok'), '--out', str(tmp_path / 'n.csv')]) == 2
    assert 'export the evidence again' in capsys.readouterr().err
