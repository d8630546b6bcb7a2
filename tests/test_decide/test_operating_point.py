"""Thresholds, what they give, and intervals for grouped images."""

import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from mkbackbones.decide.interval import share_of
from mkbackbones.decide.operating_point import OperatingPoint
from mkbackbones.decide.thresholds import (
    APART,
    Outcome,
    Wish,
    choose_threshold,
    outcome_of,
    set_apart,
    trade_off,
)

#: Sizes of groups: exposures of tiles, single parts, crops of strips.
GROUPS = dict(
    tiles=[1] * 10 + [2] * 10 + [3] * 8 + [5] * 6 + [6] * 5,
    single=[1] * 80,
    strips=[1] * 120 + [2] * 20 + [5] * 10 + [20] * 3 + [60],
    few=[4] * 9,
)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.data())
def test_single_images_have_the_interval_of_clopper_and_pearson(images, data):
    hits = data.draw(st.integers(0, images))
    found = share_of(np.arange(images) < hits, np.arange(images))
    exact = stats.binomtest(hits, images).proportion_ci(method='exact')
    # As many groups as images: the variance between groups is that of a binomial, but for 1/n.
    assert (found.hits, found.images, found.groups) == (hits, images, images)
    assert found.low <= found.value <= found.high
    assert found.low == pytest.approx(exact.low, abs=0.02 + 0.3 / images)
    assert found.high == pytest.approx(exact.high, abs=0.02 + 0.3 / images)
    if hits in (0, images):
        assert (found.low, found.high) == pytest.approx((exact.low, exact.high))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=30))
def test_groups_that_agree_count_as_one_image_each(groups):
    hit = np.repeat([h for _, h in groups], [n for n, _ in groups])
    names = np.repeat(np.arange(len(groups)), [n for n, _ in groups])
    found = share_of(hit, names)
    alone = share_of(hit, np.arange(len(hit)))
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.high - found.low >= (alone.high - alone.low) * 0.999
    if len({n for n, _ in groups}) == 1:  # of one size
        once = share_of(np.array([h for _, h in groups]), np.arange(len(groups)))
        assert (found.low, found.high) == pytest.approx((once.low, once.high))


@pytest.mark.parametrize('sizes', GROUPS)
@pytest.mark.parametrize('alike', [0.0, 0.3, 1.0])
def test_intervals_cover(sizes, alike):
    """Beta-binomial groups; docs/statistics.md has the table of 1,500 data sets each."""
    rng, sizes = np.random.default_rng(0), np.array(GROUPS[sizes])
    groups = np.repeat(np.arange(len(sizes)), sizes)
    for share in (0.05, 0.3):
        covered = 0
        for _ in range(200):
            if alike == 0:
                own = np.full(len(sizes), share)
            elif alike == 1:
                own = (rng.random(len(sizes)) < share).astype(float)
            else:
                strength = 1 / alike - 1
                own = rng.beta(share * strength, (1 - share) * strength, len(sizes))
            found = share_of(rng.random(len(groups)) < own[groups], groups)
            covered += found.low <= share <= found.high
        # 91.5 % is the least of the table; three standard errors of 200.
        assert covered / 200 > 0.86


def test_without_an_image_there_is_no_share():
    assert share_of(np.zeros(0, bool), np.zeros(0)) is None


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=60),
    st.sampled_from([0.02, 0.05, 0.1, 0.25, 0.5, 0.9]),
    st.booleans(),
)
def test_a_threshold_keeps_its_promise_on_the_images_it_was_chosen_on(images, share, recall):
    score = np.array([s for s, _ in images]) / 12
    defective = np.array([d for _, d in images])
    wish = Wish(min_recall=share) if recall else Wish(max_false_alarms=share)
    try:
        threshold = choose_threshold(score, defective, wish)
    except ValueError as error:
        kind = defective.sum() if recall else (~defective).sum()
        if 'nothing is found' in str(error):
            assert recall and (score[defective] == 0).mean() > 1 - share - 1 / kind
            return
        assert kind < wish.fewest and f'at least {wish.fewest} of them' in str(error)
        assert wish.fewest >= (1 - share if recall else share) ** -1 - 1.0001
        return
    alarm = score > threshold
    if recall:  # whatever the ties
        assert (~alarm[defective]).mean() <= 1 - share + 1e-9
    else:
        assert alarm[~defective].mean() <= share + 1e-9


