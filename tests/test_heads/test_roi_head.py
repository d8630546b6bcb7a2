"""BatchedRoIHead against mmdet's StandardRoIHead."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

pytest.importorskip('mmdet')

from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks

from mkbackbones.registry import MODELS

STRIDES = [8, 16]
SIZE = 64
CLASSES = 3
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
EVERYTHING = 10**6


def config(kind, mask, num=EVERYTHING, pos_weight=-1, reg_class_agnostic=False, **assigner):
    rule = dict(
        type='MaxIoUAssigner',
        pos_iou_thr=0.5,
        neg_iou_thr=0.5,
        min_pos_iou=0.5,
        match_low_quality=False,
        ignore_iof_thr=-1,
    )
    extractor = dict(
        type='SingleRoIExtractor',
        out_channels=4,
        featmap_strides=STRIDES,
        roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0),
    )
    head = dict(
        type=kind,
        bbox_roi_extractor=extractor,
        bbox_head=dict(
            type='Shared2FCBBoxHead',
            in_channels=4,
            fc_out_channels=8,
            num_classes=CLASSES,
            reg_class_agnostic=reg_class_agnostic,
            bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2]),
            loss_bbox=dict(type='L1Loss', loss_weight=1.0),
        ),
        train_cfg=ConfigDict(
            assigner=dict(rule, **assigner),
            sampler=dict(
                type='RandomSampler',
                num=num,
                pos_fraction=1.0 if num == EVERYTHING else 0.25,
                neg_pos_ub=-1,
                add_gt_as_proposals=True,
            ),
            mask_size=14,
            pos_weight=pos_weight,
            debug=False,
        ),
        test_cfg=ConfigDict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=10),
    )
    if mask:
        head['mask_roi_extractor'] = extractor
        head['mask_head'] = dict(
            type='FCNMaskHead',
            num_convs=1,
            in_channels=4,
            conv_out_channels=4,
            num_classes=CLASSES,
        )
    return head


@cache
def pair(mask=False, **options):
    """Upstream's head and ours with the same weights."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        heads = [
            MODELS.build(config(kind, mask, **options)).to(DEVICE)
            for kind in ('mmdet.StandardRoIHead', 'mkbackbones.BatchedRoIHead')
        ]
    with torch.no_grad():
        for parameter in heads[0].parameters():
            parameter.normal_(0, 0.2)
    heads[1].load_state_dict(heads[0].state_dict())
    return heads


def boxes(count, rng):
    corner = torch.rand(count, 2, generator=rng) * SIZE * 0.6
    size = torch.rand(count, 2, generator=rng) * SIZE * 0.3 + 4
    return torch.cat((corner, corner + size), 1)


