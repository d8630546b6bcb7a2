"""A study that is killed again and again ends with the numbers of one that was left alone."""

import pytest

from .killing import kill_repeatedly, numbers, undisturbed
from .tiny import write_study


@pytest.fixture(scope='module')
def calm(tmp_path_factory):
    """A study file, and the folder and the seconds of an undisturbed run."""
    folder = tmp_path_factory.mktemp('study')
    study = write_study(folder, extra='seeds = [0]')
    return study, folder / 'calm', undisturbed(study, folder / 'calm')


@pytest.mark.parametrize('kills', [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments(calm, tmp_path, kills):
    study, folder, seconds = calm
    counts = kill_repeatedly(study, tmp_path / 'killed', kills, seconds, seed=kills)
    assert counts['kills'] == kills and counts['lost'] == 0
    wanted = numbers(folder)
    assert len(wanted) == 2
    for number in range(counts['studies']):
        assert numbers(tmp_path / 'killed' / str(number)) == wanted
