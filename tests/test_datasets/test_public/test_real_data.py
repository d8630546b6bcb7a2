"""The public sets themselves, where they lie as downloaded below ``$MKBACKBONES_DATA_RAW``."""

from collections import Counter

import pytest

from mkbackbones.datasets.catalogue import CATALOGUE
from mkbackbones.datasets.records import iter_records


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'folder', 'images', 'instances'),
    [
        (
            'deep-pcb',
            'DeepPCB',
            dict(train=1000, test=500),
            {
                'open': 1942,
                'short': 1506,
                'mousebite': 1965,
                'spur': 1625,
                'copper': 1474,
                'pin-hole': 1501,
            },
        ),
        (
            'magnetic-tile',
            'Magnetic-tile-defect-datasets.',
            {None: 1344},
            dict(blowhole=118, crack=70, fray=38, uneven=99) | {'break': 118},
        ),
        ('bsdata', 'BSData', dict(train=324, test=70), dict(pitting=485)),
        ('crackforest', 'CrackForest-dataset', {None: 118}, dict(crack=279)),
    ],
)
def test_counts(raw_data, name, folder, images, instances):
    if not (raw_data / folder).exists():
        pytest.skip(f'no {raw_data / folder}: clone it there, see docs/data-sets.md')
    converter = CATALOGUE[name].make(dict(src=raw_data / folder))
    splits, classes = Counter(), Counter()
    for record in iter_records(converter):
        splits[record.split] += 1
        classes.update(converter.classes[item.label] for item in record.instances)
    assert (splits, classes) == (images, instances)