def batch(counts, proposals, seed):
    """Maps, proposals (some of them near the truth) and samples of images."""
    rng = torch.Generator().manual_seed(seed)
    feats = [torch.randn(len(counts), 4, SIZE // s, SIZE // s, generator=rng) for s in STRIDES]
    found, samples = [], []
    for count, number in zip(counts, proposals):
        truth = boxes(count, rng)
        near = truth + torch.rand(count, 4, generator=rng)
        found.append(InstanceData(bboxes=torch.cat((near, boxes(number, rng)))))
        masks = np.zeros((count, SIZE, SIZE), np.uint8)
        for mask, box in zip(masks, truth.int().tolist()):
            mask[box[1] : box[3] + 1, box[0] : box[2] + 1] = 1
        sample = DetDataSample()
        sample.gt_instances = InstanceData(
            bboxes=truth,
            labels=torch.randint(CLASSES, (count,), generator=rng),
            masks=BitmapMasks(masks, SIZE, SIZE),
        )
        samples.append(sample)
    return (
        [feat.to(DEVICE) for feat in feats],
        [each.to(DEVICE) for each in found],
        [each.to(DEVICE) for each in samples],
    )


def losses_of(head, feats, found, samples):
    feats = [feat.clone().requires_grad_() for feat in feats]
    found = [InstanceData(bboxes=each.bboxes.clone()) for each in found]
    losses = head.loss(feats, found, samples)
    total = sum(value for name, value in losses.items() if 'loss' in name)
    gradients = torch.autograd.grad(total, [*feats, *head.parameters()], allow_unused=True)
    return losses, gradients


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 12)), min_size=1, max_size=4),
    st.integers(0, 2**31),
    st.booleans(),
    st.sampled_from([-1, 2.0]),
    st.booleans(),
)
def test_losses_and_gradients_are_upstreams(sizes, seed, mask, pos_weight, agnostic):
    """All regions drawn, so that nothing depends on the draw."""
    counts, proposals = zip(*sizes)
    if not any(counts):  # upstream's own losses are of nothing then
        counts = (1, *counts[1:])
    theirs, ours = pair(mask, pos_weight=pos_weight, reg_class_agnostic=agnostic)
    assert ours.has_known_targets()
    data = batch(counts, proposals, seed)
    found, found_grads = losses_of(ours, *data)
    expected, expected_grads = losses_of(theirs, *data)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
    for a, b in zip(found_grads, expected_grads):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_images_without_truth_or_without_proposals():
    for head in pair(mask=True):
        losses, _ = losses_of(head, *batch([0, 2], [5, 0], 0))
        assert all(torch.isfinite(value).all() for value in losses.values())


def test_as_many_are_drawn_as_upstream_draws():
    theirs, ours = pair(num=8)
    _, found, samples = batch([3, 0, 1], [20, 20, 2], 0)
    truths = [sample.gt_instances for sample in samples]
    drawn = ours.draw([each.bboxes for each in found], truths)
    for image, (result, proposals, truth) in enumerate(zip(drawn.results, found, truths)):
        assigned = theirs.bbox_assigner.assign(InstanceData(priors=proposals.bboxes), truth)
        wanted = theirs.bbox_sampler.sample(assigned, InstanceData(priors=proposals.bboxes), truth)
        assert len(result.pos_priors) == len(wanted.pos_priors)
        assert len(result.neg_priors) == len(wanted.neg_priors)
        mine = drawn.rois[drawn.rois[:, 0] == image, 1:]
        assert mine.equal(torch.cat((result.pos_priors, result.neg_priors)))
        assert result.pos_gt_bboxes.equal(truth.bboxes[result.pos_assigned_gt_inds])
        assert result.pos_gt_labels.equal(truth.labels[result.pos_assigned_gt_inds])


def get_targets(self, *args, **kwargs):
    """A box head's own way to its targets."""
    return BBoxHead.get_targets(self, *args, **kwargs)


@pytest.mark.parametrize('change', ['assigner', 'sampler', 'head', 'ignored'])
def test_what_it_does_not_know_upstream_does(change, monkeypatch):
    heads = pair.__wrapped__(ignore_iof_thr=0.5 if change == 'ignored' else -1)
    data = batch([2, 1], [6, 6], 3)
    for head in heads:
        if change == 'assigner':
            head.bbox_assigner.gt_max_assign_all = False
        elif change == 'sampler':
            kind = type('Other', (type(head.bbox_sampler),), {})
            head.bbox_sampler = kind(EVERYTHING, 1.0)
        elif change == 'head':
            other = type('Other', (type(head.bbox_head),), dict(get_targets=get_targets))
            head.bbox_head.__class__ = other
    if change == 'ignored':
        for sample in data[2]:
            sample.ignored_instances = InstanceData(
                bboxes=torch.tensor([[0.0, 0, 50, 50]], device=DEVICE)
            )
    theirs, ours = heads
    monkeypatch.setattr(type(ours), 'draw', None)
    found, _ = losses_of(ours, *data)
    expected, _ = losses_of(theirs, *data)
    torch.testing.assert_close(found, expected)
