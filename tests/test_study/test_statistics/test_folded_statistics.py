"""Statistics of studies on folds, by hand and against studies whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from mkbackbones.study.records.results import ArmInfo, StudyInfo, StudyResults, TaskInfo
from mkbackbones.study.statistics import analyse_evidence
from mkbackbones.study.statistics.folded import FoldedMean, folded_mean
from mkbackbones.study.statistics.paired import PairedMean, seeds_needed
from mkbackbones.study.statistics.power import on_folds
from mkbackbones.study.statistics.verdicts import margin_of_images

from ..simulated import BOTH, evidence_of, run_of
from ..simulated_folds import (
    FoldedStrips,
    by_fold,
    coverage_of_folds,
    dealt,
    found_in_four_of_five,
    pooled_and_mean,
    shares_of_folded_looks,
)
from .test_coverage import covers, stays_below


def folded_study(num_seeds=4, folds=2, seed=0, tasks=('t',)):
    """A study of two arms whose seeds test on folds, with its evidence."""
    rng = np.random.default_rng(seed)
    seeds = [10 + s for s in range(num_seeds)]
    infos = {task: TaskInfo('classification', 'top1', ['a', 'b'], folds=folds) for task in tasks}
    runs, evidence = [], {}
    for task in tasks:
        evidence[task] = {}
        for fold in range(min(folds, num_seeds)):
            mine = seeds[fold::folds]
            world = replace(BOTH, num_seeds=len(mine), num_images=60, num_groups=20)
            found = evidence_of(world, rng, ['stock', 'arm0'], (0.3,), np.zeros((2, len(mine))))
            for (arm, number), one in found.items():
                one.images = [f'{fold}-{name}' for name in one.images]
                one.groups = [f'{fold}-{name}' for name in one.groups]
                evidence[task][arm, mine[number]] = one
        runs += [run_of(task, *key, e.metrics(['a', 'b'])) for key, e in evidence[task].items()]
    arms = {'stock': ArmInfo('stock', 'baseline'), 'arm0': ArmInfo('arm0')}
    return StudyResults(StudyInfo('folds', '?', arms, infos, seeds), runs), evidence


# ---- the estimate


def test_one_round_is_students_t_over_the_seeds():
    values = np.array([1.0, 2.5, -0.5, 3.0, 1.5])
    found = folded_mean(by_fold(values, 5), 5)
    wanted = stats.ttest_1samp(values, 0)
    assert found.p() == pytest.approx(wanted.pvalue, rel=1e-6)
    assert found.interval() == pytest.approx(tuple(wanted.confidence_interval()))


def test_more_rounds_are_students_t_over_the_folds():
    values = np.random.default_rng(0).normal(1, 1, 13)
    means = [values[f::5].mean() for f in range(5)]
    found = folded_mean(by_fold(values, 5), 5)
    assert found.mean == pytest.approx(np.mean(means))
    assert found.interval() == pytest.approx(
        tuple(stats.ttest_1samp(means, 0).confidence_interval())
    )


def test_rounds_more_leave_the_part_of_the_images():
    found = FoldedMean(1.0, 5, 4.0, 1.0, folds=5, tested=5)
    later = found.with_seeds(20)
    assert (later.v_seed, later.v_test, later.tested) == (1.0, 1.0, 5)
    assert later.critical(0.05) == found.critical(0.05) == pytest.approx(stats.t.ppf(0.975, 4))
    fewer = found.with_seeds(2)
    assert fewer.v_test == 2.5 and fewer.v_seed == 10 and fewer.tested == 2
    assert fewer.with_seeds(5).v_test == pytest.approx(1.0)
    # The limit of power is that of the images alone, on as many degrees of freedom.
    limit = PairedMean(1.0, 5, 1.0).power(2.0, 0.05)
    assert seeds_needed(found, effect=2.0).limit == pytest.approx(limit, abs=1e-3)
    margin, (low, high) = margin_of_images(fewer, ())
    assert margin == pytest.approx(stats.t.ppf(0.95, 4)) and low < margin < high


def test_images_take_their_part_and_no_more():
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, 6)
    small = [np.full((2, 4), 0.01) for _ in range(3)]
    found = folded_mean(by_fold(values, 3), 3, small)
    assert found.v_test == pytest.approx(3 * 4 * 0.01**2 / 9)
    whole = folded_mean(by_fold(values, 3), 3, [np.full((2, 4), 10.0) for _ in range(3)])
    assert whole.v_seed == 0 and whole.v_test == pytest.approx(found.v_test + found.v_seed)
    assert whole.interval() == found.interval()


# ---- the analysis


def test_seeds_of_a_study_on_folds_are_never_taken_for_tests_of_one_split():
    results, evidence = folded_study(6, 3)
    analysis = analyse_evidence(results, evidence)
    found = analysis.difference('t', 'arm0')
    d = found.per_seed
    means = [np.mean([d[10 + f], d[13 + f]]) for f in range(3)]
    wanted = stats.ttest_1samp(means, 0)
    assert found.mean == pytest.approx(np.mean(means))
    assert (found.low, found.high) == pytest.approx(tuple(wanted.confidence_interval()))
    assert found.covers == 'seeds and test images' and found.p_sign_flip >= 2 / 2**3
    assert analysis.test_groups['t'].count == 60
    assert found.effective_groups == pytest.approx(analysis.test_groups['t'].effective)
    text = ' '.join(analysis.notes)
    assert "Student's t over the means of 3 folds" in text
    assert 'training sets of two folds share most' in text and 'one training set' not in text


def test_without_evidence_folds_still_cover_test_images():
    results, _ = folded_study(4, 2, seed=1)
    found = analyse_evidence(results, {}).difference('t', 'arm0')
    assert found.covers == 'seeds and test images' and found.low is not None
    assert found.test_sd is None


def test_arms_weigh_every_fold_the_same():
    results, evidence = folded_study(3, 2)  # the first fold has two seeds
    analysis = analyse_evidence(results, evidence)
    of_arm = next(s for s in analysis.summaries if (s.arm, s.metric) == ('arm0', 'top1'))
    values = of_arm.per_seed
    assert of_arm.mean == pytest.approx(((values[10] + values[12]) / 2 + values[11]) / 2)


def test_one_fold_is_no_evidence():
    results, evidence = folded_study(4, 2)
    results.runs = [run for run in results.runs if run.seed in (10, 12)]
    evidence['t'] = {key: e for key, e in evidence['t'].items() if key[1] in (10, 12)}
    analysis = analyse_evidence(results, evidence)
    verdict = analysis.verdict('t', 'arm0')
    assert verdict.kind == 'no verdict' and 'tested one fold' in verdict.sentence
    assert analysis.difference('t', 'arm0').low is None


def test_folds_that_share_an_image_are_refused():
    results, evidence = folded_study(4, 2)
    evidence['t']['arm0', 11].images[0] = '0-0'
    evidence['t']['stock', 11].images[0] = '0-0'
    with pytest.raises(ValueError, match='0-0 was tested in fold 0 and in fold 1'):
        analyse_evidence(results, evidence)


def test_gains_of_two_stages_are_paired_by_fold():
    results, evidence = folded_study(6, 3, tasks=('c', 'd'))
    results.info.tasks['d'].kind = 'detection'
    found = analyse_evidence(results, evidence)
    (ratio,) = found.carry_over
    gains = [found.difference(task, 'arm0').mean for task in ('d', 'c')]
    assert ratio.ratio == pytest.approx(gains[0] / gains[1]) and ratio.num_seeds == 6
    assert ratio.correlation is None  # three folds are no correlation
    results.info.tasks['c'].folds = 6
    assert analyse_evidence(results, {}).carry_over == []


# ---- the simulations behind docs/statistics.md


def test_folds_of_real_groups_are_complete():
    for name, k in (('NEU-DET', 5), ('NEU-Seg', 10)):
        sizes, weights = dealt(name, k)
        assert ((weights > 0).sum(0) == 1).all() and len(sizes) in (740, 413)
        assert weights.sum(1) == pytest.approx(np.ones(k))


@pytest.mark.parametrize('name', ['NEU-DET', 'NEU-Seg'])
@pytest.mark.parametrize('num_seeds', [3, 5, 10, 20])
def test_intervals_over_folds_cover(name, num_seeds):
    repeats = 1000
    found = coverage_of_folds(FoldedStrips(name), num_seeds, repeats)
    assert covers(found['folds'], repeats)
    if num_seeds > 5:
        assert not covers(found['seeds'], repeats)  # seeds of a fold share its images


def test_what_training_sets_have_of_their_own_is_covered_and_what_they_share_is_not():
    repeats = 1000
    own = FoldedStrips('NEU-DET', training=1.0)
    found = coverage_of_folds(own, 20, repeats)
    assert covers(found['folds'], repeats) and not covers(found['images known'], repeats)
    shared = coverage_of_folds(replace(own, shared=0.75), 20, repeats)
    assert not covers(shared['folds'], repeats)


def test_planned_looks_hold_on_folds():
    repeats = 1000
    found = shares_of_folded_looks(FoldedStrips('NEU-DET'), (5, 10, 15, 20), repeats)
    assert stays_below(found['found'], repeats) and covers(found['covered'], repeats)


def test_pooling_measures_how_networks_are_scaled():
    rng = np.random.default_rng(0)
    found = np.mean([pooled_and_mean(rng, 1.0) for _ in range(12)], 0)
    alike = np.mean([pooled_and_mean(rng, 0.0) for _ in range(12)], 0)
    assert found[1] - found[0] > 2 * abs(alike[1] - alike[0])


@pytest.mark.parametrize('num_seeds', [5, 20])
def test_a_pilot_on_one_split_tells_what_folds_find(num_seeds):
    strips = FoldedStrips('NEU-Seg', arm_seed=2.0, arm_group=4.0, arm_image=4.0)
    sizes, weights = dealt('NEU-Seg', 5)
    v_seed = 2 * strips.arm_seed**2
    v_seed += float((weights**2 @ (2 * strips.arm_seed_image**2 / sizes)).mean())
    pilot = PairedMean(0.0, 3, v_seed / 3, float(strips.v_images.mean()), 20)
    about = TaskInfo('segmentation', 'mIoU', [], dict(train=630, val=89, test=180))
    planned = on_folds(pilot, about, 5, num_seeds)
    simulated = found_in_four_of_five(strips, num_seeds, 2000)
    assert planned.smallest_effect() == pytest.approx(simulated, rel=0.12)
    assert planned.smallest_effect() < on_folds(pilot, about, 0, num_seeds).smallest_effect()
    low, high = planned.smallest_effect_range()
    assert low < planned.smallest_effect() < high
