"""Objects seen by several windows; windows of 100 that share 20."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mkbackbones.predict import Instance, masks
from mkbackbones.predict.merging import merge
from mkbackbones.predict.tiles import Tiling

WINDOWS = Tiling(100, 20).windows(260, 100)


def found(left, right, score, label=0, top=10, bottom=30):
    return Instance(label, str(label), score, (left, top, right - left, bottom - top))


def test_the_windows_are_those_that_the_tests_mean():
    assert [(w.left, w.right) for w in WINDOWS] == [(0, 100), (80, 180), (160, 260)]


def test_halves_of_a_long_one_are_one_however_little_both_see():
    (one,) = merge(WINDOWS, [[found(5, 100, 0.6)], [found(80, 178, 0.9)], []])
    assert one.box == (5, 10, 173, 20) and one.score == 0.9


def test_one_that_crosses_a_whole_window_is_one():
    parts = [[found(5, 100, 0.6)], [found(80, 180, 0.9)], [found(160, 255, 0.7)]]
    (one,) = merge(WINDOWS, parts)
    assert one.box == (5, 10, 250, 20) and one.score == 0.9


def test_a_small_one_that_both_see_counts_once():
    assert merge(WINDOWS, [[found(82, 95, 0.8)], [found(82, 95, 0.7)], []]) == [found(82, 95, 0.8)]


def test_what_differs_stays():
    others = [found(82, 95, 0.7, label=1), found(82, 95, 0.6, top=40, bottom=60)]
    assert len(merge(WINDOWS, [[found(82, 95, 0.8)], others, []])) == 3
    # On both sides of a seam, and not in what both see.
    assert len(merge(WINDOWS, [[found(60, 79, 0.8)], [found(101, 120, 0.8)], []])) == 2


def test_neighbours_in_one_window_do_not_become_one():
    pair = [found(80, 89, 0.8), found(91, 100, 0.7)]
    assert merge(WINDOWS, [pair, pair, []]) == pair


def test_what_is_doubted_does_not_grow_into_what_is_sure():
    """A vague find that covers a sure one leaves its box alone."""
    sure, vague = found(82, 95, 0.9), found(80, 150, 0.06, top=5, bottom=60)
    for windows in ([[sure], [sure, vague], []], [[sure], [vague], []]):
        (one, *rest) = merge(WINDOWS, windows)
        assert one == sure and all(other == vague for other in rest)


def test_doubts_do_not_lead_from_one_sure_find_to_another():
    doubts = [found(20, 100, 0.05), found(80, 180, 0.05), found(160, 250, 0.05)]
    sure = [found(5, 100, 0.9), found(160, 255, 0.9)]
    joined = merge(WINDOWS, [[sure[0], doubts[0]], [doubts[1]], [sure[1], doubts[2]]])
    assert [one.box for one in joined[:2]] == [sure[0].box, sure[1].box]


def test_a_repetition_without_a_partner_is_left_out():
    twice = [found(82, 95, 0.9), found(83, 96, 0.2)]
    assert merge(WINDOWS, [twice[:1], twice, []]) == twice[:1]


def test_the_order_is_that_of_the_scores():
    parts = [[found(0, 9, 0.1)], [found(120, 130, 0.9)], [found(200, 210, 0.5)]]
    assert [one.score for one in merge(WINDOWS, parts)] == [0.9, 0.5, 0.1]


@st.composite
def scenes(draw):
    """Objects of a cell each, with gaps, of any size up to the whole picture; and how it is cut."""
    columns, rows = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    cell = draw(st.integers(12, 60))
    objects = []
    for row in range(rows):
        for column in range(columns):
            x, w = sorted(draw(st.tuples(st.integers(1, cell - 2), st.integers(1, cell - 2))))
            y, h = sorted(draw(st.tuples(st.integers(1, cell - 2), st.integers(1, cell - 2))))
            left, top = column * cell + x, row * cell + y
            box = (left, top, w - x + 1, h - y + 1)
            objects.append(Instance(draw(st.integers(0, 1)), 'x', 0.5, box))
    tile = draw(st.integers(16, 100))
    tiling = Tiling(tile, draw(st.integers(1, tile // 2)))
    return columns * cell, rows * cell, objects, tiling


def seen(instance, window):
    """What a perfect detector sees of an object in a window; None if nothing."""
    left, top, width, height = instance.box
    x1, y1 = max(left, window.left), max(top, window.top)
    x2, y2 = min(left + width, window.right), min(top + height, window.bottom)
    return replace(instance, box=(x1, y1, x2 - x1, y2 - y1)) if x1 < x2 and y1 < y2 else None


@given(scenes(), st.booleans())
def test_a_perfect_detector_stays_perfect(scene, with_masks):
    width, height, objects, tiling = scene
    windows = tiling.windows(width, height)

    def masked(instance):
        left, top, w, h = instance.box
        code = masks.encode(np.ones((h, w), bool), left, top, width, height)
        return replace(instance, mask=code) if with_masks else instance

    found = [[masked(s) for one in objects if (s := seen(one, w))] for w in windows]
    joined = merge(windows, found)
    wanted = [masked(one) for one in objects]
    assert sorted(map(repr, joined)) == sorted(map(repr, wanted))
