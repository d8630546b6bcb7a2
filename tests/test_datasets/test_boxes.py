import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkbackbones.datasets.boxes import clean_box

numbers = st.floats(-50, 80, allow_nan=False) | st.integers(-50, 80)


@pytest.mark.parametrize(
    'corners, box, fix',
    [
        ((1, 2, 5, 9), (1, 2, 4, 7), None),
        ((-0.003, 0, 5, 5), (0, 0, 5, 5), None),
        ((-3, 0, 5, 25), (0, 0, 5, 20), 'box clipped to the image'),
        ((5, 9, 1, 2), (1, 2, 4, 7), 'box with swapped corners mended'),
        ((35, 2, 1, 9), (1, 2, 29, 7), 'box with swapped corners mended and box clipped'),
        ((5, 2, 5, 9), None, 'box narrower than a pixel dropped'),
        ((30, 2, 40, 9), None, 'box outside the image dropped'),
        ((-9, 2, 0.5, 9), None, 'box with less than a pixel inside the image dropped'),
    ],
)
def test_examples(corners, box, fix):
    found, text = clean_box(*corners, 30, 20)
    assert found == box
    assert (text or '').startswith(fix or '') and bool(text) == bool(fix)


@given(numbers, numbers, numbers, numbers)
def test_what_is_left_lies_in_the_image_and_every_change_is_told(x1, y1, x2, y2):
    box, fix = clean_box(x1, y1, x2, y2, 30, 20)
    if box is None:
        assert 'dropped' in fix
        return
    x, y, width, height = box
    assert x >= 0 and y >= 0 and width >= 1 and height >= 1
    assert x + width <= 30 + 1e-9 and y + height <= 20 + 1e-9
    if fix is None:
        assert (x, y, x + width, y + height) == pytest.approx((x1, y1, x2, y2), abs=0.01)
    # A clean box is left as it is.
    assert clean_box(x, y, x + width, y + height, 30, 20)[1] in (None, *_TINY)


_TINY = (  # rounding of x + width may take a box of one pixel below it
    'box narrower than a pixel dropped',
    'box with less than a pixel inside the image dropped',
)
