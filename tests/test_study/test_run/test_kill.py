"""A study that is killed again and again ends with the numbers of one that was left alone."""

import time

import pytest

from mkbackbones.study.define.spec import read_study
from mkbackbones.study.prepare.prepared import prepare_study
from mkbackbones.study.records.results import load_results
from mkbackbones.study.run.schedule import open_schedule

from ..killing import kill_repeatedly, numbers, undisturbed
from ..tiny import write_study


@pytest.fixture(scope='module')
def finish(executor):
    """Lets a study end in this process, whose workers need not import the libraries again."""

    def run(study, folder):
        with open_schedule(prepare_study(read_study(study)), folder) as schedule:
            schedule.run(executor)
            assert {row.state for row in schedule.ledger.rows().values()} == {'done'}

    return run


@pytest.fixture(scope='module')
def calm(tmp_path_factory, finish):
    """A study file, a folder of it that was left alone, and the seconds that a run trained."""
    folder = tmp_path_factory.mktemp('study')
    study = write_study(folder, extra='seeds = [0]')
    finish(study, folder / 'calm')
    runs = load_results(folder / 'calm').runs
    return study, folder / 'calm', min(run.train_seconds for run in runs)


@pytest.mark.parametrize('kills', [1, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments(calm, finish, tmp_path, kills):
    study, folder, seconds = calm
    counts = kill_repeatedly(study, tmp_path / 'killed', kills, seconds, kills, finish)
    assert counts['kills'] == kills and counts['lost'] == 0
    wanted = numbers(folder)
    assert len(wanted) == 2
    for number in range(counts['studies']):
        assert numbers(tmp_path / 'killed' / str(number)) == wanted


@pytest.mark.slow
def test_twelve_runs_killed_ten_times(tmp_path):
    """Prints what a kill costs: time beyond that of a study that is left alone."""
    more = 'seeds = [0, 1, 2, 3, 4, 5]\nbudget = dict(iters=60)'
    study = write_study(tmp_path, extra=more)
    begin = time.monotonic()
    training = undisturbed(study, tmp_path / 'calm')
    alone = time.monotonic() - begin
    begin = time.monotonic()
    counts = kill_repeatedly(study, tmp_path / 'killed', 10, training / 8, seed=12)
    lost = (time.monotonic() - begin - counts['studies'] * alone) / counts['kills']
    print(f'{alone:.0f} s left alone; {lost:.1f} s lost a kill, starting again included')
    assert counts['kills'] == 10 and counts['lost'] == 0
    wanted = numbers(tmp_path / 'calm')
    assert len(wanted) == 12
    for number in range(counts['studies']):
        assert numbers(tmp_path / 'killed' / str(number)) == wanted
