"""Paired statistics, carry-over and verdicts, on numbers whose answers are known."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mkbackbones.study.records.results import (
    ArmInfo,
    StudyInfo,
    StudyResults,
    TaskInfo,
    load_results,
)
from mkbackbones.study.report.limits import limits
from mkbackbones.study.report.numbers import to_json
from mkbackbones.study.statistics import analyse, analyse_evidence, headline
from mkbackbones.study.statistics.carry_over import fieller
from mkbackbones.study.statistics.compare import holm
from mkbackbones.study.statistics.jackknife import blocks_of, image_groups
from mkbackbones.study.statistics.paired import (
    PairedMean,
    paired_mean,
    seeds_needed,
    sign_flip,
)

from ..simulated import BOTH, NEU_DET, Strips, run_of, simulate

values = st.lists(st.floats(-5, 5).map(lambda v: round(v, 3)), min_size=2, max_size=8)
variances = st.floats(0.001, 10)
DIFFERENCES = [0.9, 1.1, 1.0, 1.2, 0.8]  # a clear gain of one point over five seeds


def study(tasks, roles=('baseline', 'candidate'), seeds=5, **settings):
    """A study without evidence. ``tasks``: by name, each arm's metric by seed."""
    names = ['stock', 'spatial', 'mlp'][: len(roles)]
    arms = {name: ArmInfo(name.title(), role) for name, role in zip(names, roles)}
    infos = {
        name: TaskInfo('classification' if name == 'cls' else 'detection', 'AP', ['a'])
        for name in tasks
    }
    runs = [
        run_of(task, arm, seed, {'AP': value}, **(settings if arm != 'stock' else {}))
        for task, by_arm in tasks.items()
        for arm, column in zip(names, by_arm)
        for seed, value in enumerate(column)
        if value is not None
    ]
    return StudyResults(StudyInfo('s', '?', arms, infos, list(range(seeds))), runs)


def arms(*differences):
    """The baseline's metric over five seeds, and that of arms with these differences."""
    base = [20.0, 22.0, 21.0, 24.0, 23.0]
    return [base, *([b + d for b, d in zip(base, column)] for column in differences)]


@settings(max_examples=50, deadline=None)
@given(values)
def test_without_evidence_it_is_the_paired_t_test(column):
    column = np.array(column)
    if np.ptp(column) < 0.01:
        return
    estimate = paired_mean(column)
    want = stats.ttest_1samp(column, 0)
    assert estimate.p() == pytest.approx(want.pvalue, rel=1e-6, abs=1e-12)
    assert estimate.interval() == pytest.approx(tuple(want.confidence_interval(0.95)))


@settings(max_examples=100, deadline=None)
@given(st.floats(-5, 5), st.integers(2, 12), variances, variances, st.integers(2, 200))
def test_interval_and_p_agree(mean, n, v_seed, v_test, groups):
    estimate = PairedMean(mean, n, v_seed, v_test, groups - 1)
    low, high = estimate.interval()
    p = estimate.p()
    if abs(p - 0.05) > 1e-6:
        assert (p < 0.05) == (low > 0 or high < 0)
    lowest, highest = sorted(stats.t.ppf(0.975, [n - 1, groups - 1]))
    assert lowest - 1e-9 <= estimate.critical(0.05) <= highest + 1e-9


