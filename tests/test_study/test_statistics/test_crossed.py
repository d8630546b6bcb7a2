"""Arms that start from another arm's networks, and what each of the two stages is worth."""

import json

import numpy as np
import pytest
import torch
from scipy import stats

from mkbackbones.checkpoints.source import load_file
from mkbackbones.study.define.plan import plan_runs
from mkbackbones.study.define.spec import StudyError, read_study
from mkbackbones.study.prepare.prepared import prepare_study
from mkbackbones.study.records.results import (
    ArmInfo,
    StudyInfo,
    StudyResults,
    TaskInfo,
    load_results,
)
from mkbackbones.study.report.numbers import to_csv
from mkbackbones.study.report.write import write_report
from mkbackbones.study.run.schedule import open_schedule
from mkbackbones.study.statistics import analyse, analyse_evidence
from mkbackbones.study.statistics.crossed import find_squares

from ..simulated import BOTH, evidence_of, run_of
from ..tiny import write_study
from .test_coverage import covers

ARMS = """
    arms['ks'] = dict(label='stock, from SpatialK', role='control', initial_arm='spatial')
    arms['sk'] = dict(arms['spatial'], label='SpatialK, from stock', initial_arm='stock')
"""
CHAIN = """
    tasks['second'] = dict(
        kind='classification', config='classification.py',
        initial_weights=dict(task='classification'),
    )
    budget = dict(iters=4)
"""


def read(tmp_path, extra):
    return read_study(write_study(tmp_path, extra=extra))


def test_such_an_arm_has_no_run_of_its_own_in_the_first_task(tmp_path):
    study = read(tmp_path, ARMS + CHAIN)
    assert study.arms_of('classification') == ['stock', 'spatial']
    assert study.arms_of('second') == ['stock', 'spatial', 'ks', 'sk']
    assert study.initial_arms == {'stock', 'spatial'} and study.num_comparisons == 1 + 3
    runs = {run.key: run for run in plan_runs(study)}
    assert len(runs) == 2 * (2 + 4)
    assert runs['runs/second/ks/seed1'].needs == ('runs/classification/spatial/seed1',)
    assert runs['runs/second/sk/seed0'].needs == ('runs/classification/stock/seed0',)


@pytest.mark.parametrize(
    ('extra', 'words'),
    [
        (ARMS, 'no task starts from another one'),
        (
            CHAIN + "    arms['sk'] = dict(initial_arm='stok')",
            "initial_arm='stok'; choose from.*st",
        ),
        (CHAIN + "    arms['sk'] = dict(initial_arm='sk')", "initial_arm='sk'; choose from"),
        (ARMS + CHAIN + "    arms['x'] = dict(initial_arm='sk')", 'networks of their own: stock, '),
        (CHAIN + "    arms['stock']['initial_arm'] = 'spatial'", 'is the baseline'),
    ],
)
def test_arms_that_cannot_be(tmp_path, extra, words):
    with pytest.raises(StudyError, match=words):
        read(tmp_path, extra)


@pytest.fixture(scope='module')
def done(tmp_path_factory, executor):
    root = tmp_path_factory.mktemp('crossed')
    prepared = prepare_study(read(root, ARMS + CHAIN))
    with open_schedule(prepared, root / 'out') as schedule:
        schedule.run(executor)
        rows = schedule.ledger.rows().values()
        assert {row.error or row.state for row in rows} == {'done'}
    return root / 'out'


def test_networks_start_from_the_other_arm_with_folded_keys(done):
    """By the log of each start, and by the folded network itself."""
    folder = done / 'runs/classification/spatial/seed0'
    folded = load_file(folder / 'folded.pth')['state_dict']
    trained = load_file(folder / 'best.pth')['state_dict']
    assert any('.key.' in name for name in trained) and not any('.key.' in n for n in folded)
    shared = [name for name in folded if name in trained]
    assert all(torch.equal(folded[name], trained[name]) for name in shared) and len(shared) > 20
    for arm, source in (('ks', 'spatial'), ('sk', 'stock')):
        config = json.loads((done / f'runs/second/{arm}/seed0/config.json').read_text())
        start = config['model']['backbone']['init_cfg']
        assert start['checkpoint'].endswith(f'classification/{source}/seed0/folded.pth')
    assert not (done / 'runs/second/ks/seed0/folded.pth').exists()


