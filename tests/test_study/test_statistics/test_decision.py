"""When a study may stop, on numbers whose answers are known."""

import numpy as np
import pytest

from mkbackbones.study.define.precision import Plan
from mkbackbones.study.statistics import analyse_evidence
from mkbackbones.study.statistics.decision import at_look, decided
from mkbackbones.study.statistics.jackknife import TaskJackknife
from mkbackbones.study.statistics.paired import PairedMean
from mkbackbones.study.statistics.verdicts import margin_of_images

from ..simulated import NEU_SEG, Strips
from .test_statistics import DIFFERENCES, arms, study


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where ``load_results`` finds what a test puts there."""
    found = {}
    monkeypatch.setattr(
        'mkbackbones.study.statistics.decision.load_results', lambda folder: found['study']
    )
    return found


def planned(*columns, **plan):
    results = study({'det': arms(*columns)}, ('baseline', *['candidate'] * len(columns)))
    results.info.plan = Plan(**plan)
    return results


def test_a_study_is_decided_when_every_arm_is(folder):
    folder['study'] = planned(DIFFERENCES, looks=[3, 5])
    assert decided('x', 5).stop
    assert decided('x', 5).sentence == 'after 5 seeds, every comparison is decided'
    unclear = [1.0, -0.6, 0.9, -0.4, 0.6]
    folder['study'] = planned(DIFFERENCES, unclear, looks=[3, 5])
    found = decided('x', 5)
    assert not found.stop and found.sentence == 'after 5 seeds, open: det, Mlp: undecided'
    folder['study'] = planned([d / 100 - 0.01 for d in DIFFERENCES], margin={'det': 0.1})
    assert decided('x', 5).stop


def test_a_look_sees_the_seeds_of_the_look_alone(folder):
    folder['study'] = planned([0.9, -0.5, 0.1, 100.0, 100.0], looks=[3, 5])
    assert at_look(folder['study'], 3).info.seeds == [0, 1, 2]
    assert len(at_look(folder['study'], 3).runs) == 6
    assert not decided('x', 3).stop


def test_margin_that_the_test_images_alone_forbid():
    known = PairedMean(0.0, 5, 0.1, 1.0, 1e9)
    assert margin_of_images(known, ())[0] == pytest.approx(1.645, abs=0.01)
    ranged = PairedMean(0.0, 5, 0.1, 1.0, 30, (0.5, 2.0))
    estimate, (low, high) = margin_of_images(ranged, (5, 10))
    assert low == pytest.approx(estimate * np.sqrt(0.5)) and high > estimate > 1.7


def test_more_seeds_are_not_started_where_test_images_cannot_decide(folder, monkeypatch):
    strips = Strips(NEU_SEG, num_seeds=3, arm_group=12.0, arm_seed=0.1, arm_seed_image=1.0)
    folder['study'], evidence = strips.simulate(np.random.default_rng(1))
    monkeypatch.setattr(
        'mkbackbones.study.statistics.decision.load_jackknife',
        lambda results, task: TaskJackknife.of(evidence[task], list(NEU_SEG)),
    )
    folder['study'].info.plan = Plan({'seg': 0.1}, looks=[3, 6])
    found = decided('x', 3)
    assert found.stop and 'more cannot decide: seg, arm0: the test images alone' in found.sentence
    assert 'wider than the margin of 0.1; it takes more test images' in found.sentence
    sentence = analyse_evidence(folder['study'], evidence).verdict('seg', 'arm0').sentence
    assert 'It cannot be with more seeds: the test images alone leave' in sentence
    folder['study'].info.plan = Plan({'seg': 50.0}, looks=[3, 6])
    assert decided('x', 3).sentence == 'after 3 seeds, every comparison is decided'
