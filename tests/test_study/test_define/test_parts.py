"""A study in parts: who does what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkbackbones.study.define.parts import parse_part, part_of, share_of
from mkbackbones.study.define.plan import plan_runs
from mkbackbones.study.define.spec import Arm, LearningRates, Study, StudyError
from mkbackbones.study.define.tasks import Task


def study(tasks=('a',), seeds=3, source=None, grid=()):
    arms = {key: Arm(key, key, role, {}) for key, role in (('x', 'baseline'), ('y', 'candidate'))}
    made = {
        key: Task(
            *(key, 'classification', None, 'top1', None, {}),
            {'task': source} if source and key != source else 'scratch',
            None,
        )
        for key in tasks
    }
    rates = LearningRates(grid, (100,)) if grid else LearningRates()
    return Study('s', 'q', arms, made, list(range(seeds)), learning_rates=rates)


@given(names=st.integers(1, 4), seeds=st.integers(1, 6), chained=st.booleans(), data=st.data())
def test_parts_are_disjoint_complete_even_and_keep_together_what_belongs(
    names, seeds, chained, data
):
    tasks = 'abcd'[:names]
    plan = study(tasks, seeds, 'a' if chained else None)
    runs = plan_runs(plan)
    shares = {share_of(plan, run) for run in runs}
    count = data.draw(st.integers(1, len(shares)))
    parts = [part_of(plan, runs, f'{i}/{count}', ()) for i in range(1, count + 1)]
    assert sorted(key for part in parts for key in part) == sorted(run.key for run in runs)
    assert all(parts)
    for part in parts:
        mine = [run for run in runs if run.key in part]
        assert all(need in part for run in mine for need in run.needs)
        for run in mine:  # both arms of a seed
            assert {run.key.replace('/x/', '/y/'), run.key.replace('/y/', '/x/')} <= part
    held = [len({share_of(plan, run) for run in runs if run.key in part}) for part in parts]
    assert max(held) - min(held) <= 1


def test_each_part_has_a_share_of_every_task():
    plan = study('ab', seeds=4)
    runs = plan_runs(plan)
    part = part_of(plan, runs, '1/2', ())
    assert {run.task for run in runs if run.key in part} == {'a', 'b'}


@pytest.mark.parametrize('text', ['', '0/2', '3/2', '2', '1/0', 'a/b', '1/2/3', '-1/2', 'First'])
def test_what_is_no_part(text):
    with pytest.raises(StudyError, match='is no part; give e'):
        parse_part(text)


def test_more_parts_than_shares():
    plan = study(seeds=3)
    with pytest.raises(StudyError, match=r'has 3 shares that stay together .* at most 3 parts'):
        part_of(plan, plan_runs(plan), '1/4', ())


def test_trials_come_first_and_every_part_needs_them():
    plan = study('ab', seeds=2, source='a', grid=(0.1, 0.2))
    runs = plan_runs(plan)
    first = part_of(plan, runs, 'first', ())
    trials = {run.key for run in runs if run.stage == 'trial'}
    # Trials of b start from what a's first seed trained.
    assert first == trials | {'runs/a/x/seed0', 'runs/a/y/seed0'}
    with pytest.raises(StudyError, match=r'8 trials and timings are not done.*--part first'):
        part_of(plan, runs, '1/2', ())
    halves = [part_of(plan, runs, f'{i}/2', trials) for i in (1, 2)]
    assert halves[0] | halves[1] == {run.key for run in runs if run.stage == 'main'}


def test_nothing_comes_first_without_trials():
    plan = study()
    with pytest.raises(StudyError, match='neither trials nor timings'):
        part_of(plan, plan_runs(plan), 'first', ())
