"""Evidence gives the metrics that pycocotools and mmseg give, for one test set or thousands."""

import contextlib
import io
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mkbackbones.study.evidence import (
    ClassificationEvidence,
    DetectionEvidence,
    SegmentationEvidence,
    load_evidence,
)
from mkbackbones.study.evidence.base import alarm_threshold

seeds = st.integers(0, 2**32 - 1)
CATEGORIES = {'scratch': 7, 'hole': 3, 'stain': 9}  # ids neither dense nor in the order of names


def random_coco(rng, num_images=8, crowd=True):
    """Ground truth with an annotation id 0, and detections near and far, with tied scores."""
    images = [dict(id=10 + i, file_name=f'{i}.jpg', width=99, height=99) for i in range(num_images)]
    truths, results = [], []
    for image in images:
        for _ in range(rng.integers(0, 4)):
            box = np.r_[rng.uniform(0, 60, 2), rng.uniform(8, 30, 2)].tolist()
            category = int(rng.choice(list(CATEGORIES.values())))
            x, y, w, h = box
            truths.append(
                dict(
                    id=len(truths),
                    image_id=image['id'],
                    category_id=category,
                    bbox=box,
                    area=w * h,
                    iscrowd=int(crowd and rng.random() < 0.1),
                    segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]],
                )
            )
            for _ in range(rng.integers(0, 3)):
                moved = (np.array(box) + rng.normal(0, 2, 4)).tolist()
                results.append((image['id'], category, moved))
        for _ in range(rng.integers(0, 3)):
            box = np.r_[rng.uniform(0, 60, 2), rng.uniform(8, 30, 2)].tolist()
            results.append((image['id'], int(rng.choice(list(CATEGORIES.values()))), box))
    results = [
        dict(image_id=i, category_id=c, bbox=b, score=float(rng.integers(1, 12)) / 12)
        for i, c, b in results
    ]
    categories = [dict(id=i, name=name) for name, i in CATEGORIES.items()]
    return dict(images=images, annotations=truths, categories=categories), results


def coco_of(dataset):
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = dataset
        coco.createIndex()
    return coco


def coco_metrics(dataset, results, iou_type):
    """What pycocotools says; its ids start at 1, since it takes a match with id 0 for none."""
    annotations = [ann | {'id': ann['id'] + 1} for ann in dataset['annotations']]
    truth = coco_of(dataset | {'annotations': annotations})
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes([dict(r) for r in results]), iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
    precision = 100 * evaluation.eval['precision'][:, :, :, 0, -1]
    mean = {'AP': precision, 'AP50': precision[0], 'AP75': precision[5]}
    for name, category in CATEGORIES.items():
        mean[f'AP/{name}'] = precision[:, :, evaluation.params.catIds.index(category)]
    return {k: v[v > -1].mean() for k, v in mean.items() if (v > -1).any()}


