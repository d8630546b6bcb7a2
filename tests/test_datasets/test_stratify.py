from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mkbackbones.datasets.stratify import stratify

labels = st.frozensets(st.integers(0, 3), max_size=3)
images = st.lists(st.tuples(labels, st.integers(0, 15)), min_size=1, max_size=60)
ratios = st.tuples(*[st.sampled_from([0.0, 0.1, 0.2, 0.7])] * 3).filter(lambda parts: parts[0] > 0)


def shares(parts):
    return [part / sum(parts) for part in parts]


@given(images, ratios, st.integers(0, 99))
@settings(deadline=None, max_examples=150)
def test_whatever_comes(items, parts, seed):
    present, groups = zip(*items)
    sides = stratify(present, groups, shares(parts), seed)
    assert len(sides) == len(items)
    assert sides == stratify(present, groups, shares(parts), seed)
    # No group straddles, and a split with no part stays empty.
    assert len(set(zip(groups, sides))) == len(set(groups))
    assert all(parts[side] > 0 for side in sides)
    # Training has every class that there is.
    trained = set().union(*(item for item, side in zip(present, sides) if side == 0))
    assert trained == set().union(*present)


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_shares_of_single_images_are_close(seed):
    rng = np.random.default_rng(seed)
    present = [
        frozenset(np.flatnonzero(rng.random(4) < (0.5, 0.3, 0.1, 0.05)).tolist())
        for _ in range(400)
    ]
    sides = np.array(stratify(present, range(400), (0.7, 0.1, 0.2), seed))
    for side, part in enumerate((0.7, 0.1, 0.2)):
        assert (sides == side).mean() == pytest.approx(part, abs=0.02)
    for label in range(4):
        having = np.array([label in item for item in present])
        for side, part in enumerate((0.7, 0.1, 0.2)):
            assert (having & (sides == side)).sum() == pytest.approx(part * having.sum(), abs=4)


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=20)
def test_shares_of_groups_are_close(seed):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(120), rng.integers(1, 8, 120)).tolist()
    kind = rng.integers(0, 3, 120)
    present = [frozenset([int(kind[group])]) for group in groups]
    sides = np.array(stratify(present, groups, (0.7, 0.1, 0.2), seed))
    for side, part in enumerate((0.7, 0.1, 0.2)):
        assert (sides == side).mean() == pytest.approx(part, abs=0.03)


def test_no_wanted_split_is_empty_if_there_are_groups_for_it():
    assert Counter(stratify([frozenset([0])] * 3, 'abc', (0.9, 0.05, 0.05), 0)) == {
        0: 1,
        1: 1,
        2: 1,
    }
    assert stratify([frozenset([0])] * 3, 'aaa', (0.9, 0.05, 0.05), 0) == [0, 0, 0]


def test_defect_free_images_are_shared_out():
    sides = stratify([frozenset()] * 60 + [frozenset([1])] * 40, range(100), (0.5, 0.2, 0.3), 1)
    assert Counter(sides[:60]) == {0: 30, 1: 12, 2: 18}
    assert Counter(sides[60:]) == {0: 20, 1: 8, 2: 12}
