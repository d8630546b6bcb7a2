"""Pictures of many sizes: what is found in them, and what the search costs."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mkbackbones.leakage import find_pictures, find_shared
from mkbackbones.leakage.check import MANY
from mkbackbones.leakage.pieces import Piece, cut, halvings, number_of_pieces, turned_origin
from mkbackbones.leakage.symmetries import SYMMETRIES, turn

from .surfaces import crop, strip, write


def found(folder, images, **options):
    pairs = find_shared(find_pictures(write(folder, images)), **options)
    return {frozenset((pair.first.key, pair.second.key)): pair for pair in pairs}


SMALL = {f's{i}': crop(strip(40 + i), 0, 0) for i in range(12)}


def large(seed, height=700, width=1100):
    """A surface many times as large as the usual picture, without a scale of its own."""
    tiles = [[strip(seed + 10 * row + column) for column in range(5)] for row in range(3)]
    return np.block(tiles)[:height, :width]


@pytest.mark.parametrize('place', [(0, 0), (300, 500), (572, 972), (211, 333)])
@pytest.mark.parametrize('symmetry', [0, 1, 6])
def test_a_crop_of_a_picture_that_is_much_larger(tmp_path, place, symmetry):
    y, x = place
    surface = large(500)
    images = SMALL | dict(big=surface, cut=turn(crop(surface, y, x), symmetry))
    pairs = found(tmp_path, images, turned_crops=bool(symmetry))
    assert set(pairs) == {frozenset(('big', 'cut'))}
    (pair,) = pairs.values()
    assert pair.overlap == pytest.approx(1, abs=0.02)
    # The shift leads from a place in the first picture, turned, to the same place in the second.
    number = SYMMETRIES.index(pair.symmetry)
    one, other = (surface, images['cut']) if pair.first.key == 'big' else (images['cut'], surface)
    one = turn(one, number)
    (dx, dy), big_first = pair.shift, pair.first.key == 'big'
    if big_first:
        patch = one[max(-dy, 0) : max(-dy, 0) + 128, max(-dx, 0) : max(-dx, 0) + 128]
        small = other
    else:
        patch = other[max(dy, 0) : max(dy, 0) + 128, max(dx, 0) : max(dx, 0) + 128]
        small = one
    assert np.corrcoef(patch.ravel(), small[: patch.shape[0], : patch.shape[1]].ravel())[0, 1] > 0.9


def test_large_pictures_that_overlap(tmp_path):
    surface = large(700, 700, 1200)
    images = SMALL | dict(a=surface[:600, :700], b=surface[100:, 400:])
    pairs = found(tmp_path, images)
    assert set(pairs) == {frozenset('ab')}
    (pair,) = pairs.values()
    assert pair.kind == 'overlap' and np.abs(np.array(pair.shift)) == pytest.approx([400, 100])


def test_many_sizes_share_no_more_than_their_content(tmp_path):
    images = {f'{i}': strip(300 + i)[: 90 + 7 * (i % 9), : 100 + 11 * (i % 7)] for i in range(40)}
    images['twin'] = images['7'][8:, 5:]
    assert set(found(tmp_path, images)) == {frozenset(('7', 'twin'))}


def test_limits_that_are_met_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr('mkbackbones.leakage.surfaces.PIECES', 0)
    monkeypatch.setattr('mkbackbones.leakage.search.PARTNERS', 2)
    crops = {f'c{i}': crop(strip(1), 2 * i, 3 * i) for i in range(5)}
    told = []
    pairs = found(tmp_path, SMALL | crops | dict(big=large(500, 760, 1200)), warn=told.append)
    assert len(told) == 2
    assert told[0].startswith('1 pictures are so much larger')
    assert 'resemble more than 2 others' in told[1]
    assert {key for pair in pairs for key in pair} == set(crops), 'still one group'


def test_of_very_many_copies_not_all_pairs_are_told(tmp_path):
    flat = np.full((40, 40), 9, np.uint8)
    pairs = found(tmp_path, {f'{i:03}': flat for i in range(MANY + 10)})
    assert len(pairs) == MANY + 9
    assert all('000' in pair for pair in pairs), 'one group, by its first picture'


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(8, 3000), st.integers(8, 3000)),
    st.floats(20, 256),
)
def test_pieces_cover_a_picture(shape, side):
    pieces = cut(0, shape, side)
    assert len(pieces) == number_of_pieces(shape, side, 0)
    for axis in (0, 1):
        starts = sorted({piece.origin[axis] for piece in pieces})
        length = pieces[0].shape[axis]
        assert starts[0] == 0 and starts[-1] + length == shape[axis]
        assert all(b - a <= side + 2 for a, b in pairwise(starts)), 'no crop is missed'
        assert length <= round(1.5 * side)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(10, 9000), st.integers(10, 9000)), min_size=1, max_size=60),
    st.integers(0, 60),
)
def test_pieces_stay_within_the_budget(shapes, more):
    side = float(np.sqrt(np.median([h * w for h, w in shapes])))
    times, total = halvings(shapes, side, len(shapes) + more)
    assert total <= len(shapes) + more
    assert [n for n, (h, w) in zip(times, shapes) if h <= side and w <= side] == [
        0 for h, w in shapes if h <= side and w <= side
    ], 'usual pictures keep their scale'


@given(st.integers(0, 7), st.integers(0, 5), st.integers(0, 9))
def test_where_a_piece_lies_after_turning(symmetry, y, x):
    image = np.arange(20 * 30).reshape(20, 30)
    piece = Piece(0, (y, x), (7, 11))
    part = image[y : y + 7, x : x + 11]
    top, left = turned_origin(piece, image.shape, symmetry)
    turned = turn(part, symmetry)
    height, width = turned.shape
    assert (turn(image, symmetry)[top : top + height, left : left + width] == turned).all()


@pytest.mark.slow
def test_memory_does_not_follow_from_the_sizes(tmp_path):
    """200 pictures, some of 12 megapixels, in a process of its own: less than 1.5 GB."""
    import subprocess
    import sys

    rng = np.random.default_rng(0)
    images = {f'{i}': strip(i)[: 150 + i % 50, : 180 + i % 70] for i in range(190)}
    for i in range(10):
        images[f'big{i}'] = rng.integers(0, 255, (750, 1000), np.uint8).repeat(4, 0).repeat(4, 1)
    write(tmp_path, images)
    code = (
        'import resource, sys; from pathlib import Path\n'
        'from mkbackbones.leakage import find_pictures, find_shared\n'
        'find_shared(find_pictures(Path(sys.argv[1])))\n'
        'print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)'
    )
    run = subprocess.run(
        [sys.executable, '-c', code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 1.5 * 2**20
