"""BatchedRPNHead against mmdet's RPNHead."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

pytest.importorskip('mmdet')

from mmengine.registry import DefaultScope

from mkbackbones.heads import assign, rpn_head
from mkbackbones.heads.assign import BACKGROUND, IGNORED, sample
from mkbackbones.registry import MODELS

STRIDES = [8, 16, 32]
SIZE = 96
EVERYTHING = 10**6
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'


def config(kind, num=EVERYTHING, pos_fraction=1.0, **assigner):
    rule = dict(
        type='MaxIoUAssigner',
        pos_iou_thr=0.7,
        neg_iou_thr=0.3,
        min_pos_iou=0.3,
        match_low_quality=True,
        ignore_iof_thr=-1,
    )
    return dict(
        type=kind,
        in_channels=8,
        feat_channels=8,
        anchor_generator=dict(
            type='AnchorGenerator', scales=[2, 4], ratios=[0.5, 1.0, 2.0], strides=STRIDES
        ),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(type='L1Loss', loss_weight=1.0),
        train_cfg=ConfigDict(
            assigner=dict(rule, **assigner),
            sampler=dict(
                type='RandomSampler',
                num=num,
                pos_fraction=pos_fraction,
                neg_pos_ub=-1,
                add_gt_as_proposals=False,
            ),
            allowed_border=-1,
            pos_weight=-1,
            debug=False,
        ),
        test_cfg=ConfigDict(
            nms_pre=50, max_per_img=30, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0
        ),
    )


def pair(**kwargs):
    """Upstream's head and ours with the same weights."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        heads = [
            MODELS.build(config(kind, **kwargs)).to(DEVICE)
            for kind in ('mmdet.RPNHead', 'mkbackbones.BatchedRPNHead')
        ]
    with torch.no_grad():
        for parameter in heads[0].parameters():
            parameter.normal_(0, 0.3)
    heads[1].load_state_dict(heads[0].state_dict())
    return heads


kept_pair = cache(pair)  # for tests that change nothing of them


def truths(counts, seed):
    rng = torch.Generator().manual_seed(seed)
    found = []
    for count in counts:
        corner = torch.rand(count, 2, generator=rng) * SIZE * 0.7
        size = torch.rand(count, 2, generator=rng) * SIZE * 0.5 + 1
        boxes = torch.cat((corner, corner + size), 1).to(DEVICE)
        labels = torch.zeros(count, dtype=torch.long, device=DEVICE)
        found.append(InstanceData(bboxes=boxes, labels=labels))
    return found


def metas(pads):
    return [dict(img_shape=(pad - 3, pad - 1), pad_shape=(pad, pad)) for pad in pads]


def maps(number, seed):
    rng = torch.Generator().manual_seed(seed)
    found = [torch.randn(number, 8, SIZE // s, SIZE // s, generator=rng) for s in STRIDES]
    return [feat.to(DEVICE) for feat in found]


def losses_of(head, feats, gts, infos):
    feats = [feat.clone().requires_grad_() for feat in feats]
    losses = head.loss_by_feat(*head(feats), gts, infos)
    total = sum(value for each in losses.values() for value in each)
    gradients = torch.autograd.grad(total, [*feats, *head.parameters()])
    return losses, gradients


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=4),
    st.integers(0, 2**31),
    st.sampled_from([64, 80, SIZE]),
    st.sampled_from([0.0, 0.3]),
    st.booleans(),
    st.sampled_from([0.3, (0.05, 0.3)]),
    st.sampled_from([1, 2**24]),
)
def test_losses_and_gradients_are_upstreams(
    counts, seed, pad, min_pos_iou, low_quality, neg_iou_thr, together
):
    """All anchors drawn, so that nothing depends on the draw."""
    theirs, ours = kept_pair(
        min_pos_iou=min_pos_iou, match_low_quality=low_quality, neg_iou_thr=neg_iou_thr
    )
    gts, feats = truths(counts, seed), maps(len(counts), seed)
    infos = metas([pad] + [SIZE] * (len(counts) - 1))
    assert ours.has_known_targets()
    most, assign.MOST_OVERLAPS = assign.MOST_OVERLAPS, together
    try:
        found, found_grads = losses_of(ours, feats, gts, infos)
    finally:
        assign.MOST_OVERLAPS = most
    expected, expected_grads = losses_of(theirs, feats, gts, infos)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values)
    torch.testing.assert_close(found_grads, expected_grads)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(0, 2**31), st.sampled_from([-1, 0, 8]), st.booleans())
def test_proposals_are_upstreams(number, seed, min_bbox_size, training_cfg):
    theirs, ours = kept_pair()
    feats = maps(number, seed)
    cfg = ConfigDict(
        nms_pre=40 if training_cfg else 10**6,
        max_per_img=20,
        nms=dict(type='nms', iou_threshold=0.5),
        min_bbox_size=min_bbox_size,
    )
    infos = metas([64 + 8 * i for i in range(number)])
    with torch.no_grad():
        outs = theirs(feats)
    expected = theirs.predict_by_feat(*outs, batch_img_metas=infos, cfg=cfg)
    for a, b in zip(ours.predict_by_feat(*outs, batch_img_metas=infos, cfg=cfg), expected):
        assert len(a) and a.labels.equal(b.labels)
        torch.testing.assert_close(a.scores, b.scores)
        torch.testing.assert_close(a.bboxes, b.bboxes)


