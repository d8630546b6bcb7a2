"""Study files: what they may say, and what is said about one that cannot work."""

import copy

import pytest

from mkbackbones.runner.config_files import config_root
from mkbackbones.study.define.plan import plan_runs
from mkbackbones.study.define.spec import StudyError, parse_study, read_study

DETECTION = str(config_root() / 'demo' / 'faster-rcnn_swin-nano-stock.py')
CONTENT = dict(
    arms=dict(a=dict(role='baseline'), b=dict(backbone=dict(key_cfg=dict(type='KUA')))),
    tasks=dict(boxes=dict(kind='detection', config=DETECTION)),
    seeds=[0, 1],
)


def parse(tmp_path, **changes):
    return parse_study(copy.deepcopy({**CONTENT, **changes}), tmp_path / 'name.py')


def tasks(**changes):
    return dict(tasks=dict(boxes={**CONTENT['tasks']['boxes'], **changes}))


def test_defaults(tmp_path):
    study = parse(tmp_path)
    assert (study.name, study.baseline.key, study.arms['b'].role) == ('name', 'a', 'candidate')
    task = study.tasks['boxes']
    assert (task.primary, task.initial_weights, task.source) == ('AP', 'scratch', None)
    assert task.validation_metric == ('coco/bbox_mAP', 100.0)


@pytest.mark.parametrize(
    'tile, wanted',
    [(dict(size=1024), 128), (dict(size=100), 50), (dict(size=512, overlap=0), 0), (None, None)],
)
def test_tiles(tmp_path, tile, wanted):
    found = parse(tmp_path, **tasks(tile=tile)).tasks['boxes'].tile
    assert (found and (found.tile, found.overlap)) == (tile and (tile['size'], wanted))


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(seed=[0]), "the study has an entry 'seed'; it may have .*did you mean 'seeds'"),
        (dict(seeds=[]), r'seeds=\[\]; give a list'),
        (dict(seeds=[0, 1, 0]), 'seeds holds 0 twice'),
        (dict(seeds=[0, -1]), 'seeds holds -1'),
        (dict(seeds=[0, 1.5]), 'seeds holds 1.5'),
        (dict(arms=dict(a=dict(role='baseline'))), 'a comparison needs two'),
        (dict(arms=dict(a=dict(), b=dict())), 'exactly one arm .* this one has none'),
        (dict(arms=dict(a=dict(role='baseline'), b=dict(role='baseline'))), r'2 \(a, b\)'),
        (dict(arms=dict(a=dict(role='base'))), "role 'base'.*did you mean 'baseline'"),
        (dict(arms={'a/b': dict()}), 'it names folders'),
        (dict(tasks={}), 'the study needs tasks='),
        (tasks(kind='detect'), "kind 'detect'.*did you mean 'detection'"),
        (tasks(primary='mIoU'), "primary='mIoU' is no metric of detection"),
        (tasks(config='no_such.py'), 'task boxes: config no_such.py is neither'),
        (tasks(initial_weights='zero'), "initial_weights='zero'; choose from"),
        (tasks(initial_weights=dict(checkpoint='no.pth')), 'checkpoint no.pth .* does not exist'),
        (tasks(initial_weights=dict(task='other')), "starts from the task 'other'"),
        (tasks(initial_weights=dict(task='boxes')), "starts from the task 'boxes'"),
        (tasks(iters=0), 'iters=0; it must be a whole number from 1'),
        (tasks(tile=1024), r'tile=1024; give dict\(size=1024, overlap=128\)'),
        (tasks(tile=dict(overlap=128)), r"tile=\{'overlap': 128\}; give dict"),
        (tasks(tile=dict(size=1024.0)), 'give dict.* in whole pixels'),
        (tasks(tile=dict(size=1024, overlap=None)), 'give dict'),
        (tasks(tile=dict(size=1024, pad=1)), "'pad': 1}; give dict"),
        (tasks(tile=dict(size=8)), 'task boxes, .*: tile 8 is too small; give at least 16 pixels'),
        (tasks(tile=dict(size=-1024)), 'tile -1024 is too small'),
        (tasks(tile=dict(size=64, overlap=64)), 'overlap 64 has to be from 0 to half of tile 64'),
        (tasks(tile=dict(size=64, overlap=-1)), 'overlap -1 has to be from 0'),
        (tasks(kind='classification', tile=dict(size=64)), 'a classifier sees pictures whole'),
        (dict(budget=dict(hours=1)), 'give dict'),
        (dict(budget=dict(minutes=0)), 'budget.minutes=0'),
        (dict(learning_rates=dict(grid=[1e-3, 1e-4], seeds=[1])), '1, which is a seed of the'),
        (dict(learning_rates=dict(grid=[1e-3], seeds=[9])), 'two or more different numbers'),
        (dict(learning_rates=1e-3), 'learning_rates=0.001; give dict'),
    ],
)
def test_what_cannot_work_is_one_sentence(tmp_path, changes, words):
    with pytest.raises(StudyError, match=words) as error:
        parse(tmp_path, **changes)
    assert '\n' not in str(error.value)


def test_a_file_that_is_not_there_or_not_python(tmp_path):
    with pytest.raises(StudyError, match='does not exist'):
        read_study(tmp_path / 'none.py')
    (tmp_path / 'bad.py').write_text('arms = dict(')
    with pytest.raises(StudyError, match=r'bad\.py: SyntaxError'):
        read_study(tmp_path / 'bad.py')


@pytest.mark.parametrize('path', sorted((config_root() / 'studies').glob('*.py')))
def test_shipped_studies(path, tmp_path, monkeypatch):
    (tmp_path / 'swin_tiny_patch4_window7_224.pth').touch()
    monkeypatch.setenv('MKBACKBONES_WEIGHTS', str(tmp_path))
    study = read_study(path)
    assert study.name == path.stem
    keys = [run.key for run in plan_runs(study)]
    assert len(set(keys)) == len(keys)


class TestPlan:
    def test_pairs_come_first(self, tmp_path):
        runs = plan_runs(parse(tmp_path))
        assert [(run.arm, run.seed) for run in runs] == [('a', 0), ('b', 0), ('a', 1), ('b', 1)]
        assert runs[0].key == 'runs/boxes/a/seed0' and all(not run.needs for run in runs)

    def test_a_task_waits_for_the_one_it_starts_from(self, tmp_path):
        changes = tasks(initial_weights=dict(task='first'))
        changes['tasks']['first'] = dict(kind='classification', config=DETECTION)
        study = parse(tmp_path, **changes)
        assert list(study.tasks) == ['first', 'boxes']
        needs = {run.key: run.needs for run in plan_runs(study)}
        assert needs['runs/boxes/b/seed1'] == ('runs/first/b/seed1',)
        assert needs['runs/first/b/seed1'] == ()

    def test_trials_and_timings_come_before(self, tmp_path):
        study = parse(
            tmp_path,
            budget=dict(minutes=1),
            learning_rates=dict(grid=[1e-3, 1e-4], seeds=[8, 9]),
        )
        runs = {run.key: run for run in plan_runs(study)}
        assert len(runs) == 2 + 2 * 2 * 2 + 2 * 2
        needs = runs['runs/boxes/b/seed0'].needs
        assert needs[0] == 'timing/boxes/b' and len(needs) == 5
        assert set(needs) <= runs.keys() and all('/b' in need for need in needs)
        assert runs['trials/boxes/b/lr0.0001/seed9'].needs == ('timing/boxes/b',)