def detection_evidence(dataset, results, iou_type='bbox'):
    groups = {image['file_name']: f'g{image["id"] // 2}' for image in dataset['images']}
    return DetectionEvidence.from_coco(
        coco_of(dataset), results, groups, list(CATEGORIES), iou_type
    )


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from(['bbox', 'segm']))
def test_detection_metrics_are_those_of_pycocotools(seed, iou_type):
    dataset, results = random_coco(np.random.default_rng(seed))
    if iou_type == 'segm':
        for result in results:
            x, y, w, h = result.pop('bbox')
            result['segmentation'] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    if not results:
        return
    if iou_type == 'segm':  # loadRes takes masks as RLE
        coco = coco_of(dataset)
        for result in results:
            result['segmentation'] = coco.annToRLE(result)
    got = detection_evidence(dataset, results, iou_type).metrics(list(CATEGORIES))
    assert {k: v for k, v in got.items() if k.startswith('AP')} == pytest.approx(
        coco_metrics(dataset, results, iou_type), abs=1e-9
    )


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_a_weighted_image_counts_as_that_many_images(seed):
    rng = np.random.default_rng(seed)
    dataset, results = random_coco(rng)
    for result in results:  # tied detections of one image would take turns with their copies
        result['score'] = rng.random()
    evidence = detection_evidence(dataset, results)
    weights = rng.integers(0, 4, len(dataset['images']))
    copies = {'images': [], 'annotations': [], 'categories': dataset['categories']}
    copied = []
    for image, weight in zip(dataset['images'], weights):
        for k in range(weight):
            new = image['id'] * 100 + k
            copies['images'].append(image | {'id': new, 'file_name': f'{new}.jpg'})
            for ann in dataset['annotations']:
                if ann['image_id'] == image['id']:
                    number = len(copies['annotations'])
                    copies['annotations'].append(ann | {'image_id': new, 'id': number})
            copied += [r | {'image_id': new} for r in results if r['image_id'] == image['id']]
    if not copies['images']:
        return
    want = detection_evidence(copies, copied).metrics(list(CATEGORIES))
    assert evidence.metrics(list(CATEGORIES), weights) == pytest.approx(want, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_segmentation_metrics_are_those_of_mmseg(seed):
    from mmseg.evaluation import IoUMetric

    rng = np.random.default_rng(seed)
    truth = torch.from_numpy(rng.integers(0, 4, (5, 12, 12)))  # class 4 is nowhere but predicted
    predicted = torch.from_numpy(np.where(rng.random((5, 12, 12)) < 0.6, truth, 4))
    if rng.random() < 0.3:
        predicted[predicted == 4] = 0
    truth[torch.from_numpy(rng.random((5, 12, 12)) < 0.1)] = 255
    classes = list('abcde')
    areas = [IoUMetric.intersect_and_union(p, t, 5, 255) for p, t in zip(predicted, truth)]
    totals = [sum(part).double() for part in zip(*areas)]
    want = IoUMetric.total_area_to_metrics(*totals, metrics=['mIoU', 'mFscore'])
    confusion = np.zeros((5, 5, 5), dtype=np.int64)
    for i in range(5):
        seen = truth[i] != 255
        np.add.at(confusion[i], (truth[i][seen].numpy(), predicted[i][seen].numpy()), 1)
    evidence = SegmentationEvidence(
        list('vwxyz'), list('vwxyz'), confusion, np.zeros(5), np.ones(5, bool)
    )
    got = evidence.metrics(classes)
    assert got['mIoU'] == pytest.approx(100 * np.nanmean(want['IoU']), abs=1e-9)
    assert got['mAcc'] == pytest.approx(100 * np.nanmean(want['Acc']), abs=1e-9)
    assert got['aAcc'] == pytest.approx(100 * float(want['aAcc']), abs=1e-9)
    for i, name in enumerate(classes):
        if np.isnan(want['IoU'][i]):
            assert f'IoU/{name}' not in got
            continue
        assert got[f'IoU/{name}'] == pytest.approx(100 * want['IoU'][i], abs=1e-9)
        fscore = np.nan_to_num(want['Fscore'][i])  # NaN where the class is never found; ours is 0
        assert got[f'F1/{name}'] == pytest.approx(100 * fscore, abs=1e-4)  # mmseg's is float32


def alarms(score, defective, good, weights=None):
    n = len(score)
    evidence = SegmentationEvidence(
        [str(i) for i in range(n)], ['g'] * n, np.ones((n, 2, 2), np.int64), score, defective, good
    )
    weights = np.ones((1, n), int) if weights is None else weights
    return {k: v for k, v in evidence.resampled(['ok', 'bad'], weights).items() if '@' in k}


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_alarms_count_images_above_a_score_of_validation(seed):
    rng = np.random.default_rng(seed)
    n = 60
    score = rng.integers(0, 15, n) / 15
    defective = rng.random(n) < 0.5
    weights = rng.integers(1, 3, (4, n))
    good = rng.random(rng.integers(99, 400))
    got = alarms(score, defective, good, weights)
    for name, share in (('fa5', 0.05), ('fa1', 0.01)):
        allowed = [t for t in good if (1 + (good > t).sum()) / (len(good) + 1) <= share]
        for row, recall, false in zip(weights, got[f'recall@{name}'], got[f'falsealarms@{name}']):
            literal, truth = np.repeat(score, row), np.repeat(defective, row)
            assert recall == pytest.approx(100 * (literal[truth] > min(allowed)).mean())
            assert false == pytest.approx(100 * (literal[~truth] > min(allowed)).mean())


@pytest.mark.parametrize('count', [19, 20, 38, 39, 60])
def test_new_images_raise_no_more_false_alarms_than_the_threshold_is_for(count):
    rng = np.random.default_rng(0)
    draws = rng.random((4000, count))  # of new images, t lie above a threshold of 1 - t
    shares = [1 - alarm_threshold(good, 20) for good in draws]
    assert np.mean(shares) <= 0.05 + 3 * np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) > 0.02


def test_alarms_take_enough_defect_free_validation_images():
    score, defective = np.array([0.2, 0.9, 0.6]), np.array([False, True, True])
    good = np.linspace(0, 0.7, 99)
    assert alarms(score, defective, good[:18]) == {}
    assert set(alarms(score, defective, good[:98])) == {'recall@fa5', 'falsealarms@fa5'}
    found = alarms(score, defective, good)
    assert found['recall@fa1'] == 50 and found['falsealarms@fa1'] == 0
    assert set(alarms(score[1:], defective[1:], good)) == {'recall@fa5', 'recall@fa1'}


def test_evidence_without_validation_scores_can_be_read(tmp_path):
    evidence = SegmentationEvidence(
        ['a'], ['a'], np.ones((1, 2, 2), np.int64), np.ones(1), np.ones(1, bool)
    )
    evidence.save(tmp_path / 'evidence.npz')
    with np.load(tmp_path / 'evidence.npz') as file:
        content = {name: file[name] for name in file if name != 'good_scores'}
    np.savez(tmp_path / 'evidence.npz', **content)
    assert load_evidence(tmp_path / 'evidence.npz').good_scores.shape == (0,)