def test_no_box_is_large_enough():
    _, ours = pair()
    with torch.no_grad():
        outs = ours(maps(2, 0))
    cfg = ConfigDict(ours.test_cfg, min_bbox_size=10**4)
    for each in ours.predict_by_feat(*outs, batch_img_metas=metas([SIZE] * 2), cfg=cfg):
        assert each.bboxes.shape == (0, 4) and len(each.scores) == len(each.labels) == 0


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([-1, 0, 0, 1, 2]), min_size=12, max_size=12), min_size=1),
    st.integers(1, 20),
    st.sampled_from([0.25, 0.5, 1.0]),
    st.sampled_from([-1, 0, 1, 3]),
)
def test_as_many_are_drawn_as_upstream_draws(rows, num, pos_fraction, neg_pos_ub):
    assigned = torch.tensor(rows)
    pos, is_pos, neg, is_neg = sample(assigned, num, pos_fraction, neg_pos_ub)
    for row, p, has_p, n, has_n in zip(assigned, pos, is_pos, neg, is_neg):
        p, n = p[has_p], n[has_n]
        assert (row[p] > BACKGROUND).all() and (row[n] == BACKGROUND).all()
        assert p.unique().numel() == p.numel() and n.unique().numel() == n.numel()
        want_pos = min(int(num * pos_fraction), int((row > BACKGROUND).sum()))
        want_neg = num - want_pos
        if neg_pos_ub >= 0:
            want_neg = min(want_neg, neg_pos_ub * max(1, want_pos))
        assert p.numel() == want_pos
        assert n.numel() == min(want_neg, int((row == BACKGROUND).sum()))


def test_each_is_drawn_as_often():
    torch.manual_seed(0)
    row = torch.tensor([1] * 6 + [BACKGROUND] * 10 + [IGNORED] * 4).expand(4000, -1)
    pos, is_pos, neg, is_neg = sample(row, 8, 0.5, -1)
    assert is_pos.all() and is_neg[:, :4].all() and not is_neg[:, 4:].any()
    of_pos = torch.bincount(pos.flatten(), minlength=20)[:6] / 4000
    of_neg = torch.bincount(neg[:, :4].flatten(), minlength=20)[6:16] / 4000
    # Shares of 4/6 and 4/10; four standard errors.
    assert (of_pos - 4 / 6).abs().max() < 0.03 and (of_neg - 0.4).abs().max() < 0.031


@pytest.mark.parametrize(
    'change',
    [
        lambda head: head.assigner.__setattr__('gt_max_assign_all', False),
        lambda head: head.train_cfg.__setitem__('allowed_border', 0),
        lambda head: head.assigner.__setattr__('gpu_assign_thr', 1),
        lambda head: setattr(head, 'sampler', type('Other', (type(head.sampler),), {})(8, 0.5)),
    ],
)
def test_what_it_does_not_know_upstream_does(change, monkeypatch):
    theirs, ours = pair()
    for head in (theirs, ours):
        change(head)
    monkeypatch.setattr(type(ours), 'batch_targets', None)
    gts, feats, infos = truths([2, 3], 1), maps(2, 1), metas([SIZE] * 2)
    torch.manual_seed(0)
    found, _ = losses_of(ours, feats, gts, infos)
    torch.manual_seed(0)
    expected, _ = losses_of(theirs, feats, gts, infos)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('ignore_iof_thr', [-1, 0.5])
def test_boxes_to_ignore(ignore_iof_thr, monkeypatch):
    """Upstream asks for them where ``ignore_iof_thr`` is above 0, and so does its loop alone."""
    theirs, ours = pair(ignore_iof_thr=ignore_iof_thr)
    if ignore_iof_thr > 0:
        monkeypatch.setattr(type(ours), 'batch_targets', None)
    outs = ours(maps(2, 0))
    rest = (truths([2, 0], 0), metas([SIZE] * 2), truths([1, 3], 3))
    torch.testing.assert_close(ours.loss_by_feat(*outs, *rest), theirs.loss_by_feat(*outs, *rest))
    monkeypatch.undo()
    nothing = (*rest[:2], [None, None])
    found = ours.loss_by_feat(*outs, *nothing)
    torch.testing.assert_close(found, theirs.loss_by_feat(*outs, *nothing))


def test_coordinates_are_exact_under_autocast():
    """bfloat16 has no odd numbers from 256 on; upstream's proposals are rounded to it."""
    theirs, ours = pair()
    feats = [torch.zeros(1, 8, 1, 512 // s, device=DEVICE) for s in STRIDES]
    info = [dict(img_shape=(64, 512), pad_shape=(64, 512))]
    with torch.autocast(DEVICE, dtype=torch.bfloat16), torch.no_grad():
        outs = [[t.bfloat16() for t in level] for level in ours(feats)]
        (rounded,) = theirs.predict_by_feat(*outs, batch_img_metas=info)
        (exact,) = ours.predict_by_feat(*outs, batch_img_metas=info)
    assert exact.bboxes.dtype == torch.float32
    with torch.no_grad():
        full = theirs.float().predict_by_feat(
            *[[t.float() for t in level] for level in outs], batch_img_metas=info
        )[0]
    torch.testing.assert_close(exact.bboxes, full.bboxes)
    # Of what type upstream's are depends on the device; that they are rounded does not.
    nearest = torch.cdist(rounded.bboxes.float(), full.bboxes).min(dim=1).values
    assert nearest.max() > 0.2


def test_anchors_of_many_sizes_are_not_kept():
    _, ours = pair()
    for height in range(1, 40):
        ours.anchors([(height, 4), (2, 2), (1, 1)], torch.device('cpu'))
    assert len(ours.kept_anchors) == rpn_head.MOST_SIZES
    sizes = [(SIZE // s, SIZE // s) for s in STRIDES]
    for pad in range(1, 200):
        ours.valid_anchors(sizes, metas([SIZE, pad]), torch.device('cpu'))
    assert len(ours.kept_flags) <= rpn_head.MOST_SHAPES + 2
