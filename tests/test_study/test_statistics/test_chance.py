"""What a run shows that has learned nothing."""

import numpy as np
import pytest

from mkbackbones.study.evidence import SegmentationEvidence
from mkbackbones.study.records.results import ArmInfo, RunResult, StudyInfo, StudyResults, TaskInfo
from mkbackbones.study.statistics.chance import background_miou, complaints, unlearnt_seeds


def study(losses, score, kind='detection'):
    tasks = {'t': TaskInfo(kind, 'AP', ['a', 'b', 'c', 'd'])}
    info = StudyInfo('s', '?', {'stock': ArmInfo('stock', 'baseline')}, tasks, [0])
    run = RunResult('t', 'stock', 0, {'AP': score}, [], losses, 1, 0.1, 1, 1, 0.1, 1.0, 0.1)
    return StudyResults(info, [run])


def test_nothing_to_complain_about():
    assert complaints(study([2.0, 1.0], 0.1)) == []


@pytest.mark.parametrize(
    'losses, score, kind, words',
    [
        ([2.0, 1.9], 0.1, 'detection', 'loss went from 2 to 1.9'),
        ([2.0, 1.0], 0.0, 'detection', 'AP 0 is not above chance, 0'),
        ([2.0, float('nan')], 0.1, 'detection', 'loss went from 2 to nan'),
        ([2.0, 1.0], 25.0, 'classification', 'AP 25 is not above chance, 25'),
    ],
)
def test_complaints(losses, score, kind, words):
    (found,) = complaints(study(losses, score, kind))
    assert words in found and found.startswith('t, stock, seed 0: ')


def test_chance_of_class_maps_is_answering_background_everywhere():
    confusion = np.zeros((2, 3, 3), dtype=np.int64)
    confusion[0, 0] = [5, 5, 5]  # 15 pixels of background, however they were classified
    confusion[1, 2] = [0, 2, 3]  # 5 of class 2, none of class 1
    evidence = SegmentationEvidence(
        ['a', 'b'], ['a', 'b'], confusion, np.zeros(2), np.array([False, True])
    )
    assert background_miou(evidence) == pytest.approx(100 * (15 / 20) / 2)


@pytest.mark.parametrize(
    'kind, metrics, learnt',
    [
        ('segmentation', {'IoU/a': 99.0, 'IoU/b': 0.9, 'IoU/c': 0.0, 'IoU/d': 0.0}, False),
        ('segmentation', {'IoU/a': 99.0, 'IoU/b': 1.0, 'IoU/c': 0.0, 'IoU/d': 0.0}, True),
        ('segmentation', {'IoU/a': 99.0}, True),  # the others are not in the test images
        ('detection', {'AP/a': 0.0, 'AP/b': 0.9, 'AP/c': 0.0, 'AP/d': 0.0}, False),
        ('detection', {'AP/a': 0.0, 'AP/b': 1.0, 'AP/c': 0.0, 'AP/d': 0.0}, True),
        ('classification', {'AP': 25.9}, False),
        ('classification', {'AP': 26.1}, True),
    ],
)
def test_unlearnt_seeds(kind, metrics, learnt):
    results = study([2.0, 1.0], 0.1, kind)
    results.runs[0].metrics |= metrics
    assert unlearnt_seeds(results, 't') == ([] if learnt else [0])
