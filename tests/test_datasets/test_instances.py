import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mkbackbones.datasets import DatasetError, Instance, Record
from mkbackbones.datasets.instances import apply_rule, components, instances_to_seg_map

seg_maps = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 1, 3, 255]))
)


@given(seg_maps)
def test_components_cover_the_class_map_without_overlap(seg_map):
    instances, dropped = components(seg_map, min_area=1)
    assert dropped == 0
    cover = np.zeros(seg_map.shape, int)
    for item in instances:
        x, y, width, height = item.bbox
        cover[y : y + height, x : x + width] += item.mask
    assert np.array_equal(cover > 0, (seg_map > 0) & (seg_map != 255)) and cover.max() <= 1
    drawn = instances_to_seg_map(instances, seg_map.shape)
    assert np.array_equal(drawn, np.where(seg_map == 255, 0, seg_map))


def test_components():
    seg_map = np.zeros((12, 12), np.uint8)
    seg_map[0:3, 0:3], seg_map[3:6, 3:6], seg_map[3:6, 0:3], seg_map[9, 9] = 3, 3, 1, 3
    instances, dropped = components(seg_map)
    assert [(item.label, item.bbox) for item in instances] == [(0, (0, 3, 3, 3)), (2, (0, 0, 6, 6))]
    assert dropped == 1


def square(label, low, high, **kwargs):
    mask = np.zeros((10, 10), bool)
    mask[low:high, low:high] = True
    return Instance.from_mask(label, mask, **kwargs)


def test_the_smaller_mask_is_on_top_and_the_uncertain_is_ignored():
    drawn = instances_to_seg_map(
        [square(0, 4, 5), square(1, 3, 6), square(2, 2, 7, crowd=True), Instance(0, (0, 0, 3, 1))],
        (10, 10),
    )
    assert drawn[4, 4] == 1 and drawn[3, 3] == 2 and drawn[2, 2] == 255
    assert drawn[0].tolist() == [255] * 3 + [0] * 7 and drawn[8, 8] == 0


def record(seg_map=None):
    instances = [square(0, 0, 3), square(0, 3, 6), square(0, 7, 8)]
    fixes = ['component below 99 pixels left out of the instances: a', 'box clipped: b']
    return Record(None, 'a.png', b'', 10, 10, instances, seg_map, fixes=fixes)


def test_rules():
    original = record(instances_to_seg_map(record().instances, (10, 10)))
    assert apply_rule(original, 'source') is original
    joined = apply_rule(original, 'components', min_area=2)
    assert [item.bbox for item in joined.instances] == [(0, 0, 6, 6)]
    assert joined.fixes == ['box clipped: b'] + [
        'component below 2 pixels left out of the instances: a.png'
    ]
    (whole,) = apply_rule(original, 'class').instances
    assert whole.bbox == (0, 0, 8, 8) and whole.mask.sum() == 19
    boxes = apply_rule(original, 'boxes')
    assert boxes.seg_map is None and all(item.mask is None for item in boxes.instances)
    assert [item.bbox for item in boxes.instances] == [item.bbox for item in original.instances]


@pytest.mark.parametrize('rule', ['components', 'class'])
def test_no_masks_no_instances(rule):
    with pytest.raises(DatasetError, match=r'a.png has no mask'):
        apply_rule(record(), rule)
