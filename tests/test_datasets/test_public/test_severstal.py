"""Run lengths of the Severstal set."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from mkbackbones.datasets.errors import DatasetError
from mkbackbones.datasets.public.severstal import Severstal, decode_runs
from mkbackbones.datasets.records import iter_records

from ..fakes import write_tree
from . import layouts


@pytest.mark.parametrize('layout', [layouts.severstal, layouts.severstal_older])
def test_both_tables(tmp_path, layout):
    bad, good = iter_records(Severstal(write_tree(tmp_path, layout())))
    assert [(item.label, item.bbox) for item in bad.instances] == [(2, (0, 2, 3, 4))]
    expected = np.zeros((8, 16), np.uint8)
    expected[2:6, 0:3] = 3
    assert np.array_equal(bad.seg_map, expected)
    assert (good.stem, good.instances, good.seg_map.any()) == ('b', [], False)
    assert bad.split is good.split is None


def test_overlapping_classes_keep_their_instances(tmp_path):
    files = layouts.severstal()
    files['train.csv'] += b'a.jpg,1,3 4 11 4 19 4\n'
    record = Severstal(write_tree(tmp_path, files)).read(0)
    assert [item.label for item in record.instances] == [0, 2]
    assert record.seg_map.max() == 3


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        (b'a.jpg,5,1 2', "line 2: class '5'"),
        (b'a.jpg,1,1 2 3', 'line 2: .*pairs'),
        (b'a.jpg,1,0 2', 'line 2: .*pairs'),
        (b'a.jpg,1,120 10', 'line 2: .*beyond the last of 128'),
        (b'a.jpg,1,x y', 'line 2: .*not integers'),
        (b'z.jpg,1,1 20', 'z.jpg'),
    ],
)
def test_a_malformed_row_is_named(tmp_path, row, message):
    files = layouts.severstal() | {'train.csv': b'ImageId,ClassId,EncodedPixels\n' + row}
    with pytest.raises(DatasetError, match=message):
        list(iter_records(Severstal(write_tree(tmp_path, files))))


@given(arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7))))
def test_decoding_inverts_encoding(mask):
    flat = np.concatenate([[0], mask.flatten(order='F').astype(int), [0]])
    edges = np.flatnonzero(np.diff(flat))
    starts, ends = edges[::2], edges[1::2]
    runs = ' '.join(f'{start + 1} {end - start}' for start, end in zip(starts, ends))
    assert np.array_equal(decode_runs(runs, mask.shape, 'row'), mask)
