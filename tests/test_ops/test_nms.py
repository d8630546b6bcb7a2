"""NMS, soft-NMS and matching against loops in exact arithmetic or straight from the papers."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mkbackbones.ops.bbox import bbox_overlaps
from mkbackbones.ops.nms import nms, nms_match, softnms

# Whole coordinates on a small grid: many boxes overlap by exactly a threshold.
box = st.tuples(*[st.integers(0, 6)] * 4).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)
boxes = st.lists(box, min_size=1, max_size=12)
threshold = st.sampled_from([Fraction(1, 3), Fraction(1, 2), Fraction(3, 5), Fraction(7, 10)])
offset = st.sampled_from([0, 1])


def iou(a, b, offset):
    """Exact IoU of two boxes of whole coordinates; 0 where neither has an area."""
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    areas = [(c[2] - c[0] + offset) * (c[3] - c[1] + offset) for c in (a, b)]
    union = sum(areas) - width * height
    return Fraction(width * height, union) if union else Fraction(0)


def random_boxes(n, device='cpu', seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=generator) * 60
    size = torch.rand(n, 2, generator=generator) * 40 + 1
    scores = torch.rand(n, generator=generator)
    return torch.cat((corner, corner + size), 1).to(device), scores.to(device)


@given(boxes, threshold, offset, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_nms_is_the_greedy_loop(boxes, threshold, offset, random):
    scores = [i / len(boxes) for i in range(len(boxes))]
    random.shuffle(scores)
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(iou(boxes[i], boxes[j], offset) <= threshold for j in kept):
            kept.append(i)
    result = nms(torch.tensor(boxes).float(), torch.tensor(scores), float(threshold), offset)
    assert result.tolist() == kept
    assert result.dtype == torch.int64


def test_nms_keeps_a_box_that_overlaps_by_exactly_the_threshold(device):
    # 3 / 5 rounds up in float32: compared with the double 0.6 the second box would go.
    boxes = torch.tensor([[0.0, 0, 5, 1], [0, 0, 3, 1]], device=device)
    assert nms(boxes, torch.tensor([0.9, 0.8], device=device), 0.6, 0).tolist() == [0, 1]
    assert nms(boxes, torch.tensor([0.9, 0.8], device=device), 0.59, 0).tolist() == [0]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_nms_takes_every_float_type(dtype, device):
    boxes, scores = random_boxes(50, device)
    boxes, scores = boxes.to(dtype), torch.linspace(0, 1, 50, device=device)
    expected = nms(boxes.double(), scores.double(), 0.5, 0)
    assert nms(boxes, scores, 0.5, 0).equal(expected)
    assert expected.device.type == device


def test_nms_of_nothing(device):
    kept = nms(torch.zeros(0, 4, device=device), torch.zeros(0, device=device), 0.5, 0)
    assert kept.shape == (0,) and kept.dtype == torch.int64 and kept.device.type == device


def test_mmcv_nms_functions(mmcv_ops, device):
    boxes, scores = random_boxes(80, device)
    dets, kept = mmcv_ops.nms(boxes, scores, 0.4, score_threshold=0.3, max_num=7)
    alone = nms(boxes[scores > 0.3], scores[scores > 0.3], 0.4, 0)[:7]
    assert kept.equal(torch.nonzero(scores > 0.3)[:, 0][alone])
    assert dets.equal(torch.cat((boxes[kept], scores[kept, None]), 1))

    labels = torch.arange(80, device=device) % 3
    dets, kept = mmcv_ops.batched_nms(boxes, scores, labels, dict(type='nms', iou_threshold=0.4))
    for label in range(3):
        of_label = torch.nonzero(labels == label)[:, 0]
        alone = of_label[nms(boxes[of_label], scores[of_label], 0.4, 0)]
        assert kept[labels[kept] == label].equal(alone)
    assert scores[kept].diff().le(0).all()


def naive_softnms(boxes, scores, threshold, sigma, min_score, method, offset):
    """The loop of Bodla et al. (2017), Figure 3, with an explicit list of remaining boxes."""
    rest = [[*b, s, i] for i, (b, s) in enumerate(zip(boxes.tolist(), scores.tolist()))]
    done = []
    while rest:
        best = max(rest, key=lambda r: r[4])
        rest.remove(best)
        done.append(best)
        for other in rest:
            width = max(0, min(best[2], other[2]) - max(best[0], other[0]) + offset)
            height = max(0, min(best[3], other[3]) - max(best[1], other[1]) + offset)
            areas = [(r[2] - r[0] + offset) * (r[3] - r[1] + offset) for r in (best, other)]
            overlap = width * height / (sum(areas) - width * height)
            if method == 'gaussian':
                other[4] *= math.exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                other[4] *= 1 - overlap if method == 'linear' else 0
        rest = [r for r in rest if r[4] >= min_score]
    return torch.tensor([r[:5] for r in done]), [r[5] for r in done]


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@given(
    n=st.integers(1, 30),
    seed=st.integers(0, 1000),
    offset=offset,
    min_score=st.sampled_from([0.0, 1e-3, 0.05, 0.3]),
)
@settings(max_examples=40, deadline=None)
def test_softnms_is_the_loop_of_the_paper(method, n, seed, offset, min_score):
    boxes, scores = random_boxes(n, seed=seed)
    flag = ['naive', 'linear', 'gaussian'].index(method)
    dets = torch.full((n, 5), -1.0)
    kept = softnms(boxes, scores, dets, 0.3, 0.5, min_score, flag, offset)
    expected, order = naive_softnms(boxes, scores, 0.3, 0.5, min_score, method, offset)
    # Boxes whose scores became 0 tie, and come in any order.
    alive = int((expected[:, 4] > 1e-6).sum())
    assert sorted(kept.tolist()) == sorted(order)
    assert kept.tolist()[:alive] == order[:alive]
    torch.testing.assert_close(dets[:alive], expected[:alive], rtol=1e-5, atol=1e-6)
    assert (dets[len(kept) :] == -1).all(), 'rows beyond the kept boxes belong to the caller'


def test_mmcv_soft_nms(mmcv_ops, device):
    boxes, scores = random_boxes(40, device)
    dets, kept = mmcv_ops.soft_nms(boxes, scores, 0.3, method='gaussian', min_score=0.05)
    expected, order = naive_softnms(boxes, scores, 0.3, 0.5, 0.05, 'gaussian', 0)
    assert kept.tolist() == order and kept.device.type == dets.device.type == device
    torch.testing.assert_close(dets.cpu(), expected, rtol=1e-5, atol=1e-6)

    of_numpy, kept = mmcv_ops.soft_nms(
        boxes.cpu().numpy(), scores.cpu().numpy(), 0.3, method='gaussian', min_score=0.05
    )
    assert isinstance(of_numpy, np.ndarray) and kept.tolist() == order


@pytest.mark.parametrize('method', [0, 1, 2])
def test_softnms_of_boxes_without_an_area(method):
    boxes = torch.tensor([[1.0, 1, 1, 5], [1, 1, 1, 5], [0, 0, 4, 4]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    dets = torch.empty(3, 5)
    assert softnms(boxes, scores, dets, 0.3, 0.5, 0.05, method, 0).tolist() == [0, 1, 2]
    assert dets.equal(torch.cat((boxes, scores[:, None]), 1))


def test_soft_nms_of_half_precision_and_of_nothing(mmcv_ops, device):
    boxes, scores = random_boxes(20, device)
    dets, _ = mmcv_ops.soft_nms(boxes.half(), scores.half(), method='linear')
    assert dets.dtype == torch.float16 and len(dets)
    dets, kept = mmcv_ops.soft_nms(boxes[:0], scores[:0])
    assert dets.shape == (0, 5) and kept.shape == (0,)


@given(boxes, threshold, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_nms_match_groups_what_nms_suppresses(boxes, threshold, random):
    scores = [i / len(boxes) for i in range(len(boxes))]
    random.shuffle(scores)
    rest = sorted(range(len(boxes)), key=lambda i: -scores[i])
    expected = []
    while rest:
        best, *rest = rest
        members = [j for j in rest if iou(boxes[best], boxes[j], 0) >= threshold]
        expected.append([best, *members])
        rest = [j for j in rest if j not in members]
    dets = torch.tensor([[*b, s] for b, s in zip(boxes, scores)])
    assert nms_match(dets, float(threshold)) == expected


def test_mmcv_nms_match(mmcv_ops, device):
    boxes, scores = random_boxes(30, device)
    groups = mmcv_ops.nms_match(torch.cat((boxes, scores[:, None]), 1), 0.3)
    assert torch.cat(groups).sort()[0].equal(torch.arange(30, device=device))
    assert all(scores[g].diff().le(0).all() for g in groups)


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('mode', ['iou', 'iof'])
def test_bbox_overlaps(mmcv_ops, mode, offset, device):
    first = torch.tensor([[0.0, 0, 4, 4], [2, 2, 6, 3], [9, 9, 10, 12]], device=device)
    second = torch.tensor([[1.0, 0, 5, 4], [2, 1, 3, 6], [0, 0, 1, 1]], device=device)

    def overlap(a, b):
        if mode == 'iou':
            return float(iou(a, b, offset))
        width = max(0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
        height = max(0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
        return width * height / ((a[2] - a[0] + offset) * (a[3] - a[1] + offset))

    rows, columns = first.int().tolist(), second.int().tolist()
    expected = torch.tensor([[overlap(a, b) for b in columns] for a in rows], device=device)
    table = mmcv_ops.bbox_overlaps(first, second, mode, offset=offset)
    torch.testing.assert_close(table, expected)
    pairs = mmcv_ops.bbox_overlaps(first, second, mode, aligned=True, offset=offset)
    torch.testing.assert_close(pairs, expected.diag())
    half = first.new_empty(3, 3, dtype=torch.float16)
    bbox_overlaps(first.half(), second.half(), half, int(mode == 'iof'), False, offset)
    torch.testing.assert_close(half.float(), expected, rtol=1e-3, atol=1e-3)
