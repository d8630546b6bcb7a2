import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkbackbones.datasets import DatasetError
from mkbackbones.datasets.voc_xml import parse_voc

from .fakes import voc

CLASSES = ('crazing', 'scratches')
ends = st.tuples(st.integers(1, 50), st.integers(1, 50)).map(sorted)


def read(content):
    annotation = parse_voc(content, 'folder/a.xml')
    return annotation.instances(CLASSES, *(annotation.size or (32, 32)))


@given(ends, ends, st.booleans())
def test_inclusive_corners_from_one_become_a_box_from_zero(columns, rows, swap):
    corners = (columns[0], rows[0], columns[1], rows[1])
    if swap:
        corners = (*corners[2:], *corners[:2])
    (instance,), _ = read(voc('scratches', corners, side=50))
    x, y, width, height = instance.bbox
    # The pixels of the box are those between the corners, both included.
    assert list(range(x + 1, x + width + 1)) == list(range(columns[0], columns[1] + 1))
    assert list(range(y + 1, y + height + 1)) == list(range(rows[0], rows[1] + 1))
    assert instance.label == 1


@pytest.mark.parametrize(
    'box, bbox, fix',
    [
        ((0, 1, 5, 5), (0, 0, 5, 5), 'box clipped to the image'),
        ((1, 1, 5, 33), (0, 0, 5, 32), 'box clipped to the image'),
        ((9, 1, 5, 5), (4, 0, 5, 5), 'box with swapped corners mended'),
        ((1.5, 1, 5, 5), (0.5, 0, 4.5, 5), None),
        ((40, 1, 50, 5), None, 'box outside the image dropped'),
        ((32.5, 1, 50, 5), None, 'box with less than a pixel inside the image dropped'),
    ],
)
def test_boxes_are_mended_and_told(box, bbox, fix):
    instances, fixes = read(voc(box=box))
    assert [item.bbox for item in instances] == ([] if bbox is None else [bbox])
    assert fixes == ([] if fix is None else [f'{fix}: folder/a.xml, line 2, object 1'])


@pytest.mark.parametrize(
    'content, size',
    [
        (b'<annotation/>', None),
        (voc(side=0), None),
        (voc(side=64), (64, 64)),
    ],
)
def test_the_size_may_be_missing(content, size):
    assert parse_voc(content, 'a.xml').size == size


@pytest.mark.parametrize(
    'content, message',
    [
        (b'<annotation>', 'malformed XML'),
        (b'', 'malformed XML'),
        (b'\xff\xfe\x00', 'malformed XML'),
        (b'<annotation><size><width>3</width></size></annotation>', 'no <size/height>'),
        (voc('rust'), "line 2, object 1: unknown class 'rust', not one of crazing, scratches"),
        (voc(box=('a', 1, 5, 5)), "line 2, object 1: <bndbox/xmin> is 'a', not a number"),
        (voc(box=('nan', 1, 5, 5)), "<bndbox/xmin> is 'nan', not a number"),
        (voc(box=('1e308', 1, 5, 5)), 'object 1: a corner at x 1e.308, .* far outside'),
        (voc('a</name><name>b'), r'object 1: 2 names \(<name>\) in one object'),
        (voc(' '), 'object 1: no <name>'),
    ],
)
def test_faults_are_named(content, message):
    with pytest.raises(DatasetError, match=message) as error:
        read(content)
    assert str(error.value).startswith('folder/a.xml')
