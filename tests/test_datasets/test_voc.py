import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkbackbones.datasets import DatasetError
from mkbackbones.datasets.voc import parse_voc

from .fakes import voc

CLASSES = ('crazing', 'scratches')
ends = st.tuples(st.integers(1, 50), st.integers(1, 50)).map(sorted)


@given(ends, ends)
def test_inclusive_corners_from_one_become_a_box_from_zero(columns, rows):
    content = voc('scratches', (columns[0], rows[0], columns[1], rows[1]), side=50)
    annotation = parse_voc(content, CLASSES, 'a.xml')
    (instance,) = annotation.instances
    x, y, width, height = instance.bbox
    # The pixels of the box are those between the corners, both included.
    assert list(range(x + 1, x + width + 1)) == list(range(columns[0], columns[1] + 1))
    assert list(range(y + 1, y + height + 1)) == list(range(rows[0], rows[1] + 1))
    assert instance.label == 1
    assert (annotation.width, annotation.height) == (50, 50)


@pytest.mark.parametrize(
    'content, message',
    [
        (b'<annotation>', 'malformed XML'),
        (b'\xff\xfe\x00', 'malformed XML'),
        (b'<annotation/>', 'no <size/width>'),
        (voc('rust'), "object 1: unknown class 'rust', not one of crazing, scratches"),
        (voc(box=(0, 1, 5, 5)), 'box .*xmin.*: 0.* leaves the image of 32x32'),
        (voc(box=(1, 1, 5, 33)), 'box .*ymax.*: 33'),
        (voc(box=(9, 1, 5, 5)), 'is empty'),
        (voc(box=(1.5, 1, 5, 5)), "<bndbox/xmin> is '1.5', not an integer"),
    ],
)
def test_faults_are_named(content, message):
    with pytest.raises(DatasetError, match=message) as error:
        parse_voc(content, CLASSES, 'folder/a.xml')
    assert str(error.value).startswith('folder/a.xml')
