"""The section on what the keys do, and the first paragraph where they do nothing."""

import json

import pytest

from mkbackbones.study.records.results import load_results, read_result
from mkbackbones.study.report.applied import applied, idle
from mkbackbones.study.report.curves import chart_curves
from mkbackbones.study.report.numbers import to_csv
from mkbackbones.study.report.style import Look
from mkbackbones.study.report.write import write_report
from mkbackbones.study.statistics import analyse

from ..fake import FakeStudy


def treated(folder, off, changes):
    """A fake study whose SpatialK runs lose so many points, seed by seed, without their charts."""
    FakeStudy(folder, tasks=['segmentation'], seeds=len(changes)).run_all()
    for seed, change in enumerate(changes):
        path = folder / f'runs/segmentation/spatial/seed{seed}/result.json'
        content = json.loads(path.read_text())
        content['treatment'] = dict(
            off=off, score_off=content['metrics']['mIoU'] - change, linear_share=0.5
        )
        if off == 'scale':
            content['treatment'] |= dict(
                out_scale=0.02 * (seed + 1),
                charts_over_base=0.04,
                score_linear=content['metrics']['mIoU'] - change / 4,
            )
        path.write_text(json.dumps(content))
    return load_results(folder)


def test_charts_in_use(tmp_path):
    results = treated(tmp_path, 'scale', [1.0, 3.0])
    heading, _, table = applied(results)
    assert heading.text == 'Was the treatment applied?'
    assert table.header == [
        'task', 'arm', 'output scale', 'charts / base', 'linear share', 'charts off',
        'the score loses', 'linear instead', 'seeds',
    ]  # fmt: skip
    assert table.rows == [
        ['segmentation', 'SpatialK, 8 charts', '0.030', '4.0%', '50.0%', 'output scale 0']
        + ['+2.00 (+1.00 to +3.00)', '+0.50 (+0.25 to +0.75)', '2']
    ]
    assert idle(results) == []
    assert 'treatment,segmentation,spatial,,,1,out_scale,0.04' in to_csv(results, analyse(results))


@pytest.mark.parametrize(
    ('off', 'words'),
    [('scale', 'with them switched off'), ('linear', 'with a linear map in their place')],
)
def test_idle_charts_are_told_in_the_first_paragraph(off, words, tmp_path):
    treated(tmp_path, off, [0.05, 0.01])
    text = write_report(tmp_path, examples=False).text.read_text(encoding='utf-8')
    lead = text.split('\n\n')[1]
    told = 'The charts of SpatialK, 8 charts did nothing in segmentation (-0.03 mIoU): so little'
    assert told in lead and words in lead and '## Was the treatment applied?' in text


def test_idle_charts_of_controls_are_told_further_down(tmp_path):
    treated(tmp_path, 'scale', [0.05, 0.01])
    study = json.loads((tmp_path / 'study.json').read_text())
    study['arms']['spatial']['role'] = 'control'
    (tmp_path / 'study.json').write_text(json.dumps(study))
    text = write_report(tmp_path, examples=False).text.read_text(encoding='utf-8')
    told = 'The charts of SpatialK, 8 charts did nothing in segmentation (-0.03 mIoU): so little'
    before, after = text.split('## Was the treatment applied?')
    assert told not in before and told in after


def test_studies_from_before_have_no_section(tmp_path):
    FakeStudy(tmp_path, seeds=2).run_all()
    results = load_results(tmp_path)
    assert applied(results) == [] and idle(results) == []


@pytest.mark.parametrize(
    'treatment', [[1], {'off': 'on'}, {'out_scale': 'x'}, {'score_off': None}, 'text', None]
)
def test_a_damaged_treatment_is_a_damaged_result(treatment, tmp_path):
    FakeStudy(tmp_path, seeds=2).run_all()
    path = tmp_path / 'runs/detection/spatial/seed0/result.json'
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {'treatment': treatment}))
    with pytest.raises(ValueError, match='is damaged'):
        read_result(path.parent)


def test_how_charts_moved_is_drawn(tmp_path):
    FakeStudy(tmp_path, tasks=['segmentation'], seeds=2).run_all()
    for seed, end in enumerate([5, 4]):
        path = tmp_path / f'runs/segmentation/spatial/seed{seed}/result.json'
        content = json.loads(path.read_text())
        at = [1.0, 100.0, 200.0, 300.0, 400.0][:end]
        content['charts'] = dict(
            iteration=at, out_scale=[0.001 * i for i in at], distance=[1.4] * end
        )
        path.write_text(json.dumps(content))
    results = load_results(tmp_path)
    figure = chart_curves(results, Look(analyse(results).labels), 'segmentation')
    assert [axis.get_ylabel() for axis in figure.axes] == ['output scale', 'distance of charts']
    for axis in figure.axes:
        (line,) = axis.lines[:1]  # of one arm: the stock key has no charts
        assert line.get_xdata().tolist() == [1, 100, 200, 300]
    files = write_report(tmp_path, examples=False)
    assert '## Did the charts move?' in files.text.read_text(encoding='utf-8')
    text = to_csv(results, analyse(results))
    assert 'charts,segmentation,spatial,,,1,out_scale at 300,0.3' in text


def test_without_it_there_is_no_section(tmp_path):
    FakeStudy(tmp_path, seeds=2).run_all()
    text = write_report(tmp_path, examples=False).text.read_text(encoding='utf-8')
    assert 'Did the charts move?' not in text and 'Learning curves' in text


@pytest.mark.parametrize('charts', [{'iteration': [1], 'out_scale': []}, {'out_scale': ['x']}, 3])
def test_damaged_charts_are_a_damaged_result(charts, tmp_path):
    FakeStudy(tmp_path, seeds=2).run_all()
    path = tmp_path / 'runs/detection/spatial/seed0/result.json'
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {'charts': charts}))
    with pytest.raises(ValueError, match='is damaged'):
        read_result(path.parent)
