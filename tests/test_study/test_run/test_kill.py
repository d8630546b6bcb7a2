"""A study that is killed again and again ends with the numbers of one that was left alone."""

import time

import pytest

from ..killing import kill_repeatedly, numbers, undisturbed
from ..tiny import write_study


@pytest.fixture(scope='module')
def calm(tmp_path_factory):
    """A study file, and the folder and the seconds of an undisturbed run."""
    folder = tmp_path_factory.mktemp('study')
    study = write_study(folder, extra='seeds = [0]')
    return study, folder / 'calm', undisturbed(study, folder / 'calm')


@pytest.mark.parametrize('kills', [1, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments(calm, tmp_path, kills):
    study, folder, seconds = calm
    counts = kill_repeatedly(study, tmp_path / 'killed', kills, seconds, seed=kills)
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