def test_what_images_do_to_single_seeds_counts_once():
    """Of what groups do to the mean, only what all seeds share adds to the spread over seeds."""
    rng = np.random.default_rng(0)
    scale = 1 / np.sqrt(20000)
    own, shared = scale * rng.normal(0, 2, (4, 20000)), scale * rng.normal(0, 1.5, 20000)
    column = np.array([1.0, 2.0, 3.0, 4.0])
    assert paired_mean(column, own, 100).v_test < 0.05
    found = paired_mean(column, own + shared, 100)
    assert found.v_test == pytest.approx(1.5**2, rel=0.1)
    assert found.v_seed == pytest.approx(np.var(column, ddof=1) / 4)
    assert found.test_df == 100


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=3, max_size=30), st.integers(0, 2**32 - 1))
def test_the_jackknife_is_unbiased_for_groups_of_any_sizes(sizes, seed):
    """Of the mean of groups with independent means: 400 data sets at once."""
    sizes, rng = np.array(sizes), np.random.default_rng(seed)
    share = sizes / sizes.sum()
    group = np.repeat(np.arange(len(sizes)), sizes)
    found = image_groups(group, group, np.ones((len(group), 1)))
    values = rng.normal(0, 1, (400, len(sizes)))
    mean = values @ share
    without = (mean[:, None] - share * values) / (1 - share)
    variances = ((without - mean[:, None]) ** 2 * found.scale**2).sum(1)
    true = (share**2).sum()
    error = variances.std() / np.sqrt(len(variances))
    assert abs(variances.mean() - true) < 5 * error
    assert found.effective == pytest.approx(1 / true)
    if np.ptp(sizes) == 0:
        assert found.scale**2 == pytest.approx(1 - 1 / len(sizes))
        assert found.df == pytest.approx(len(sizes) - 1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_one_group_that_holds_everything_has_no_degrees_of_freedom(sizes):
    """Whatever its images weigh: 1 / 1 - 1 by rounding may be below 0."""
    weights = np.array(sizes, float)[:, None] / 7
    group = np.zeros(len(sizes), int)
    found = image_groups(group, group, weights)
    assert 0 <= found.df < 1e-6 and found.effective == pytest.approx(1)


def test_a_metric_counts_its_own_groups_and_too_few_give_no_interval():
    results, evidence = Strips(NEU_DET, num_seeds=2).simulate(np.random.default_rng(0))
    analysis = analyse_evidence(results, evidence)
    mean = analysis.difference('seg', 'arm0')
    assert mean.effective_groups == pytest.approx(42.5, abs=0.1) and mean.low is not None
    pits = analysis.difference('seg', 'arm0', metric='IoU/pitted_surface')
    assert pits.effective_groups == pytest.approx(2.25) and pits.seed_sd is not None
    assert (pits.low, pits.p, pits.p_holm, pits.smallest_effect) == (None,) * 4
    groups = analysis.test_groups['seg']
    assert str(groups) == '146 groups, as good as 43 equal ones; of class pitted_surface, 2.2'
    results.info.tasks['seg'].primary = 'IoU/pitted_surface'
    verdict = analyse_evidence(results, evidence).verdict('seg', 'arm0')
    assert verdict.kind == 'no verdict' and 'as much as 2.2 groups' in verdict.sentence


def test_very_many_groups_are_left_out_by_blocks():
    group = np.arange(1200)
    block = blocks_of(group)
    assert np.bincount(block).tolist() == [3] * 200 + [2] * 300
    assert blocks_of(group[:500]).tolist() == list(range(500))
    assert image_groups(group, block, np.ones((1200, 1))).effective == pytest.approx(1200)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), variances, st.sampled_from([0.05, 0.05 / 3]))
def test_smallest_effect_is_found_four_times_in_five(n, v_seed, alpha):
    effect = PairedMean(0.0, n, v_seed).smallest_effect(alpha)
    critical = stats.t.ppf(1 - alpha / 2, n - 1)
    power = stats.nct.sf(critical, n - 1, effect / np.sqrt(v_seed))
    assert power == pytest.approx(0.8, abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.3, 5), st.integers(2, 10), variances)
def test_seeds_needed_is_the_least_number(mean, n, v_seed):
    needed = seeds_needed(PairedMean(mean, n, v_seed, 0.001, 149)).estimate
    if needed is None:
        return

    def effect(seeds):
        return PairedMean(mean, seeds, v_seed * n / seeds, 0.001, 149).smallest_effect()

    assert effect(needed) <= mean
    assert needed == 2 or effect(needed - 1) > mean


