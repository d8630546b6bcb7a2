import numpy as np
import pytest

from mkbackbones.predict import Instance, Prediction, masks
from mkbackbones.predict.painting import paint

PALETTE = [(0, 0, 0), (220, 20, 60), (0, 120, 200)]


def found(left, top, width, height, label=1, score=0.8, mask=False, size=(600, 500)):
    code = masks.encode(np.ones((height, width), bool), left, top, *size) if mask else None
    return Instance(label, 'crack', score, (left, top, width, height), code)


def test_the_picture_stays_where_nothing_is_drawn():
    pixels = np.random.default_rng(0).integers(0, 255, (500, 600, 3), dtype=np.uint8)
    prediction = Prediction('x', 600, 500, 0.8, (found(300, 200, 50, 60),))
    drawn = np.asarray(paint(pixels, prediction, PALETTE))
    assert drawn.shape[1] == 600 and drawn.shape[0] > 510  # the legend
    assert np.array_equal(drawn[:150, :250], pixels[:150, :250, ::-1])
    assert np.array_equal(drawn[210:250, 310:340], pixels[210:250, 310:340, ::-1])  # inside
    assert tuple(drawn[200, 325]) == PALETTE[1]


def test_masks_are_tinted_in_the_colour_of_the_class():
    prediction = Prediction('x', 600, 500, 0.8, (found(300, 200, 50, 60, mask=True),))
    drawn = np.asarray(paint(np.zeros((500, 600), np.uint8), prediction, PALETTE))
    inside = drawn[230, 325]
    assert inside[0] > 80 and inside[0] > 3 * inside[1]
    assert not drawn[100, 100].any()


def test_what_is_doubted_is_left_out():
    pixels = np.full((500, 600, 3), 90, np.uint8)
    prediction = Prediction('x', 600, 500, 0.8, (found(300, 200, 50, 60, score=0.2),))
    drawn = np.asarray(paint(pixels, prediction, PALETTE, 0.3))
    assert (drawn[:500] == 90).all()
    assert (np.asarray(paint(pixels, prediction, PALETTE, 0.1))[:500] != 90).any()


@pytest.mark.parametrize('label', [0, 1])
@pytest.mark.parametrize('shape', [(1, 1, 3), (7, 900), (900, 7, 1), (33, 44, 3)])
def test_any_size_with_objects_at_its_edges(shape, label):
    height, width = shape[:2]
    several = tuple(
        found(x, y, min(3, width), min(3, height), label, mask=mask, size=(width, height))
        for x, y in ((0, 0), (max(0, width - 3), max(0, height - 3)))
        for mask in (True, False)
    )
    pixels = np.zeros(shape, np.float32)
    image = paint(pixels, Prediction('x', width, height, 1.0, several), PALETTE)
    assert image.width >= width and np.asarray(image).any()
