from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkbackbones.predict.tiles import Tiling
from mkbackbones.runner.errors import InputError

sides = st.integers(1, 300)


@st.composite
def tilings(draw):
    tile = draw(st.integers(16, 120))
    return Tiling(tile, draw(st.integers(0, tile // 2)))


@given(tilings(), sides, sides)
def test_each_pixel_is_answered_for_once(tiling, width, height):
    seen = np.zeros((height, width), int)
    for window in tiling.windows(width, height):
        assert 0 < window.width <= tiling.tile and 0 < window.height <= tiling.tile
        left, top, right, bottom = window.kept
        assert window.left <= left < right <= window.right
        assert window.top <= top < bottom <= window.bottom
        seen[top:bottom, left:right] += 1
    assert (seen == 1).all()


@given(tilings(), sides)
def test_neighbours_share_what_was_asked_for(tiling, width):
    windows = tiling.windows(width, 10)
    assert windows[0].left == 0 and windows[-1].right == width
    for one, other in pairwise(windows):
        assert one.right - other.left >= tiling.overlap
    if width <= tiling.tile:
        assert len(windows) == 1


@pytest.mark.parametrize(
    'tile, overlap, told', [(8, 0, 'tile 8 is too small'), (100, 51, '50'), (100, -1, 'overlap -1')]
)
def test_what_cannot_be(tile, overlap, told):
    with pytest.raises(InputError, match=told):
        Tiling(tile, overlap)
