import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mkbackbones.datasets import DatasetError
from mkbackbones.datasets.splits import neu_det_split
from mkbackbones.datasets.splitting import SplitItem, Splitter, load_groups


def items(count=40, **kwargs):
    kwargs = dict(split=None, group=None) | kwargs
    return [
        SplitItem(f'strip{n // 4}_{n}.png', labels=frozenset([n % 3]), **kwargs)
        for n in range(count)
    ]


def sides(splitter, given_items):
    return dict(zip([item.file_name for item in given_items], splitter.assign(given_items).splits))


@given(st.randoms(use_true_random=False), st.sampled_from(['random', 'group']), st.integers(0, 9))
@settings(deadline=None, max_examples=20)
def test_the_order_of_the_files_does_not_matter(shuffler, method, seed):
    regex = '^strip[0-9]+' if method == 'group' else None
    splitter, first = Splitter(method, seed=seed, group_regex=regex), items()
    shuffled = list(first)
    shuffler.shuffle(shuffled)
    assert sides(splitter, first) == sides(splitter, shuffled)


def test_the_seed_matters():
    assert (
        len({tuple(Splitter('random', seed=seed).assign(items()).splits) for seed in range(5)}) > 1
    )


@pytest.mark.parametrize('regex', ['^strip[0-9]+', '^(strip[0-9]+)_', '^(strip)([0-9]+)'])
def test_a_regular_expression_keeps_groups_together(regex):
    result = Splitter('group', group_regex=regex).assign(items())
    assert len(set(zip(result.groups.values(), result.splits))) == len(set(result.groups.values()))
    assert set(result.splits) == {'train', 'val', 'test'} and len(set(result.groups.values())) == 10
    assert result.groups['strip0_0'] == result.groups['strip0_3'] and not result.notes


def test_a_list_of_groups(tmp_path):
    path = tmp_path / 'groups.json'
    content = {item.file_name[:-4]: f'g{n % 5}' for n, item in enumerate(items())}
    path.write_text(json.dumps(content))
    result = Splitter('group', groups=load_groups(str(path))).assign(items())
    assert result.groups == content
    assert len(set(zip(content.values(), result.splits))) == 5


def test_the_groups_of_the_source():
    grouped = [SplitItem(item.file_name, None, item.file_name[:6], item.labels) for item in items()]
    result = Splitter('group').assign(grouped)
    assert result.groups['strip9_39'] == 'strip9' and not result.notes
    # A random split tears them, and says so.
    assert 'of 10 groups' in Splitter('random').assign(grouped).notes[0]


def test_the_shipped_groups():
    assert load_groups('neu-det') == neu_det_split()[1]


def test_validation_from_training():
    published = items(30, split='train') + [
        SplitItem(f't{n}.png', 'test', None, frozenset([0])) for n in range(10)
    ]
    plain = Splitter().assign(published)
    assert plain.splits == [item.split for item in published]
    assert plain.notes == ['no image for val; --val-from-train takes some of the training images']
    result = Splitter(val_from_train=0.2, group_regex='^(strip[0-9]+|t)').assign(published)
    assert result.splits[30:] == ['test'] * 10 and 3 <= result.splits.count('val') <= 9
    assert len(set(zip(result.groups.values(), result.splits))) == len(set(result.groups.values()))


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(), 'no official split for strip0_0.png, .* and 35 more: use --split random'),
        (
            dict(method='group'),
            'no group for strip0_0, .* and 35 more: the source states none; give --group-r',
        ),
        (
            dict(method='group', group_regex='^strip1'),
            "no group for strip0_0, .* and 31 more: no match of '.strip1'",
        ),
        (
            dict(method='group', groups={'strip0_0': 'a'}),
            'no group for strip0_1, .* and 34 more: not in the list',
        ),
    ],
)
def test_what_cannot_be_split(arguments, message):
    with pytest.raises(DatasetError, match=message):
        Splitter(**arguments).assign(items())
    if len(arguments) < 2:  # told at the first image
        with pytest.raises(DatasetError, match=message.split(',')[0]):
            Splitter(**arguments).check(items()[0])


def test_a_partial_official_split_names_the_images():
    mixed = [*items(3, split='train'), SplitItem('x.png', None, None, frozenset())]
    with pytest.raises(DatasetError, match=r'no official split for x.png'):
        Splitter().assign(mixed)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(method='chance'), "'chance' is none of official, random, group"),
        (dict(ratios=(0, 1, 1)), 'ratios 0 1 1'),
        (dict(ratios=(1, -1, 1)), 'ratios 1 -1 1'),
        (dict(ratios=(1, float('nan'), 1)), 'ratios 1 nan 1'),
        (dict(seed=-1), 'seed -1'),
        (dict(val_from_train=1), 'val_from_train 1'),
        (dict(method='random', val_from_train=0.1), '--val-from-train goes with the official'),
        (dict(method='group', group_regex='('), "'.' is no regular expression"),
        (dict(method='group', group_regex='a', groups={}), 'given twice'),
        (dict(method='random', group_regex='a'), 'a random split takes no groups'),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(DatasetError, match=message):
        Splitter(**arguments)


@pytest.mark.parametrize(
    'content, message',
    [
        (None, 'No such file'),
        ('{', 'malformed JSON .*line 1'),
        ('[]', 'not an object'),
        ('{"a": [1]}', 'not an object'),
    ],
)
def test_bad_lists(tmp_path, content, message):
    path = tmp_path / 'g.json'
    if content is not None:
        path.write_text(content)
    with pytest.raises(DatasetError, match=rf'g.json.*{message}'):
        load_groups(str(path))
