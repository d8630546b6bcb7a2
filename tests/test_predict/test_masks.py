import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mkbackbones.predict import masks

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))
BORDERS = st.tuples(*[st.integers(0, 5)] * 4)


@given(MASKS, BORDERS)
def test_a_part_lies_where_it_belongs(mask, borders):
    left, top, right, bottom = borders
    whole = np.pad(mask, ((top, bottom), (left, right)))
    code = masks.encode(mask, left, top, whole.shape[1], whole.shape[0])
    assert np.array_equal(masks.decode(code), whole)
    assert masks.area(code) == whole.sum()
    assert code == masks.encode(whole, 0, 0, whole.shape[1], whole.shape[0])
    assert json.loads(json.dumps(code)) == code


@given(hnp.arrays(bool, (2, 9, 7)))
def test_union_and_what_is_shared(two):
    codes = [masks.encode(one, 0, 0, 7, 9) for one in two]
    assert np.array_equal(masks.decode(masks.joined(codes)), two[0] | two[1])
    assert np.array_equal(masks.decode(masks.shared(*codes)), two[0] & two[1])
    part = masks.rectangle((1, 2, 5, 6), (9, 7))
    inside = np.zeros((9, 7), bool)
    inside[2:6, 1:5] = two[0][2:6, 1:5]
    assert np.array_equal(masks.decode(masks.shared(codes[0], part)), inside)
