"""On simulated studies with known effects, intervals cover and false positives stay at 5 %.

Bounds are binomial: a method at its nominal rate fails one of these once in a thousand. The seeds
are fixed, and the same bounds catch the simpler intervals that docs/statistics.md warns of.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from mkbackbones.study.statistics import analyse_evidence

from ..simulated import (
    BOTH,
    IMAGES,
    NEU_DET,
    NEU_SEG,
    SEEDS,
    Strips,
    coverage,
    coverage_of_critical_values,
    coverage_of_strips,
    shares_of_looks,
    simulate_detection,
)

RARE = 1e-3


def covers(share, repeats, nominal=0.95):
    """Whether so low a coverage is compatible with the nominal one."""
    return stats.binom.cdf(round(share * repeats), repeats, nominal) > RARE


def stays_below(share, repeats, nominal=0.05):
    """Whether so many false positives are compatible with the nominal share."""
    return stats.binom.sf(round(share * repeats) - 1, repeats, nominal) > RARE


@pytest.mark.parametrize(('num_seeds', 'share'), [(2, 0.1), (3, 0.1), (3, 0.25), (3, 0), (5, 1)])
def test_critical_values_cover_whichever_part_dominates(num_seeds, share):
    draws = 5000
    covered = coverage_of_critical_values(num_seeds, share, draws, np.random.default_rng(0))
    assert covers(covered, draws)
    assert covered < 0.97  # Satterthwaite's would fail above, a sum of the two intervals here


@pytest.mark.parametrize('num_seeds', [3, 5])
def test_intervals_cover_where_test_images_matter(num_seeds):
    repeats = 150
    shares = coverage(replace(IMAGES, num_seeds=num_seeds, effects=(0.3,)), repeats, contrasts=True)
    assert covers(shares['covered'], repeats)
    if num_seeds == 5:  # with 3, Student's t is wide enough to hide it at so few repeats
        assert not covers(shares['seeds only'], repeats)


def test_intervals_cover_where_seeds_matter():
    repeats = 150
    shares = coverage(replace(SEEDS, num_seeds=3), repeats, contrasts=True)
    assert covers(shares['covered'], repeats)
    assert not covers(shares['images only'], repeats)
    assert not covers(shares['groups only'], repeats)


def test_false_positives_over_three_arms_and_power():
    repeats = 150
    shares = coverage(replace(BOTH, effects=(0.4, 0.0, 0.0)), repeats)
    assert stays_below(shares['false, any arm'], repeats)
    assert BOTH.truth(0.4) > shares['smallest effect']  # hence found in four of five studies
    assert stats.binom.cdf(round(shares['found, arm 0'] * repeats), repeats, 0.8) > RARE


def test_carry_over_covers_and_is_not_claimed_without_both_gains():
    repeats = 150
    shares = coverage(replace(BOTH, effects=(0.3,), downstream=(0.0,)), repeats)
    assert covers(shares['ratio covered'], repeats)
    assert stays_below(shares.get('verdict: gains in both', 0), repeats, nominal=0.025)
    assert stays_below(shares['false, any task'], repeats)
    shares = coverage(replace(BOTH, effects=(0.0,), downstream=(0.3,)), repeats)
    assert stays_below(shares.get('verdict: gains in both', 0), repeats, nominal=0.025)


@pytest.mark.slow
@pytest.mark.parametrize('world', [SEEDS, BOTH, IMAGES])
@pytest.mark.parametrize('num_seeds', [3, 5, 8, 10])
def test_intervals_cover_everywhere(world, num_seeds):
    repeats = 1000
    shares = coverage(replace(world, num_seeds=num_seeds), repeats)
    assert covers(shares['covered'], repeats)
    assert not covers(shares['covered'] - 0.05, repeats)  # the bound is tight enough to fail
    assert stays_below(shares['false, any arm'], repeats)


@pytest.mark.slow
@pytest.mark.parametrize('num_seeds', [3, 10])
def test_false_positives_over_three_equal_arms(num_seeds):
    repeats = 1000
    shares = coverage(replace(BOTH, num_seeds=num_seeds, effects=(0.0, 0.0, 0.0)), repeats)
    assert stays_below(shares['false, any arm'], repeats)


@pytest.mark.slow
def test_intervals_cover_for_average_precision():
    rng, repeats, hits = np.random.default_rng(0), 300, 0
    for _ in range(repeats):
        analysis = analyse_evidence(*simulate_detection(rng))
        difference = analysis.difference('det', 'arm0')
        hits += difference.low <= 0 <= difference.high
    assert covers(hits / repeats, repeats)


LAYOUTS = pytest.mark.parametrize('layout', [NEU_DET, NEU_SEG], ids=['NEU-DET', 'NEU-Seg'])


@LAYOUTS
def test_variance_and_coverage_on_strips_of_very_unequal_sizes(layout):
    repeats = 60
    shares = coverage_of_strips(Strips(layout, num_seeds=5, arm_image=0.0), repeats)
    assert 0.8 < shares['v_test'] < 1.2  # a bootstrap of the groups stays at 0.55 to 0.6
    assert covers(shares['covered'], repeats)


@pytest.mark.slow
@LAYOUTS
@pytest.mark.parametrize('num_seeds', [3, 5, 10])
@pytest.mark.parametrize('arm_image', [0.0, 8.0])
def test_coverage_on_strips_everywhere(layout, num_seeds, arm_image):
    repeats = 500
    strips = Strips(layout, num_seeds=num_seeds, arm_image=arm_image)
    shares = coverage_of_strips(strips, repeats)
    assert 0.9 < shares['v_test'] < 1.15
    assert covers(shares['covered'], repeats)


@LAYOUTS
def test_studies_that_stop_at_the_look_that_decides(layout):
    repeats, looks = 300, (5, 10, 15, 20)
    seeds = Strips(layout, num_seeds=20, arm_seed=3.0, arm_group=0.0, arm_image=0.0)
    shares = shares_of_looks(seeds, looks, repeats)
    assert stays_below(shares['found'], repeats) and covers(shares['covered'], repeats)
    naive = shares_of_looks(seeds, looks, repeats, planned=False)
    assert not stays_below(naive['found'], repeats)
    both = replace(seeds, arm_group=3.0, arm_image=3.0)
    edge = replace(both, effect=3 * np.sqrt(both.v_test + both.v_seed / 20))
    shares = shares_of_looks(edge, looks, repeats, margin=edge.effect)
    assert stays_below(shares['equivalent'], repeats) and covers(shares['covered'], repeats)
    assert shares['seeds'] < 19 and shares['found'] > 0.5


@LAYOUTS
def test_equivalence_errs_in_one_study_of_twenty(layout):
    repeats = 500
    strips = Strips(layout, num_seeds=5)
    edge = replace(strips, effect=2 * np.sqrt(strips.v_test + strips.v_seed / 5))
    shares = shares_of_looks(edge, (5,), repeats, margin=edge.effect)
    assert stays_below(shares['equivalent'], repeats) and covers(shares['covered'], repeats)
