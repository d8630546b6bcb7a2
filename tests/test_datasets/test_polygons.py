import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from mkbackbones.datasets.polygons import mask_to_polygons


def draw(polygons, shape):
    rles = coco_mask.frPyObjects(polygons, *shape)
    return coco_mask.decode(coco_mask.merge(rles)).astype(bool)


shapes = st.tuples(st.integers(1, 14), st.integers(1, 14))


@given(shapes.flatmap(lambda shape: arrays(bool, shape)))
@settings(max_examples=300, deadline=None)
def test_pycocotools_draws_the_mask_back(mask):
    polygons = mask_to_polygons(mask)
    if mask.any():
        assert np.array_equal(draw(polygons, mask.shape), mask)
    else:
        assert polygons == []


def test_one_polygon_a_component_without_holes():
    mask = np.zeros((20, 20), bool)
    mask[2:5, 2:9] = mask[5:8, 9:12] = True  # touch at a corner: one component
    mask[15, 1:18] = True
    assert len(mask_to_polygons(mask)) == 2
    (line,) = mask_to_polygons(mask[14:17])
    corners = set(zip(line[::2], line[1::2]))
    assert len(line) == 8 and corners == {(1, 1), (1, 2), (18, 2), (18, 1)}


@pytest.mark.parametrize('holes', [1, 3])
def test_holes_stay_open(holes):
    mask = np.ones((9, 4 * holes + 3), bool)
    mask[3:6, 2::4] = False
    polygons = mask_to_polygons(mask)
    assert len(polygons) > 1
    assert np.array_equal(draw(polygons, mask.shape), mask)
