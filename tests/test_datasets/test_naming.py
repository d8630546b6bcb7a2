import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkbackbones.datasets import DatasetError
from mkbackbones.datasets.naming import first_few, folder_split, natural_order, unique_stems

parts = st.sampled_from(['a', 'b', 'images', 'train'])
paths = st.lists(
    st.tuples(st.lists(parts, max_size=2), st.sampled_from('123')).map(
        lambda item: '/'.join([*item[0], f'{item[1]}.png'])
    ),
    unique=True,
)


@given(paths)
def test_stems_are_unique_and_short_where_they_can_be(names):
    stems = unique_stems(names)
    assert len(set(stems)) == len(names)
    for name, stem in zip(names, stems):
        alone = sum(other.endswith(name[-5:]) for other in names) == 1
        assert stem.endswith(name[-5]) and (stem == name[-5]) >= alone


@pytest.mark.parametrize(
    'names, stems',
    [
        (['a/images/1.png', 'b/images/1.png'], ['a__1', 'b__1']),
        (['images/1.png', 'photos/1.png'], ['images__1', 'photos__1']),
        (['x/1.png', 'x/2.JPG'], ['1', '2']),
        (['.../ä b.c.png'], ['ä b.c']),
    ],
)
def test_examples(names, stems):
    assert unique_stems(names) == stems


@pytest.mark.parametrize('names', [['1.png', '1.jpg'], ['a/1.png', 'b/1.png', 'a__1.png']])
def test_names_that_cannot_be_told_apart(names):
    with pytest.raises(DatasetError, match='would both be called'):
        unique_stems(names)


@pytest.mark.parametrize(
    'name, split',
    [
        ('train/1.png', 'train'),
        ('set/valid/images/1.png', 'val'),
        ('images_Test/1.png', 'test'),
        ('train2017/1.png', 'train'),
        ('train/test/1.png', 'test'),
        ('1.png', None),
        ('train.png', None),
        ('trainer/1.png', None),
        ('test_line_3/1.png', None),
        ('trainval/1.png', None),
    ],
)
def test_folders_tell_the_split(name, split):
    assert folder_split(name) == split


def test_lists():
    assert natural_order(['a10', 'a9', 'b', 'a']) == ['a', 'a9', 'a10', 'b']
    assert first_few(['a', 'b']) == 'a, b' and first_few(['a', 'b', 'c'], 2) == 'a, b and 1 more'
