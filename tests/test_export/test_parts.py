"""The parts of exported graphs against what they stand in for."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mkbackbones.export.boxes import Suppression, pick
from mkbackbones.export.check import Agreement, check_file, compare_boxes, compare_maps
from mkbackbones.export.places import sine_encoding
from mkbackbones.export.preparation import Preparation, read_pipeline, resized_size
from mkbackbones.export.program import ExportError
from mkbackbones.export.stand_ins import (
    AdaptivePool,
    DeformableAttention,
    Enlarged,
    put_stand_ins,
)
from mkbackbones.export.two_stage import Pooling, pasted
from mkbackbones.predict import Instance, Outcome, Prediction

SIDES = st.integers(1, 40)


@given(SIDES, SIDES, st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_pooling_to_a_size(height, width, rows, columns):
    maps = torch.rand(2, 3, height, width)
    wanted = nn.AdaptiveAvgPool2d((rows, columns))(maps)
    torch.testing.assert_close(AdaptivePool((rows, columns))(maps), wanted, rtol=1e-4, atol=1e-5)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 2000), st.integers(1, 2000))
@settings(max_examples=200, deadline=None)
def test_sizes_are_those_of_mmcv(width, height, one, other):
    from mmcv.image import rescale_size

    found = resized_size(dict(scale=[one, other], keep_ratio=True), width, height)
    assert found == rescale_size((width, height), (one, other))


@given(SIDES, SIDES, st.integers(2, 4), st.sampled_from(['nearest', 'bilinear']))
@settings(max_examples=30, deadline=None)
def test_enlarging_by_a_factor(height, width, factor, mode):
    from mmseg.models.utils import Upsample

    maps = torch.rand(1, 2, height, width)
    upsample = Upsample(scale_factor=factor, mode=mode)
    model = nn.Sequential(upsample)
    put_stand_ins(model)
    assert isinstance(model[0], Enlarged)
    torch.testing.assert_close(model(maps), upsample(maps))


@given(SIDES, SIDES, st.booleans())
@settings(max_examples=30, deadline=None)
def test_places_are_encoded_as_mmdet_does(height, width, normalize):
    from mmdet.models.layers import SinePositionalEncoding

    encoding = SinePositionalEncoding(4, temperature=20, normalize=normalize)
    wanted = encoding(torch.zeros(1, height, width, dtype=torch.bool))[0]
    found = sine_encoding(encoding, height, width)
    torch.testing.assert_close(found, wanted.flatten(1).T, rtol=1e-4, atol=1e-5)


def test_deformable_attention_is_that_of_mmcv():
    from mmcv.ops import MultiScaleDeformableAttention

    torch.manual_seed(0)
    attention = MultiScaleDeformableAttention(16, 4, 2, 3, batch_first=True).eval()
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.5)
    shapes = [(5, 7), (3, 4)]
    value, query, where = torch.rand(2, 47, 16), torch.rand(2, 9, 16), torch.rand(2, 9, 16)
    for kind in (2, 4):
        points = torch.rand(2, 9, 2, kind)
        given = dict(value=value, query_pos=where, reference_points=points)
        wanted = attention(query, **given, spatial_shapes=torch.tensor(shapes))
        found = DeformableAttention(attention)(query, **given, spatial_shapes=shapes)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def random_boxes(*shape):
    corner = torch.rand(*shape, 2) * 60
    return torch.cat([corner, corner + torch.rand(*shape, 2) * 40 + 1], -1)


@pytest.mark.parametrize('by_label', [False, True])
def test_suppression_is_that_of_mmcv(by_label):
    from mmcv.ops import batched_nms

    torch.manual_seed(0)
    boxes, scores = random_boxes(3, 60), torch.rand(3, 60)
    labels = torch.randint(0, 3, (3, 60))
    scores[1, 5:] = -1  # an image with few boxes
    scores[2] = -1  # and one with none
    found = pick(boxes, scores, labels, Suppression(0.4, by_label, 12))
    for i in range(3):
        there = scores[i] > 0
        cfg = dict(type='nms', iou_threshold=0.4, class_agnostic=not by_label)
        kept = torch.zeros(0, 5)
        if there.any():
            kept, index = batched_nms(boxes[i][there], scores[i][there], labels[i][there], cfg)
            wanted = labels[i][there][index][:12]
            assert found.labels[i, : len(wanted)].tolist() == wanted.tolist()
        number = min(len(kept), 12)
        torch.testing.assert_close(found.boxes[i, :number], kept[:number, :4])
        torch.testing.assert_close(found.scores[i, :number], kept[:number, 4])
        assert (found.labels[i, number:] == -1).all()
        assert not found.boxes[i, number:].any()


def test_regions_are_pooled_as_mmdet_does():
    from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor

    torch.manual_seed(0)
    layer = dict(type='RoIAlign', output_size=3, sampling_ratio=0)
    extractor = SingleRoIExtractor(layer, 4, [4, 8, 16])
    maps = [torch.rand(2, 4, 128 // stride, 128 // stride) for stride in (4, 8, 16)]
    corners = torch.rand(20, 2) * 90
    boxes = torch.cat([corners, corners + torch.rand(20, 2) * 300], 1)
    regions = torch.cat([torch.randint(0, 2, (20, 1)).float(), boxes], 1)
    torch.testing.assert_close(Pooling(extractor)(maps, regions), extractor(maps, regions))
    extractor.roi_layers[0].pool_mode = 'max'
    with pytest.raises(ExportError, match="pool_mode='max'"):
        Pooling(extractor)


def test_masks_are_pasted_as_mmdet_does():
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    torch.manual_seed(0)
    values, boxes = torch.rand(1, 9, 14, 14), random_boxes(1, 9)
    wanted, _ = _do_paste_mask(values[0][:, None], boxes[0], 90, 75, skip_empty=False)
    torch.testing.assert_close(pasted(values, boxes, (90, 75))[0], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('size', [(31, 40), (64, 64)])
def test_pictures_are_prepared_as_mmdet_and_mmseg_do(size):
    from mmdet.models.data_preprocessors import DetDataPreprocessor
    from mmseg.models.data_preprocessor import SegDataPreProcessor

    pictures = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8)
    norm = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], bgr_to_rgb=True)
    data = dict(inputs=[each.permute(2, 0, 1) for each in pictures], data_samples=None)
    for preprocessor in (
        DetDataPreprocessor(**norm, pad_size_divisor=32, pad_value=7),
        DetDataPreprocessor(**norm),
        DetDataPreprocessor(),
        SegDataPreProcessor(**norm, size_divisor=16),
    ):
        wanted = preprocessor(dict(data))['inputs']
        torch.testing.assert_close(Preparation(preprocessor)(pictures), wanted)
    from mmseg.structures import SegDataSample

    for rule in (dict(size_divisor=32), dict(size=(50, 80))):
        preprocessor = SegDataPreProcessor(**norm, size_divisor=16, pad_val=9, test_cfg=rule)
        samples = [SegDataSample(), SegDataSample()]
        wanted = preprocessor(dict(data, data_samples=samples))['inputs']
        torch.testing.assert_close(Preparation(preprocessor)(pictures), wanted)


@pytest.mark.parametrize('value', [7, 7.0, dict(img=7, seg=255), dict(img=(7, 7, 7))])
def test_padding_is_read_however_it_is_written(value):
    _, padding = read_pipeline([dict(type='Pad', size=(40, 30), pad_val=value)])
    assert padding == dict(fixed=(30, 40), fixed_value=7.0)


def found_boxes(boxes, scores, labels):
    return dict(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.array(scores, np.float32),
        labels=np.array(labels),
        score=np.float32(max(scores, default=0)),
    )


def wanted_boxes(boxes, scores, labels):
    instances = tuple(
        Instance(label, 'x', score, (b[0], b[1], b[2] - b[0], b[3] - b[1]))
        for b, score, label in zip(boxes, scores, labels)
    )
    return Prediction(None, 100, 100, max(scores, default=0.0), instances)


BOX, OTHER = (10, 10, 50, 50), (60, 60, 90, 95)


@pytest.mark.parametrize(
    'boxes, scores, labels, message',
    [
        ([BOX, OTHER], [0.9, 0.5], [0, 1], None),
        ([OTHER, BOX], [0.5, 0.9], [1, 0], None),
        ([BOX, OTHER, (0, 0, 5, 5)], [0.9, 0.5, 0.0], [0, 1, -1], None),
        ([BOX, OTHER, BOX], [0.9, 0.5, 0.0505], [0, 1, 1], None),  # next to the least score
        ([BOX, OTHER], [0.9, 0.5], [0, 0], 'a box of class 1 with score 0.500'),
        ([BOX, OTHER], [0.9, 0.498], [0, 1], 'with score 0.500'),
        ([BOX, OTHER], [0.902, 0.5], [0, 1], 'a score is 0.9020'),
        ([(10, 10, 50, 51), OTHER], [0.9, 0.5], [0, 1], 'with score 0.900'),
        ([BOX], [0.9], [0], 'with score 0.500'),
        ([BOX, OTHER, (0, 0, 5, 5)], [0.9, 0.5, 0.3], [0, 1, 0], 'with score 0.300 that the model'),
    ],
)
def test_which_boxes_are_the_same(boxes, scores, labels, message):
    # Room for more, so that none was left out for want of it.
    found = found_boxes([*boxes, BOX, BOX], [*scores, 0.0, 0.0], [*labels, -1, -1])
    wanted = wanted_boxes([BOX, OTHER], [0.9, 0.5], [0, 1])
    agreement = Agreement()
    if message is None:
        compare_boxes(found, wanted, agreement, 'picture 1', 0.05)
        assert agreement.boxes == 2
    else:
        with pytest.raises(ExportError, match=message):
            compare_boxes(found, wanted, agreement, 'picture 1', 0.05)


#: Two of one score, and what the second of them suppresses.
FIRST, SECOND, THIRD = (10, 10, 50, 50), (10, 20, 50, 60), (10, 38, 50, 62)


@pytest.mark.parametrize(
    'boxes, scores, labels, message',
    [
        ([SECOND], [0.9], [0], None),
        ([SECOND], [0.9002], [0], 'with score 0.900'),  # another score
        ([SECOND], [0.9], [1], 'a box of class 0'),
        ([OTHER], [0.9], [0], 'with score 0.900'),  # does not overlap
        ([(10, 10, 51, 51)], [0.9], [0], 'with score 0.900'),  # the same, computed wrongly
        ([SECOND, OTHER], [0.9, 0.6], [0, 0], 'the file finds a box with score 0.600'),
    ],
)
def test_which_of_two_equal_scores_comes_first_may_differ(boxes, scores, labels, message):
    # What the first does not suppress is there beside it, and gone beside the second.
    wanted = wanted_boxes([FIRST, THIRD], [0.9, 0.7], [0, 0])
    found = found_boxes([*boxes, BOX, BOX], [*scores, 0.0, 0.0], [*labels, -1, -1])
    agreement = Agreement()
    if message is None:
        compare_boxes(found, wanted, agreement, 'picture 1', 0.05)
        assert agreement.tied == {'picture 1'} and 'picture 1 left out' in str(agreement)
    else:
        with pytest.raises(ExportError, match=message):
            compare_boxes(found, wanted, agreement, 'picture 1', 0.05)


def test_equal_scores_do_not_explain_many_pictures():
    outcomes = [Outcome(wanted_boxes([FIRST], [0.9], [0]), np.zeros((80, 80, 3)))] * 3

    class Moved:
        runner = 'a test'

        def __call__(self, pictures):
            found = found_boxes([SECOND, BOX], [0.9, 0.0], [0, -1])
            return {name: np.stack([value] * len(pictures)) for name, value in found.items()}

    with pytest.raises(ExportError, match='in 3 of 3 pictures'):
        check_file(Moved(), outcomes)
    assert check_file(Moved(), outcomes[:1]).tied == {'picture 1 of 1'}


def test_what_was_compared_is_told():
    boxes, nothing = Agreement(pictures=1), Agreement(pictures=1)
    args = [BOX], [0.9], [0]
    compare_boxes(found_boxes(*args), wanted_boxes(*args), boxes, 'picture 1', 0.05)
    assert '1 boxes' in str(boxes) and 'pixel' not in str(boxes)
    none = found_boxes([BOX], [0.0], [-1]), wanted_boxes([], [], [])
    compare_boxes(*none, nothing, 'picture 1', 0.05)
    assert 'no boxes, as none was found' in str(nothing) and 'pixel' not in str(nothing)


def test_which_class_maps_are_the_same():
    class_map = np.zeros((100, 200), np.uint8)
    wanted = Prediction(None, 200, 100, 0.5, (), class_map, (1.0, 0.5))
    found = dict(class_map=class_map.copy(), scores=np.ones((100, 200)), score=np.float32(0.5))
    found['class_scores'] = np.array([1.0, 0.5])
    found['class_map'][0, 0] = 1
    agreement = Agreement()
    compare_maps(found, wanted, agreement, 'picture 1')
    assert agreement.pixels == 1 - 1 / 20000
    assert '99.9950% of pixels equal' in str(agreement)
    found['class_map'][0, :3] = 1
    with pytest.raises(ExportError, match='have another class'):
        compare_maps(found, wanted, agreement, 'picture 1')
    found['class_map'] = class_map[:, :-1]
    with pytest.raises(ExportError, match='a class map of'):
        compare_maps(found, wanted, agreement, 'picture 1')
    found.update(class_map=class_map, class_scores=np.array([1.0, 0.6]))
    with pytest.raises(ExportError, match=r'a score is 0\.6000 in the file and 0\.5000'):
        compare_maps(found, wanted, agreement, 'picture 1')