@pytest.mark.parametrize('wish', [Wish(max_false_alarms=0.1), Wish(min_recall=0.9)])
def test_a_new_image_meets_the_wish(wish):
    """Over many validation sets, of those drawn like them; 0.1 is met, from below."""
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(3000):
        score, defective = rng.random(75), np.arange(75) < 35
        threshold = choose_threshold(score, defective, wish)
        rates.append(1 - threshold if wish.max_false_alarms else threshold)
    assert 0.075 < np.mean(rates) < 0.1005


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30), st.integers(0, 29), st.booleans()
)
def test_a_threshold_keeps_apart_from_scores_without_another_alarm(scores, place, below):
    scores = np.array(scores, np.float32)
    chosen = scores[place % len(scores)]
    assume(not below or chosen > 0)
    if below:  # as for recall
        chosen = np.nextafter(chosen, np.float32(0))
    threshold = set_apart(float(chosen), scores)
    assert ((scores > threshold) == (scores > chosen)).all() and 0 <= threshold <= 1
    assert abs(threshold - chosen) <= APART * 1.0001
    room = [
        max(scores[scores <= chosen], default=0.0), min(scores[scores > chosen], default=1.0)
    ]  # fmt: skip
    wanted = min(APART, (float(room[1]) - float(room[0])) / 2)
    assert min(abs(threshold - float(each)) for each in room) >= 0.999 * wanted


@pytest.mark.parametrize('wish', [Wish(max_false_alarms=0.1), Wish(min_recall=0.9)])
def test_other_last_digits_of_scores_raise_the_same_alarms(wish):
    """Those of an exported file: the threshold used to be one of the scores."""
    rng = np.random.default_rng(0)
    score, defective = rng.random(75), np.arange(75) < 35
    threshold = choose_threshold(score, defective, wish)
    for change in (3e-6, -3e-6):
        assert ((score + change > threshold) == (score > threshold)).all()


def test_the_trade_off_is_what_outcomes_say():
    rng = np.random.default_rng(0)
    score, defective = rng.integers(0, 9, 60) / 9, rng.random(60) < 0.4
    thresholds, false_alarms, recall = trade_off(score, defective)
    assert false_alarms[0] == recall[0] == 1 and false_alarms[-1] == recall[-1] == 0
    for threshold, f, r in zip(thresholds, false_alarms, recall):
        outcome = outcome_of(score, defective, np.arange(60), threshold)
        assert outcome.false_alarms.value == pytest.approx(f)
        assert outcome.recall.value == pytest.approx(r)


def test_a_point_is_written_and_read(tmp_path):
    rng = np.random.default_rng(0)
    score, defective = rng.random(60), rng.random(60) < 0.4
    outcome = outcome_of(score, defective, np.arange(60) // 2, 0.3)
    only_good = Outcome(None, outcome.false_alarms)
    point = OperatingPoint(0.3, Wish(min_recall=0.9), ['a', 'b'], 'x.pth', outcome, only_good)
    file = tmp_path / 'threshold.json'
    point.save(file)
    assert OperatingPoint.load(file) == point
    assert OperatingPoint.load(file).test.recall is None
    content = json.loads(file.read_text())
    for broken in (
        {**content, 'version': 3},
        {**content, 'threshold': float('nan')},
        {**content, 'wish': dict(min_recall=2)},
        {k: v for k, v in content.items() if k != 'validation'},
        [1],
    ):
        file.write_text(json.dumps(broken))
        with pytest.raises(ValueError, match='cannot be read as an operating point'):
            OperatingPoint.load(file)


@pytest.mark.parametrize('values', [{}, dict(max_false_alarms=0.1, min_recall=0.9)])
def test_a_wish_is_one_thing(values):
    with pytest.raises(ValueError, match='one of'):
        Wish(**values)


@given(st.floats(allow_nan=True))
def test_a_wish_is_a_share(value):
    assume(not 0 < value < 1)
    with pytest.raises(ValueError, match='above 0 and below 1'):
        Wish(min_recall=value)