def test_more_seeds_do_not_make_up_for_few_test_images():
    found = seeds_needed(PairedMean(2.4, 5, 0.1, 1.0, 149))
    assert (found.estimate, found.low, found.high) == (None, None, None)
    assert found.limit == pytest.approx(stats.nct.sf(stats.t.ppf(0.975, 149), 149, 2.4), abs=0.01)
    assert 0.6 < found.limit < 0.7  # not "never": two studies in three would find it
    assert seeds_needed(PairedMean(0.0, 5, 0.1)).limit == 0


def test_a_variance_of_test_images_estimated_as_zero_has_an_upper_end():
    rng = np.random.default_rng(0)
    influence = 0.05 * rng.normal(0, 1, (3, 100))
    influence -= 0.1 * influence.mean(0)  # nothing that all seeds share
    estimate = paired_mean(np.array([1.0, 0.4, 0.7]), influence, 50)
    assert estimate.v_test == 0 and estimate.test_range[0] == 0 < estimate.test_range[1]
    assert estimate.variance_range()[1] > PairedMean(0.7, 3, estimate.v_seed).variance_range()[1]


@settings(max_examples=30, deadline=None)
@given(values)
def test_sign_flip_is_exact(column):
    flips = np.array(list(itertools.product([1, -1], repeat=len(column))))
    means = (flips * column).mean(1)
    want = (np.abs(means) >= abs(np.mean(column)) - 1e-12).mean()
    assert sign_flip(np.array(column)) == pytest.approx(want)


def test_three_seeds_never_reach_significance_by_sign_flips():
    assert sign_flip(np.array([5.0, 5.1, 5.2])) == 0.25


@pytest.mark.parametrize(
    ('p', 'corrected'),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([0.9, 0.001, 0.6], [1.0, 0.003, 1.0]),
        ([0.2], [0.2]),
    ],
)
def test_holm_steps_down(p, corrected):
    assert holm(p) == pytest.approx(corrected)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 8))
def test_fieller_ends_where_the_difference_is_just_significant(seed, n):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(2, 1, n), rng.normal(1, 1, n)
    ratio, ends = fieller(x, y, paired_mean(x), paired_mean(y))
    significant = stats.ttest_1samp(x, 0).pvalue < 0.05
    assert (ends is not None) == significant
    if ends is None:
        return
    assert ends[0] <= ratio <= ends[1]
    for end in ends:
        assert stats.ttest_1samp(y - end * x, 0).pvalue == pytest.approx(0.05, abs=1e-6)


def test_a_gain_in_both_stages_carries_over():
    tasks = {'cls': arms([2 * d for d in DIFFERENCES]), 'det': arms(DIFFERENCES)}
    analysis = analyse(study(tasks))
    verdict = analysis.verdict('det', 'spatial')
    assert verdict.kind == 'gains in both'
    assert '+1.00 points AP over Stock' in verdict.sentence
    assert '0.50 points for each point of classification' in verdict.sentence
    (ratio,) = analysis.carry_over
    assert ratio.ratio == pytest.approx(0.5)
    assert ratio.correlation == pytest.approx(1)
    assert analysis.verdict('cls', 'spatial').kind == 'better'
    assert 'it gains in classification and in det (+1.00 AP' in headline(analysis)


def test_without_a_classification_gain_it_only_helps():
    none = [0.9, -1.1, 0.2, -0.3, 0.4]
    analysis = analyse(study({'cls': arms(none), 'det': arms(DIFFERENCES)}))
    verdict = analysis.verdict('det', 'spatial')
    assert verdict.kind == 'better'
    assert 'no gain was found in classification' in verdict.sentence
    assert analysis.carry_over[0].unbounded
    assert analyse(study({'det': arms(DIFFERENCES)})).verdict('det', 'spatial').kind == 'better'


