"""Arms that learn from the trained network of another arm, of the same task and seed."""

import json

import pytest

from mkbackbones.study.define.plan import plan_runs
from mkbackbones.study.define.spec import StudyError, read_study
from mkbackbones.study.prepare.prepared import prepare_study
from mkbackbones.study.records.results import ArmInfo, load_results
from mkbackbones.study.report.write import write_report
from mkbackbones.study.run.schedule import open_schedule
from mkbackbones.study.statistics.crossed import find_squares

from .folded import write_folded
from .test_statistics.test_crossed import four, square

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

TAUGHT = """
arms['taught'] = dict(
    label='stock, taught', role='control', teacher=dict(arm='spatial', features=2.0, logits=0.5)
)
"""
CHAIN = """
tasks['detection']['initial_weights'] = dict(task='classification')
tasks['segmentation']['initial_weights'] = dict(task='classification')
"""


def read(folder, extra, keys=('detection', 'segmentation'), seeds=(0, 1)):
    folder = folder / '-'.join(keys)
    folder.mkdir(exist_ok=True)
    return read_study(write_folded(folder, keys, seeds, extra=extra))


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Data sets and configs, written once; study files come and go."""
    return tmp_path_factory.mktemp('taught')


def test_a_run_waits_for_its_teacher(data):
    study = read(data, TAUGHT)
    runs = {run.key: run for run in plan_runs(study)}
    assert len(runs) == 2 * (3 + 3)
    for task in study.tasks:
        assert runs[f'runs/{task}/taught/seed1'].needs == (f'runs/{task}/spatial/seed1',)
        assert runs[f'runs/{task}/spatial/seed1'].needs == ()
    assert study.arms['taught'].teacher.losses_of('detection')['logits'] == 0
    assert study.arms['taught'].teacher.losses_of('segmentation')['logits'] == 0.5


def test_with_classification_it_starts_from_another_arm(data):
    extra = TAUGHT + CHAIN + "arms['taught']['initial_arm'] = 'spatial'"
    study = read(data, extra, ('classification', 'detection', 'segmentation'))
    assert study.arms_of('classification') == ['stock', 'spatial']
    assert study.arms_of('segmentation') == ['stock', 'spatial', 'taught']
    runs = {run.key: run for run in plan_runs(study)}
    assert runs['runs/detection/taught/seed0'].needs == (
        'runs/classification/spatial/seed0',
        'runs/detection/spatial/seed0',
    )


@pytest.mark.parametrize(
    'extra, words',
    [
        ("arms['x'] = dict(teacher='spatiel')", "teacher='spatiel'; choose from.*did you mean"),
        ("arms['x'] = dict(teacher='x')", "teacher='x'; choose from the arms"),
        (TAUGHT + "arms['x'] = dict(teacher='taught')", "teacher='taught'; choose from"),
        ("arms['stock']['teacher'] = 'spatial'", 'is the baseline and has a teacher'),
        ("arms['x'] = dict(teacher=3)", "teacher=3; give an arm, e.g. 'spatial'"),
        ("arms['x'] = dict(teacher=dict(arm='spatial', feature=1))", "'feature'"),
        ("arms['x'] = dict(teacher=dict(arm='spatial', features=-1))", 'teacher: features=-1'),
        ("arms['x'] = dict(teacher=dict(arm='spatial', features=0))", 'are all 0'),
        (
            "arms['x'] = dict(teacher=dict(arm='spatial', features=0, logits=1))",
            'learns logits alone, which detection has not',
        ),
    ],
)
def test_what_cannot_be(data, extra, words):
    with pytest.raises(StudyError, match=words):
        read(data, extra)


def test_a_teacher_needs_tasks_and_a_start(data):
    with pytest.raises(StudyError, match='no task of detection or segmentation'):
        read(data, TAUGHT, ('classification',))
    words = r"which detection starts from; name.*initial_arm='spatial'"
    with pytest.raises(StudyError, match=words):
        read(data, TAUGHT + CHAIN, ('classification', 'detection', 'segmentation'))


def test_a_taught_arm_is_no_part_of_a_square():
    arms = four()
    assert len(find_squares(square(arms, {}, [], 2).info)) == 1
    arms['ks'] = ArmInfo('taught', 'control', {}, 'kk', dict(arm='kk', losses={}))
    assert not find_squares(square(arms, {}, [], 2).info)


def run(study, folder, executor):
    with open_schedule(prepare_study(study), folder) as schedule:
        schedule.run(executor)
        rows = schedule.ledger.rows().values()
        assert {row.error or row.state for row in rows} == {'done'}
        prints = schedule.fingerprints
    assert {key for key, found in prints.items() if 'teacher' in found} == {
        key for key in prints if '/taught/' in key
    }
    return load_results(folder)


@pytest.mark.parametrize(
    'task', [pytest.param('detection', marks=pytest.mark.slow), 'segmentation']
)
def test_a_study_with_a_taught_arm(task, data, tmp_path, executor):
    """The taught arm's losses are more, its network is a stock one; the report tells."""
    results = run(read(data, TAUGHT, (task,), (0,)), tmp_path / 'out', executor)
    stock, taught = (results.of(task, arm)[0] for arm in ('stock', 'taught'))
    assert taught.parameters == stock.parameters and taught.losses[0] > stock.losses[0]
    path = tmp_path / f'out/runs/{task}/taught/seed0/config.json'
    teacher = json.loads(path.read_text())['study']['teacher']
    assert teacher['checkpoint'].endswith(f'runs/{task}/spatial/seed0/best.pth')
    assert teacher['model']['backbone']['key_cfg']['type'] == 'SpatialK'
    text = write_report(tmp_path / 'out', examples=False).text.read_text(encoding='utf-8')
    assert 'stock, taught also learns from the trained network of SpatialK of the same task' in text
    assert 'features 2, logits 0.5' in text