def test_topk_counts_and_weights():
    scores = np.array([[0.4, 0.4, 0.2, 0, 0, 0, 0], [0.1, 0.2, 0.3, 0.15, 0.1, 0.1, 0.05]])
    evidence = ClassificationEvidence(['a', 'b'], ['a', 'b'], np.array([1, 3]), scores)
    # Image a: its class ties with the first one and comes second. Image b: third.
    assert evidence.metrics(list('abcdefg')) == {'top1': 0.0, 'top5': 100.0}
    evidence.labels = np.array([0, 6])
    assert evidence.metrics(list('abcdefg'), np.array([3, 1])) == {'top1': 75.0, 'top5': 75.0}
    assert evidence.per_image_score().tolist() == [0.4, 0.05]


def test_evidence_survives_the_disk(tmp_path):
    dataset, results = random_coco(np.random.default_rng(1))
    evidence = detection_evidence(dataset, results)
    evidence.save(tmp_path / 'evidence.npz')
    again = load_evidence(tmp_path / 'evidence.npz')
    assert again.metrics(list(CATEGORIES)) == evidence.metrics(list(CATEGORIES))
    assert (again.images, again.groups) == (evidence.images, evidence.groups)
    assert [p.name for p in tmp_path.iterdir()] == ['evidence.npz']
    np.savez(tmp_path / 'other.npz', a=1)
    with pytest.raises(ValueError, match='no evidence'):
        load_evidence(tmp_path / 'other.npz')


def test_no_detections_at_all():
    dataset, _ = random_coco(np.random.default_rng(3))
    evidence = detection_evidence(dataset, [])
    assert evidence.metrics(list(CATEGORIES))['AP'] == 0
    score = evidence.per_image_score()
    assert set(score[evidence.num_truths.any(1)]) == {0.0}
    assert set(score[~evidence.defective]) <= {1.0}


def test_the_ground_truth_of_the_caller_stays_as_it_was():
    dataset, results = random_coco(np.random.default_rng(5))
    before = [dict(a) for a in dataset['annotations']], [dict(r) for r in results]
    detection_evidence(dataset, results)
    assert before == (dataset['annotations'], results)


def test_mistakes_are_named():
    dataset, results = random_coco(np.random.default_rng(0))
    coco = coco_of(dataset)
    with pytest.raises(ValueError, match="no category 'scratches'; did you mean 'scratch'"):
        DetectionEvidence.from_coco(coco, results, {}, ['scratches'])
    with pytest.raises(ValueError, match=r"8 images have no group, '0\.jpg' first"):
        DetectionEvidence.from_coco(coco, results, {}, list(CATEGORIES))
    wrong = [results[0] | {'image_id': 99}]
    with pytest.raises(ValueError, match='names image 99'):
        DetectionEvidence.from_coco(coco, wrong, {}, list(CATEGORIES))
    with pytest.raises(ValueError, match='2 entries for 1 images'):
        ClassificationEvidence(['a'], ['a'], np.array([0, 1]), np.ones((1, 2)))
    with pytest.raises(ValueError, match='scores of ClassificationEvidence contains NaN'):
        ClassificationEvidence(['a'], ['a'], np.array([0]), np.array([[np.nan, 1]]))
    with pytest.raises(ValueError, match='label 2 outside 0 to 1'):
        ClassificationEvidence(['a'], ['a'], np.array([2]), np.ones((1, 2)))
    with pytest.raises(ValueError, match="'a' occurs more than once"):
        ClassificationEvidence(['a', 'a'], ['a', 'b'], np.array([0, 0]), np.ones((2, 2)))
    evidence = ClassificationEvidence(['a'], ['a'], np.array([0]), np.ones((1, 2)))
    with pytest.raises(ValueError, match='3 class names for evidence of 2 classes'):
        evidence.metrics(['a', 'b', 'c'])


def test_a_thousand_resamples_of_a_test_set_cost_seconds():
    rng = np.random.default_rng(0)
    n, m = 360, 360 * 60  # NEU-DET's test split, sixty detections an image
    image = np.sort(rng.integers(0, n, m))
    evidence = DetectionEvidence(
        images=[str(i) for i in range(n)],
        groups=[str(i // 2) for i in range(n)],
        image=image,
        category=rng.integers(0, 6, m),
        score=rng.random(m),
        matched=np.repeat(rng.random((m, 1)) < 0.04, 10, axis=1),
        ignored=np.zeros((m, 10), bool),
        num_truths=rng.integers(0, 2, (n, 6)),
        defect_score=np.ones(n),
        defective=np.ones(n, bool),
    )
    weights = rng.multinomial(n, np.full(n, 1 / n), 1000)
    start = time.process_time()
    evidence.resampled(list('abcdef'), weights)
    assert time.process_time() - start < 20