def test_losses_and_doubt_are_said():
    analysis = analyse(study({'det': arms([-d for d in DIFFERENCES])}))
    assert analysis.verdict('det', 'spatial').kind == 'worse'
    analysis = analyse(study({'det': arms([1.0, -0.6, 0.9, -0.4, 0.6])}))
    verdict = analysis.verdict('det', 'spatial')
    assert verdict.kind == 'undecided'
    needed = verdict.seeds_needed
    assert f'would need at least {needed.low} seeds, by estimate {needed.estimate}' in (
        verdict.sentence
    )
    assert needed.low < needed.estimate < needed.high and 10 < needed.estimate < 100
    assert 'from 5 % to 9 % with two looks and 14 % with four' in verdict.sentence
    assert 'No margin of equivalence was named beforehand' in verdict.sentence
    difference = analysis.difference('det', 'spatial')
    assert difference.low < 0 < difference.high < difference.smallest_effect
    assert abs(difference.low) < difference.rules_out < difference.high


def test_one_seed_gives_no_verdict():
    results = study({'det': [[20.0], [29.0]]}, seeds=1)
    verdict = analyse(results).verdict('det', 'spatial')
    assert verdict.kind == 'no verdict'
    assert verdict.sentence.startswith('One seed is no evidence, in either direction: +9.00')
    assert analyse(results).difference('det', 'spatial').p is None
    assert 'no verdict on det (+9.00 AP, one seed)' in headline(analyse(results))


def test_only_pairs_count_and_gaps_are_said():
    base, arm = arms(DIFFERENCES)
    arm[4], base[3] = None, None
    analysis = analyse(study({'det': [base, arm]}))
    difference = analysis.difference('det', 'spatial')
    assert list(difference.per_seed) == [0, 1, 2]
    assert difference.missing == [3, 4]
    assert difference.mean == pytest.approx(1.0)
    assert [s.missing for s in analysis.summaries] == [[3], [4]]
    assert any('2 of the planned runs are missing' in note for note in analysis.notes)
    verdict = analyse(study({'det': [base, [None] * 5]})).verdict('det', 'spatial')
    assert verdict.kind == 'no verdict'
    assert 'no seed was finished' in verdict.sentence


def test_candidates_are_held_against_the_control():
    roles = ('baseline', 'candidate', 'control')
    closer = [0.8, 1.3, 0.9, 1.1, 1.0]
    analysis = analyse(study({'det': arms(DIFFERENCES, closer)}, roles))
    verdict = analysis.verdict('det', 'spatial')
    assert verdict.against_controls == {'mlp': 'undecided'}
    assert 'Not told from the control Mlp' in verdict.sentence
    assert analysis.verdict('det', 'mlp').against_controls == {}
    assert 'but not shown to be better than the control Mlp' in headline(analysis)
    analysis = analyse(study({'det': arms([3 * d for d in DIFFERENCES], closer)}, roles))
    assert analysis.verdict('det', 'spatial').against_controls == {'mlp': 'better'}
    first = analysis.difference('det', 'spatial')
    assert first.p_holm == pytest.approx(holm([first.p, analysis.difference('det', 'mlp').p])[0])


def test_equal_arms_and_equal_differences():
    difference = analyse(study({'det': arms([0.0] * 5)})).difference('det', 'spatial')
    assert (difference.p, difference.low, difference.high) == (1.0, 0.0, 0.0)
    # Equal but for rounding gives no interval of width 0, either.
    nearly = analyse(study({'det': arms([0.1 + 1e-13 * i for i in range(5)])}))
    found = nearly.difference('det', 'spatial')
    assert (found.p, found.low, found.high) == (0.0625, None, None)
    # Five times the same difference is no proof: without test images the t test would say p = 0.
    column = [[32.0] * 5, [33.5] * 5]
    analysis = analyse(study({'det': column}))
    assert analysis.difference('det', 'spatial').p == 0.0625
    verdict = analysis.verdict('det', 'spatial')
    assert (verdict.kind, verdict.seeds_needed) == ('undecided', None)
    assert 'the same for every seed' in verdict.sentence
    json.dumps(analysis.to_dict(), allow_nan=False)


