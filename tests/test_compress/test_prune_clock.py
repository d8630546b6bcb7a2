"""Charts by the milliseconds that they take. No test needs a quiet machine: the clock here counts
operations, or says what it is told to say."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from mkbackbones.compress.prune import clock as clocks
from mkbackbones.compress.prune.blocks import BlockCosts, charted, costs_of_charts
from mkbackbones.compress.prune.choice import choices
from mkbackbones.compress.prune.clock import LayerClock, in_turn, rising

from ..test_backbones.common import tiny_swin, tiny_vit
from .test_fold_calibrated import BATCHES, Network
from .test_prune import VARIANTS

CPU = torch.device('cpu')
ONE = BATCHES[0][:1]


def operations(runs):
    """A timer by which a million operations take a millisecond."""
    found = []
    for run in runs:
        with FlopCounterMode(display=False) as counter:
            run()
        found.append(counter.get_total_flops() / 1e6)
    return found


def clock_of(model, timer=operations):
    return LayerClock(model, charted(model), ONE, timer)


@pytest.mark.parametrize('base', [True, False])
@pytest.mark.parametrize('build', [tiny_vit, tiny_swin])
@pytest.mark.parametrize('variant', VARIANTS)
def test_by_a_clock_that_counts_operations_charts_cost_their_operations(variant, build, base):
    model = Network(build, dict(type=variant, num_charts=3, base=base))
    own = {name: layer.key for name, layer in charted(model).items()}
    batches = [batch[:1] for batch in BATCHES] * 4
    costs = costs_of_charts(model, batches, clock=clock_of(model))
    for each in costs:
        assert len(each.ms) == 4 and each.ms[0] == 0
        # Beside the stock layer's: without a base chart the first one saves a linear key.
        assert (each.ms[1] == pytest.approx(each.flops / 1e6, rel=0.05)) == base
        for before, after in pairwise(each.ms[1:]):
            assert after - before == pytest.approx(each.flops / 1e6, rel=0.05)
    for by_time, by_operations in zip(costs, costs_of_charts(model, batches)):
        assert by_operations.ms is None
        assert (by_time.kept, by_time.changes) == (by_operations.kept, by_operations.changes)
    assert all(layer.key is own[name] for name, layer in charted(model).items())
    whole = sum(each.ms[-1] for each in costs)
    half = choices(costs, budget_ms=whole / 2)[-1]
    assert half.ms <= whole / 2 and sum(half.counts) < 3 * len(costs)


def test_times_are_those_of_one_picture_and_of_every_call():
    """A segmentor that slides over a picture runs its backbone more than once."""
    model = Network(tiny_swin, dict(type='SimpleK', num_charts=2))
    once = costs_of_charts(model, BATCHES, clock=clock_of(model))
    step = model.test_step
    model.test_step = lambda batch: step(batch) + step(batch)
    twice = clock_of(model)
    for each in once:
        keys = [model.get_submodule(each.layer).key]
        assert twice(each.layer, keys) == [pytest.approx(2 * each.ms[-1])]


def test_what_is_noise_is_evened_out():
    model = Network(tiny_vit, dict(type='SimpleK', num_charts=3))
    (name, *_) = charted(model)
    keys = [model.get_submodule(name).key] * 4
    #: Of the stock layer, then with one to four charts.
    told = [5.0, 4.0, 8.0, 6.0, 9.0]
    assert clock_of(model, lambda runs: told)(name, keys) == [0.0, 2.0, 2.0, 4.0]


@settings(deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), max_size=8))
def test_rising_numbers_are_as_close_as_can_be(values):
    found = rising(values)
    assert len(found) == len(values)
    assert all(a <= b for a, b in pairwise(found))
    assert math.isclose(sum(found), sum(values), abs_tol=1e-6)
    # At the optimum no level can be moved, nor be split into a lower and an upper part.
    for i in range(len(values) + 1):
        if 0 < i < len(values) and found[i - 1] < found[i]:
            assert sum(values[:i]) == pytest.approx(sum(found[:i]), abs=1e-6)
        assert sum(values[:i]) >= sum(found[:i]) - 1e-6
    assert rising(sorted(values)) == sorted(values)


def test_samples_take_turns_and_an_outlier_does_not_count(monkeypatch):
    calls = []

    def sample(run, number, device):
        calls.append(run())
        disturbed = calls.count(run()) % 5 == 0  # every fifth time somebody else computes
        return number * {'a': 1.0, 'b': 20.0}[run()] * (100 if disturbed else 1)

    monkeypatch.setattr(clocks, 'sample_ms', sample)
    assert in_turn([lambda: 'a', lambda: 'b'], CPU) == [1.0, 20.0]
    assert calls[-6:] == ['a', 'b'] * 3


def test_a_real_clock_tells_more_than_nothing():
    x = torch.randn(64, 64)
    assert all(0 < ms < math.inf for ms in in_turn([lambda: x @ x, lambda: (x @ x) @ x], CPU))
    model = Network(tiny_vit, dict(type='SpatialK', num_charts=2))
    for each in costs_of_charts(model, BATCHES, clock=clock_of(model, timer=None)):
        assert 0 == each.ms[0] <= each.ms[1] <= each.ms[2] < math.inf


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_gpu_tells_its_own_time():
    x = torch.randn(2048, 2048, device='cuda')
    one, three = in_turn([lambda: x @ x, lambda: x @ x @ x @ x], x.device)
    assert 0 < one < three


def made_up(changes, ms, flops=10.0, least=0):
    charts = len(changes) - 1
    return BlockCosts(
        'x', charts, least, flops, [list(range(n)) for n in range(charts + 1)],
        [1 - c for c in changes], list(changes), list(ms),
    )  # fmt: skip


def test_the_slow_block_goes_first_whatever_its_operations():
    quick = made_up([0.4, 0.2, 0.0], [0, 1, 2], flops=100.0)
    slow = made_up([0.4, 0.2, 0.0], [0, 10, 20], flops=1.0)
    costs = [quick, slow]
    assert choices(costs, budget_ms=13)[-1].counts == (2, 1)
    assert choices(costs, budget=0.9)[-1].counts == (1, 2)
    assert choices(costs, budget_ms=13)[-1].ms == 12
    assert choices(costs)[0].ms == 22


def test_more_than_they_take_leaves_all_but_those_without_effect():
    costs = [made_up([0.4, 0.0, 0.0], [0, 1, 2]), made_up([0.4, 0.2, 0.0], [0, 1, 2])]
    (only,) = choices(costs, budget_ms=100)
    assert only.free and only.counts == (1, 2) and only.ms == 3
    (only,) = choices(costs, budget_ms=3)
    assert only.counts == (1, 2)


def test_what_saves_no_time_stays():
    """Where one chart takes as long as two, both go or none."""
    costs = [made_up([0.9, 0.01, 0.0], [0, 5, 5]), made_up([0.5, 0.2, 0.0], [0, 5, 10])]
    assert choices(costs, budget_ms=10)[-1].counts == (2, 1)
    assert choices(costs, budget_ms=4)[-1].counts == (0, 0)


def test_a_budget_of_time_that_cannot_be_met_is_told():
    costs = [made_up([0.9, 0.3, 0.0], [0, 2.5, 5], least=1)]
    with pytest.raises(
        ValueError, match=r'--budget-ms 1 cannot be met.* take 2\.500 ms; give more'
    ):
        choices(costs, budget_ms=1)
    assert choices(costs, budget_ms=2.5)[-1].counts == (1,)


def test_a_budget_of_time_needs_a_clock():
    costs = [made_up([0.3, 0.0], [0, 1])]
    costs[0].ms = None
    with pytest.raises(ValueError, match='a clock'):
        choices(costs, budget_ms=1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 0.9), st.floats(0, 9)), min_size=1, max_size=4),
        min_size=1, max_size=4,
    ),
    st.floats(0.0, 1.0),
)  # fmt: skip
def test_budgets_of_time_are_met_and_no_step_is_idle(blocks, share):
    costs = [
        made_up(
            [*sorted((c for c, _ in each), reverse=True), 0.0],
            [0.0, *sorted(ms for _, ms in each)],
        )
        for each in blocks
    ]
    whole = sum(each.ms[-1] for each in costs)
    found = choices(costs, budget_ms=share * whole)
    assert found[-1].ms <= share * whole + 1e-6 and found[0].free
    for before, after in pairwise(found):
        assert after.ms < before.ms
        assert all(a <= b for a, b in zip(after.counts, before.counts))
    assert len(found) == 1 or found[-2].ms > share * whole