def test_the_report_tells_both_effects(done):
    results = load_results(done)
    assert len(results.runs) == results.info.num_runs == 12 and not results.failures
    analysis = analyse(results)
    effects = {found.effect: found.mean for found in analysis.crossed}
    mean = {a: np.mean([r.metrics['top1'] for r in results.of('second', a).values()])
            for a in ('stock', 'spatial', 'ks', 'sk')}  # fmt: skip
    ss, kk, ks, sk = mean.values()
    assert effects['pre-trained with it'] == pytest.approx((kk - sk + ks - ss) / 2)
    assert effects['fine-tuned with it'] == pytest.approx((kk - ks + sk - ss) / 2)
    assert effects['both beyond either'] == pytest.approx(kk - ks - sk + ss)
    assert 'crossed,second,spatial,stock,top1,,pre-trained with it: mean' in to_csv(
        results, analysis
    )
    text = write_report(done, examples=False).text.read_text(encoding='utf-8')
    assert '## Does the gain carry over in the weights?' in text
    assert (
        'stock, from SpatialK has no networks of its own: it starts from those of SpatialK' in text
    )
    assert 'Unfinished' not in text


def square(arms, infos, runs, seeds):
    return StudyResults(StudyInfo('s', '?', arms, infos, list(range(seeds))), runs)


def four(base=None):
    key = {'key_cfg': dict(type='SpatialK', num_charts=8)}
    own = {'key_cfg': dict(key['key_cfg'], **({} if base is None else {'base': base}))}
    return {
        'ss': ArmInfo('stock', 'baseline'),
        'kk': ArmInfo('SpatialK', 'candidate', own),
        'ks': ArmInfo('folded', 'control', {}, 'kk'),
        'sk': ArmInfo('added', 'control', key, 'ss'),
    }


@pytest.mark.parametrize('base', [None, True, False])
def test_a_base_chart_makes_no_other_key(base):
    infos = {'t': TaskInfo('detection', 'AP', ['a'], source='c')}
    (found,) = find_squares(square(four(base), infos, [], 3).info)
    assert (found.ss, found.kk, found.ks, found.sk) == ('ss', 'kk', 'ks', 'sk')


def test_without_evidence_it_is_the_t_test_of_the_contrast():
    rng = np.random.default_rng(0)
    values = {arm: rng.normal(30, 1, 6) for arm in four()}
    infos = {'t': TaskInfo('detection', 'AP', ['a'], source='c')}
    runs = [run_of('t', a, s, {'AP': v}) for a, row in values.items() for s, v in enumerate(row)]
    found = {e.effect: e for e in analyse(square(four(), infos, runs, 6)).crossed}
    ss, kk, ks, sk = values.values()
    for effect, contrast in {
        'pre-trained with it': (kk - sk + ks - ss) / 2,
        'fine-tuned with it': (kk - ks + sk - ss) / 2,
        'both beyond either': kk - ks - sk + ss,
    }.items():
        test = stats.ttest_1samp(contrast, 0)
        assert found[effect].mean == pytest.approx(contrast.mean())
        assert (found[effect].low, found[effect].high) == pytest.approx(
            tuple(test.confidence_interval(0.95))
        )
        assert found[effect].p == pytest.approx(test.pvalue)


def crossed_coverage(repeats, pre=0.15, fine=0.1):
    """How often the intervals of the effects hold the true ones, over seeds and test images."""
    rng, hits = np.random.default_rng(5), {}
    infos = {'t': TaskInfo('detection', 'top1', ['a', 'b'], source='c')}
    effects = (pre + fine, pre, fine)
    kk, ks, sk = map(BOTH.truth, effects)
    truth = {
        'pre-trained with it': (kk - sk + ks) / 2,
        'fine-tuned with it': (kk - ks + sk) / 2,
        'both beyond either': kk - ks - sk,
    }
    for _ in range(repeats):
        networks = rng.normal(0, BOTH.arm_seed, (4, BOTH.num_seeds))
        evidence = evidence_of(BOTH, rng, list(four()), effects, networks)
        runs = [run_of('t', *key, e.metrics(['a', 'b'])) for key, e in evidence.items()]
        study = square(four(), infos, runs, BOTH.num_seeds)
        for found in analyse_evidence(study, {'t': evidence}).crossed:
            inside = found.low <= truth[found.effect] <= found.high
            hits[found.effect] = hits.get(found.effect, 0) + inside / repeats
    return hits


@pytest.mark.parametrize('repeats', [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_intervals_of_the_effects_cover(repeats):
    for effect, share in crossed_coverage(repeats).items():
        assert covers(share, repeats), effect
