"""Looks planned in advance: the level at each of them keeps the whole error."""

import numpy as np
import pytest
from scipy import stats

from mkbackbones.study.statistics.sequential import nominal_level, of_normal_tests, overall_level


@pytest.mark.parametrize(('looks', 'level'), [(2, 0.0294), (3, 0.0221), (4, 0.0182), (5, 0.0158)])
def test_bounds_of_normal_tests_are_those_of_pocock(looks, level):
    assert of_normal_tests(level, tuple(range(1, looks + 1))) == pytest.approx(0.05, abs=2e-4)


@pytest.mark.parametrize('looks', [(5, 10, 15, 20), (3, 6, 9, 12), (2, 10)])
@pytest.mark.parametrize('level', [0.05, 0.05 / 6])
def test_t_tests_at_the_nominal_level_err_as_often_as_they_may(looks, level):
    rng, studies = np.random.default_rng(1), 40_000
    draws = rng.normal(size=(studies, looks[-1]))
    found = np.zeros(studies, bool)
    for n in looks:
        part = draws[:, :n]
        t = part.mean(1) / part.std(1, ddof=1) * np.sqrt(n)
        found |= 2 * stats.t.sf(np.abs(t), n - 1) <= nominal_level(level, looks)
    share, error = found.mean(), np.sqrt(level / studies)
    assert 0.85 * level - 3 * error < share < 1.03 * level + 3 * error


def test_one_look_costs_nothing_and_more_cost_more():
    assert nominal_level(0.05, ()) == nominal_level(0.05, (7,)) == 0.05
    assert overall_level(0.03, ()) == 0.03
    levels = [nominal_level(0.05, tuple(range(5, 5 * n + 1, 5))) for n in (1, 2, 3, 4)]
    assert levels == sorted(levels, reverse=True) and 0.016 < levels[-1] < 0.0175
    assert overall_level(levels[-1], (5, 10, 15, 20)) == pytest.approx(0.05)
    assert overall_level(1e-12, (5, 10)) < 1e-11 and overall_level(0.9, (5, 10)) <= 1
