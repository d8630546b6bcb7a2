import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from mkbackbones.datasets import DatasetError
from mkbackbones.datasets.rle import run_lengths
from mkbackbones.datasets.windows import (
    Window,
    draw_ellipse,
    draw_polygons,
    draw_runs,
    rotated_corners,
    unite,
)

HEIGHT, WIDTH = 23, 31


def whole(window, shape=(HEIGHT, WIDTH)):
    canvas = np.zeros(shape, bool)
    canvas[window.place] = window.mask
    return canvas


# Tenths are where pycocotools' fifths of a pixel are rounded.
numbers = st.one_of(st.integers(-300, 600).map(lambda tenth: tenth / 10), st.floats(-40, 80))
polygons = st.lists(
    st.lists(st.tuples(numbers, numbers), min_size=3, max_size=7), min_size=1, max_size=3
)


@given(polygons)
@settings(max_examples=300)
def test_polygons_are_drawn_as_pycocotools_does(corners):
    flat = [[float(value) for point in polygon for value in point] for polygon in corners]
    runs = coco_mask.merge(coco_mask.frPyObjects(flat, HEIGHT, WIDTH))
    assert np.array_equal(
        whole(draw_polygons(flat, (HEIGHT, WIDTH), 'a')), coco_mask.decode(runs) > 0
    )


@pytest.mark.parametrize('value', [1e8, -1e9, 400, np.inf, np.nan])
def test_corners_far_outside(value):
    with pytest.raises(DatasetError, match=r'a\.json, annotation 1: '):
        draw_polygons([[1, 1, value, 1, 9, 9]], (HEIGHT, WIDTH), 'a.json, annotation 1')


@given(st.integers(0, 2**20), st.floats(0.1, 0.9))
def test_run_lengths_of_pycocotools(seed, share):
    mask = np.random.default_rng(seed).random((HEIGHT, WIDTH)) < share
    code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    for counts in (code['counts'], code['counts'].decode()):
        assert np.array_equal(
            whole(draw_runs(run_lengths(counts, mask.shape, 'a'), mask.shape)), mask
        )


@pytest.mark.parametrize(
    'counts, message',
    [
        ('05', 'do not add up to the image: 5 pixels'),
        ('', 'do not add up to the image: 0 pixels'),
        ([5, -5, 713], 'a run length is negative'),
        ([700, 14], 'do not add up to the image: 714'),
        ([713.0], 'neither text nor numbers'),
        (713, 'neither text nor numbers'),
        ('0 é', 'no compressed run lengths'),
        ('P', 'end in the middle'),
        ('o' * 40, 'no compressed run lengths'),
    ],
)
def test_malformed_run_lengths(counts, message):
    with pytest.raises(DatasetError, match=f'a: .*{message}'):
        run_lengths(counts, (HEIGHT, WIDTH), 'a')


def test_a_circle_and_a_turned_ellipse():
    circle = whole(draw_ellipse((10, 10), (4, 4), 30, (HEIGHT, WIDTH), 'a'))
    assert circle[6:14, 6:14].sum() == circle.sum() and abs(circle.sum() - np.pi * 16) < 4
    lying = whole(draw_ellipse((15, 10), (8, 2), 0, (HEIGHT, WIDTH), 'a'))
    standing = whole(draw_ellipse((10, 15), (8, 2), 90, (WIDTH, HEIGHT), 'a'), (WIDTH, HEIGHT))
    assert np.array_equal(lying, standing.T)
    # Clockwise on the image: the right end goes down.
    turned = whole(draw_ellipse((15, 10), (8, 1), 45, (HEIGHT, WIDTH), 'a'))
    assert turned[14, 19] and not turned[5, 19]


def test_an_ellipse_beside_the_image_has_no_pixel():
    assert not draw_ellipse((-20, -20), (4, 4), 0, (HEIGHT, WIDTH), 'a').any()
    with pytest.raises(DatasetError, match='radii'):
        draw_ellipse((5, 5), (-4, 4), 0, (HEIGHT, WIDTH), 'a')


def test_corners_of_a_turned_box():
    corners = rotated_corners(10, 5, 8, 2, 90, pivot=(10, 5))
    assert np.allclose(corners, [[10, 5], [10, 13], [8, 13], [8, 5]])


def test_union():
    one, other = Window(np.ones((2, 2), bool), 3, 4), Window(np.ones((1, 3), bool), 4, 4)
    expected = whole(one) | whole(other)
    assert np.array_equal(whole(unite([one, other])), expected)
    tight = Window(expected).tight()
    assert (tight.x, tight.y, tight.mask.shape) == (3, 4, (2, 4))
