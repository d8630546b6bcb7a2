"""What ``study power`` says from a pilot, against what studies then find."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from mkbackbones.commands.study import main
from mkbackbones.study.define.precision import Plan
from mkbackbones.study.report.console.power_table import power_table
from mkbackbones.study.statistics import analyse_evidence
from mkbackbones.study.statistics.jackknife import TaskJackknife
from mkbackbones.study.statistics.left_out import jackknife_of
from mkbackbones.study.statistics.paired import PairedMean
from mkbackbones.study.statistics.power import images_needed, prospects

from ..fake import FakeStudy
from ..simulated import NEU_SEG, Strips
from ..tiny import write_study
from .test_folded_statistics import folded_study
from .test_statistics import arms, study

STRIPS = Strips(NEU_SEG, num_seeds=3, arm_seed=2.0, arm_group=4.0, arm_image=4.0)


def planned(num_seeds=6, plan=None, folds=0):
    """What ``prospects`` takes of a study file."""
    task = SimpleNamespace(key='seg', primary='mAcc', folds=folds)
    arms = {key: SimpleNamespace(key=key, label=key) for key in ('stock', 'arm0')}
    seeds = list(range(num_seeds))
    return SimpleNamespace(
        arms=arms,
        baseline=arms['stock'],
        tasks={'seg': task},
        seeds=seeds,
        plan=plan,
        arms_of=lambda task: list(arms),
        num_comparisons=1,
    )


def foresee(monkeypatch, study, pilot, evidence, effects):
    monkeypatch.setattr(
        'mkbackbones.study.statistics.power.load_jackknife',
        lambda results, task: TaskJackknife.of(evidence[task], list(NEU_SEG)),
    )
    (found,), missing = prospects(study, pilot, effects)
    assert missing == []
    return found


def test_the_range_of_the_smallest_effect_covers_the_true_one(monkeypatch):
    rng, study, repeats = np.random.default_rng(0), planned(), 40
    v_seed = STRIPS.v_seed / len(study.seeds)
    true = PairedMean(0.0, len(study.seeds), v_seed, STRIPS.v_test, 15).smallest_effect()
    ends = [
        foresee(monkeypatch, study, *STRIPS.simulate(rng), {}).smallest_range
        for _ in range(repeats)
    ]
    covered = np.mean([low <= true <= high for low, high in ends])
    assert covered >= 0.85
    assert np.median([high / low for low, high in ends]) < 8  # and yet it says something


def test_an_effect_is_found_as_often_as_the_power_says(monkeypatch):
    rng = np.random.default_rng(1)
    pilot = replace(STRIPS, num_seeds=20)  # whose variances are nearly known
    found = foresee(monkeypatch, planned(), *pilot.simulate(rng), {'mAcc': 4.0})
    later = replace(STRIPS, num_seeds=6, effect=found.smallest)
    hits = [
        analyse_evidence(*later.simulate(rng)).difference('seg', 'arm0').found for _ in range(60)
    ]
    assert 0.65 < np.mean(hits) < 0.95
    assert found.power > 0.9 or found.smallest > 3


def test_seeds_and_images_that_an_effect_takes(monkeypatch):
    pilot, evidence = STRIPS.simulate(np.random.default_rng(2))
    small = foresee(monkeypatch, planned(), pilot, evidence, {'seg': 0.3})
    assert small.needed.limit < 0.8 and small.needed.estimate is None
    large = foresee(monkeypatch, planned(), pilot, evidence, {'seg': 20.0})
    assert large.images == 1.0 and large.needed.estimate <= 6 and large.power > 0.99
    looked = planned(plan=Plan({'seg': 0.01}, looks=[3, 6]))
    found = foresee(monkeypatch, looked, pilot, evidence, {})
    assert found.smallest > small.smallest and found.margin == 0.01 < found.least_margin


def test_a_pilot_without_any_difference_tells_nothing(monkeypatch):
    pilot = study({'seg': arms([0.0] * 5)})
    for run in pilot.runs:
        run.arm = run.arm.replace('spatial', 'arm0')
    pilot.info.arms = {'stock': pilot.info.arms['stock'], 'arm0': pilot.info.arms['spatial']}
    plan = planned()
    plan.tasks['seg'].primary = 'AP'
    assert prospects(plan, pilot, {}) == (
        [],
        ['seg, arm0: no seed of the pilot differs from another'],
    )


def test_times_the_test_images():
    estimate = PairedMean(0.0, 10, 0.01, 1.0, 50)
    factor = images_needed(estimate, 0.05, 0.8, 1.5)
    enough = PairedMean(0.0, 10, 0.01, 1.0 / factor, 50 * factor)
    assert 1 < factor < 6 and enough.power(1.5) == pytest.approx(0.8, abs=0.01)
    assert images_needed(PairedMean(0.0, 3, 5.0, 1.0, 50), 0.05, 0.8, 1.0) is None


def test_power_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '200')
    file = write_study(tmp_path, extra='seeds = list(range(8))\nplan = dict(margin=0.02)')
    folder = FakeStudy(tmp_path / 'pilot', 2, ['classification'], 3).run_all()
    arguments = ['power', str(file), '--pilot', str(folder)]
    assert main([*arguments, '--effect', 'top1=5']) == 0
    out = ' '.join(capsys.readouterr().out.split())
    assert 'what 8 seeds find' in out and '5 top1' in out and 'SpatialK' in out
    assert 'raises false positives from 5 % to 9 % with two looks' in out
    for wrong, message in (
        (['--effect', 'top1'], '--effect top1 is not of the form METRIC=POINTS'),
        (['--effect', 'top1=-0'], 'is not of the form'),
        (['--effect', 'top=1'], "no 'top'; it has classification, top1; did you mean 'top1'?"),
        (['--pilot', str(tmp_path / 'none')], 'or name another one with --pilot FOLDER'),
    ):
        assert main(['power', str(file), '--pilot', str(folder), *wrong]) == 2
        assert message in ' '.join(capsys.readouterr().err.split())
    other = FakeStudy(tmp_path / 'other', 2, ['segmentation'], 2).run_all()
    assert main(['power', str(file), '--pilot', str(other)]) == 2
    assert 'the pilot has no top1 of it' in capsys.readouterr().err


def test_what_folds_buy_is_told_from_a_pilot_on_one_split(monkeypatch):
    images = replace(STRIPS, arm_seed=0.5, arm_group=8.0, arm_image=8.0)
    pilot, evidence = images.simulate(np.random.default_rng(0))
    found = foresee(monkeypatch, planned(10), pilot, evidence, {})
    assert list(found.by_folds) == [0, 5, 10]
    assert found.by_folds[10] < found.by_folds[5] < found.by_folds[0] == found.smallest
    console = Console(width=300, record=True)
    study = planned(10)
    console.print(power_table(study, [found], []))
    text = console.export_text()
    assert f'{found.by_folds[5]:.2f} with folds=5' in text and 'on one split' in text
    on_folds = foresee(monkeypatch, planned(10, folds=5), pilot, evidence, {'mAcc': 3.0})
    assert on_folds.smallest == found.by_folds[5]
    assert on_folds.least_margin < found.least_margin
    assert on_folds.needed.low >= 2 and 0 < on_folds.power <= 1


def test_a_pilot_on_folds_tells_of_folds_alone(monkeypatch):
    results, evidence = folded_study(6, 3)
    monkeypatch.setattr(
        'mkbackbones.study.statistics.power.load_jackknife',
        lambda results, task: jackknife_of(results.info, task, evidence[task]),
    )
    study = planned(9, folds=3)
    task = SimpleNamespace(key='t', primary='top1', folds=3)
    study.tasks = {'t': task}
    (found,), missing = prospects(study, results, {'top1': 5.0})
    assert missing == [] and found.by_folds == {} and found.needed is not None
    task.folds = 6  # smaller test splits, and more of them
    (other,), _ = prospects(study, results, {})
    assert other.smallest < found.smallest
    task.folds = 0
    found, (sentence,) = prospects(study, results, {})
    assert found == [] and 'the pilot is on folds and the study is not' in sentence
