"""Published evidence gives the published numbers."""

import json
from pathlib import Path

import pytest

from mkbackbones.study.records.results import load_results
from mkbackbones.study.statistics import analyse

STUDIES = Path(__file__).parents[2] / 'docs/studies'
EVIDENCE = sorted(path.parent.name for path in STUDIES.glob('*/evidence'))
# Of a study that is under way there is evidence alone.
PUBLISHED = [name for name in EVIDENCE if (STUDIES / name / 'numbers.json').is_file()]


def assert_equal(found, wanted, place):
    """Compare numbers to the last digits that a platform may round otherwise, all else exactly."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), place
        for key, value in wanted.items():
            assert_equal(found[key], value, f'{place}.{key}')
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), place
        for index, value in enumerate(wanted):
            assert_equal(found[index], value, f'{place}[{index}]')
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-6, abs=1e-9), place
    else:
        assert found == wanted, place


def test_something_is_published():
    assert 'neu_mt_gpu_pilot' in PUBLISHED


@pytest.mark.parametrize('name', sorted(set(EVIDENCE) - set(PUBLISHED)))
def test_evidence_of_a_study_under_way_can_be_read(name):
    results = load_results(STUDIES / name / 'evidence')
    verdicts = analyse(results).verdicts
    report = STUDIES / name / 'report.md'
    if not results.info.looks or not report.exists():
        assert results.runs and not report.exists()
        return
    text = report.read_text(encoding='utf-8').replace('\\', '')  # a look was published
    assert verdicts and all(verdict.sentence in text for verdict in verdicts)


@pytest.mark.parametrize('name', sorted(path.parent.name for path in STUDIES.glob('*/waiting')))
def test_runs_that_wait_for_a_look_are_of_the_same_study(name):
    shown = load_results(STUDIES / name / 'evidence')
    waiting = load_results(STUDIES / name / 'waiting')
    keys = {(run.task, run.arm, run.seed) for run in shown.runs}
    assert waiting.runs and not keys & {(run.task, run.arm, run.seed) for run in waiting.runs}
    same = ('code', 'torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'timm', 'numpy')
    for task in {run.task for run in waiting.runs}:
        told = [*same, f'data of {task}']
        runs = [run for run in [*shown.runs, *waiting.runs] if run.task == task]
        assert len({tuple(run.environment[each] for each in told) for run in runs}) == 1


@pytest.mark.parametrize('name', PUBLISHED)
def test_evidence_gives_the_numbers(name):
    wanted = json.loads((STUDIES / name / 'numbers.json').read_text())['analysis']
    found = analyse(load_results(STUDIES / name / 'evidence')).to_dict()
    assert_equal(json.loads(json.dumps(found)), wanted, name)
