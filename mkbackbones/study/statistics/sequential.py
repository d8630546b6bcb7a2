"""Several looks at one study: what they add to false positives, and the level that makes up for it.

Pocock's rule, the same level at every look, for t tests over the seeds: his bounds are for normal
statistics, and t tests with few seeds at the first look go some 5 to 15 per cent beyond them.
Variance that all looks share (the test images) makes looks more alike, so that this is safe.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
from scipy import optimize, special, stats

__all__ = ['added_seeds', 'nominal_level', 'overall_level']

NODES = 200  # of the integral between the bounds
DRAWS = 400_000  # for what t tests add to it


def overall_level(level: float, looks: tuple[int, ...]) -> float:
    """Chance of a false positive at any look, of two-sided tests at one level.

    Args:
        level (float): Level of the test at each look, from 0 to 1.
        looks (tuple[int, ...]): Seeds at each look, rising, from 2; with none or one there is one
            look.
    """
    if len(looks) < 2 or not 0 < level < 1:
        return level
    return min(1.0, max(level, excess(looks) * of_normal_tests(level, looks)))


@cache
def nominal_level(level: float, looks: tuple[int, ...]) -> float:
    """Level of the test at each look that gives a chance of false positives over all of them.

    Args:
        level (float): Chance of a false positive at any look.
        looks (tuple[int, ...]): Seeds at each look, rising, from 2.
    """
    if len(looks) < 2:
        return level
    lowest = level / len(looks) / 4
    return float(optimize.brentq(lambda p: overall_level(p, looks) - level, lowest, level))


@cache
def added_seeds() -> str:
    """What adding seeds after a look does, in a sentence: it stands where seeds needed do."""
    two, four = (overall_level(0.05, tuple(range(5, 5 * n + 1, 5))) for n in (2, 4))
    return (
        f'Adding seeds after a look raises false positives from 5 % to {100 * two:.0f} % with two '
        f'looks and {100 * four:.0f} % with four, unless a plan names the looks beforehand.'
    )


@cache
def of_normal_tests(level: float, looks: tuple[int, ...]) -> float:
    """Chance of a false positive at any look, for normal tests with independent increments.

    The density of the sum that has crossed no bound so far, look by look, after Armitage,
    McPherson and Rowe (1969).
    """
    bound = float(stats.norm.isf(level / 2))
    nodes, widths = np.polynomial.legendre.leggauss(NODES)
    end = bound * np.sqrt(looks[0])
    at, width = end * nodes, end * widths
    density = stats.norm.pdf(at, scale=np.sqrt(looks[0]))
    for before, now in pairwise(looks):
        end = bound * np.sqrt(now)
        after = end * nodes
        step = stats.norm.pdf(after[:, None] - at, scale=np.sqrt(now - before))
        density = step @ (density * width)
        at, width = after, end * widths
    return float(1 - density @ width)


@cache
def excess(looks: tuple[int, ...]) -> float:
    """How many times as often t tests err as normal ones: the more of it at 5 and at 1 per cent."""
    rng = np.random.default_rng(0)
    total: np.ndarray = np.zeros(DRAWS)
    squares: np.ndarray = np.zeros(DRAWS)
    seeds = 0
    smallest = np.ones(DRAWS)
    for now in looks:
        new = now - seeds
        added = rng.normal(0, np.sqrt(new), DRAWS)
        within = rng.chisquare(new - 1, DRAWS) if new > 1 else 0.0
        if seeds:
            apart = (added / new - total / seeds) ** 2 * seeds * new / now
            squares = squares + apart
        squares = squares + within
        total, seeds = total + added, now
        t = total / np.sqrt(now * squares / (now - 1))
        smallest = np.minimum(smallest, 2 * special.stdtr(now - 1, -np.abs(t)))
    levels = [
        optimize.brentq(lambda p, goal=goal: of_normal_tests(p, looks) - goal, 1e-9, goal)
        for goal in (0.05, 0.01)
    ]
    return max(1.0, *(float((smallest <= p).mean()) / of_normal_tests(p, looks) for p in levels))
