"""The plan of a study: read from its file, and what it makes of verdicts."""

import pytest

from mkbackbones.study.define.precision import Plan, parse_plan
from mkbackbones.study.define.spec import StudyError
from mkbackbones.study.statistics import analyse

from ..test_statistics.test_statistics import DIFFERENCES, arms, study

TASKS, SEEDS = ['cls', 'det'], list(range(10))


def test_margins_for_all_tasks_or_for_some():
    plan = parse_plan(dict(margin=0.5, looks=[5, 10]), TASKS, SEEDS)
    assert plan == Plan({'cls': 0.5, 'det': 0.5}, 0.8, [5, 10])
    assert parse_plan(dict(margin={'det': 1}), TASKS, SEEDS).margin == {'det': 1.0}
    assert parse_plan(None, TASKS, SEEDS) is None
    assert plan.in_words() == (
        'margin of equivalence: cls ±0.5 points, det ±0.5 points; power 80 %; '
        'looks: after 5, 10 seeds'
    )


@pytest.mark.parametrize(
    ('plan', 'message'),
    [
        (3, r'plan=3; give dict\(margin=0.5'),
        (dict(margins=1), "plan has an entry 'margins'.*did you mean 'margin'"),
        (dict(margin=0), 'plan.margin=0; it must be a number of points above 0'),
        (dict(margin={'dett': 1}), "names the task 'dett'; the study has cls, det; did you mean"),
        (dict(margin={'det': -1}), 'plan.margin.det=-1; it must be'),
        (dict(power=1), 'plan.power=1; it must be a number from 0.5 to below 1'),
        (dict(looks=5), r'plan.looks=5; give numbers of seeds, e.g. \[5, 10, 15, 20\]'),
        (dict(looks=[1, 10]), r'plan.looks=\[1, 10\]; give rising numbers.* the first at least 2'),
        (dict(looks=[5, 9]), 'the last the number of seeds of the study, 10'),
        (dict(looks=[5, 5, 10]), 'give rising numbers'),
        (dict(looks=[5, 7.5, 10]), 'plan.looks=7.5; it must be a whole number'),
        (dict(looks=[None, 10]), 'give rising numbers'),
        (dict(margin={}, looks=[]), 'plans nothing; give a margin, looks or both'),
    ],
)
def test_a_plan_that_cannot_be(plan, message):
    with pytest.raises(StudyError, match=message):
        parse_plan(plan, TASKS, SEEDS)


def test_the_hash_is_of_the_plan_and_of_what_it_decides_on():
    plan = parse_plan(dict(margin=0.5), TASKS, SEEDS)
    digest = plan.hashed(arms=['a']).digest
    assert digest == plan.hashed(arms=['a']).hashed(arms=['a']).digest
    assert digest != plan.hashed(arms=['b']).digest
    assert digest != parse_plan(dict(margin=0.6), TASKS, SEEDS).hashed(arms=['a']).digest


def judged(differences, **plan):
    results = study({'det': arms(differences)})
    results.info.plan = Plan(**plan) if plan else None
    analysis = analyse(results)
    return analysis.verdict('det', 'spatial'), analysis.difference('det', 'spatial')


def test_equivalence_takes_a_margin_named_beforehand():
    small = [0.1, -0.05, 0.08, -0.1, 0.02]
    verdict, found = judged(small)
    assert verdict.kind == 'undecided' and found.rules_out < 0.1
    verdict, _ = judged(small, margin={'det': 0.2})
    assert verdict.kind == 'equivalent' and verdict.seeds_needed is None
    assert 'within the margin named beforehand, 0.2 points' in verdict.sentence
    verdict, _ = judged(small, margin={'det': 0.05})
    assert verdict.kind == 'undecided' and 'named beforehand, 0.05 points, is not' in (
        verdict.sentence
    )
    late = dict(margin={'det': 0.2}, deviations=['The plan was made after 4 runs.'])
    verdict, _ = judged(small, **late)
    assert verdict.kind == 'undecided' and 'No margin of equivalence was named' in verdict.sentence
    verdict, _ = judged([0.0] * 5, margin={'det': 0.2})  # e.g. every run at 100 %
    assert verdict.kind == 'undecided' and 'says nothing of chance' in verdict.sentence
    verdict, _ = judged(DIFFERENCES, margin={'det': 2.0})
    assert verdict.kind == 'better' and 'By less than the margin' in verdict.sentence
    assert judged([-d for d in DIFFERENCES], margin={'det': 0.2})[0].kind == 'worse'


def test_looks_widen_intervals_and_correct_p():
    _, once = judged(DIFFERENCES)
    verdict, looked = judged(DIFFERENCES, looks=[5, 10, 15, 20])
    assert looked.low < once.low and looked.high > once.high and looked.rules_out > once.rules_out
    assert once.p == looked.p and once.p_holm < looked.p_holm < 5 * once.p_holm
    assert looked.smallest_effect > once.smallest_effect
    verdict, _ = judged([1.0, -0.6, 0.9, -0.4, 0.6], looks=[5, 10])
    assert 'unless a plan' not in verdict.sentence
    results = study({'det': arms(DIFFERENCES)})
    results.info.plan = Plan(looks=[5, 10, 15, 20])
    assert any('tests at 1.65 % at each look' in note for note in analyse(results).notes)


def test_no_verdict_before_the_first_planned_look():
    for differences in (DIFFERENCES, [0.1, -0.05, 0.08, -0.1, 0.02]):
        verdict, found = judged(differences, margin={'det': 2.0}, looks=[6, 12])
        assert verdict.kind == 'no verdict' and found.low is not None
        assert verdict.sentence.startswith(
            'No verdict before the first planned look, after 6 seeds: '
        )
        assert judged(differences, margin={'det': 2.0}, looks=[5, 12])[0].kind != 'no verdict'


def test_the_family_of_a_primary_metric_is_arms_and_tasks():
    one = analyse(study({'det': arms(DIFFERENCES)}))
    two = analyse(study({'cls': arms(DIFFERENCES), 'det': arms(DIFFERENCES)}))
    first, second = (a.difference('det', 'spatial') for a in (one, two))
    assert first.p_holm == pytest.approx(first.p)
    assert second.p_holm == pytest.approx(2 * first.p)
    assert second.smallest_effect > first.smallest_effect
    assert any('2 comparisons with the baseline' in note for note in two.notes)
    low, high = second.smallest_effect_range
    assert low < second.smallest_effect < high