def test_what_a_gain_costs():
    dear = dict(parameters=150, flops=100, step_seconds=1.2, peak_memory=None)
    found = {e.cost: e for e in analyse(study({'det': arms(DIFFERENCES)}, **dear)).efficiency}
    assert found['parameters'].gain_per_10 == pytest.approx(0.2)
    assert found['step_seconds'].gain_per_10 == pytest.approx(0.5)
    assert found['step_seconds'].low < 0.5 < found['step_seconds'].high
    assert found['flops'].gain_per_10 is None
    assert 'peak_memory' not in found


def test_mistakes_in_results_are_named():
    results = study({'det': arms(DIFFERENCES)})
    results.runs[6].metrics = {'mAP': 3.0}
    with pytest.raises(ValueError, match="seed 1 lacks the primary metric 'AP'; it has mAP"):
        analyse(results)


def test_a_metric_that_is_no_number_counts_as_the_worst():
    results, evidence = simulate(BOTH, np.random.default_rng(0))
    run = next(run for run in results.runs if (run.arm, run.seed) == ('arm0', 2))
    run.metrics['top1'] = float('nan')
    analysis = analyse_evidence(results, evidence)
    found = analysis.difference('classification', 'arm0')
    assert found.per_seed[2] == -results.of('classification', 'stock')[2].metrics['top1']
    assert found.num_seeds == 5 and found.test_sd is not None
    assert analysis.scored_worst == ['classification, arm0, seed 2: top1']
    told = limits(results, analysis)
    assert (
        'no numbers and count as 0, the worst: 1 (classification, arm0, seed 2: top1)'
        in ' '.join(told)
    )
    assert json.loads(to_json(results, analysis))['runs'][7]['metrics']['top1'] is None


def test_an_arm_that_lacks_runs_stays_visible():
    base, arm = arms(DIFFERENCES)
    results = study({'det': [base, [*arm[:4], None]]})
    (told,) = limits(results, analyse(results))
    assert told.startswith('det: of 5 seeds, fewer are finished of Spatial 4. A difference leaves')


def test_evidence_has_to_belong_to_its_run():
    results, evidence = simulate(BOTH, np.random.default_rng(0))
    results.runs[2].metrics['top1'] += 3
    with pytest.raises(ValueError, match='one of them is of another run'):
        analyse_evidence(results, evidence)
    results, evidence = simulate(BOTH, np.random.default_rng(0))
    evidence['classification']['arm0', 1].images[0] = 'other'
    with pytest.raises(ValueError, match='arm0, seed 1, was tested on other images'):
        analyse_evidence(results, evidence)


def test_a_study_on_disk(tmp_path):
    results, evidence = simulate(BOTH, np.random.default_rng(0))
    for run in results.runs:
        folder = tmp_path / 'runs' / run.task / run.arm / f'seed{run.seed}'
        folder.mkdir(parents=True)
        run.save(folder / 'result.json')
        evidence[run.task][run.arm, run.seed].save(folder / 'evidence.npz')
    info = {k: v for k, v in vars(results.info).items() if k not in ('arms', 'tasks')}
    info |= {
        'arms': {key: vars(arm) for key, arm in results.info.arms.items()},
        'tasks': {key: vars(task) for key, task in results.info.tasks.items()},
    }
    (tmp_path / 'study.json').write_text(json.dumps(info))
    again = analyse(load_results(tmp_path))
    assert again.to_dict() == analyse_evidence(results, evidence).to_dict()
    assert again.difference('classification', 'arm0').covers == 'seeds and test images'
    next(tmp_path.rglob('evidence.npz')).unlink()
    without = analyse(load_results(tmp_path))
    assert without.difference('classification', 'arm0').covers == 'seeds'
    assert any('the seeds alone as random' in note for note in without.notes)
