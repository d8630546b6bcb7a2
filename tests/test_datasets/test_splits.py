from collections import Counter

from mkbackbones.datasets.metainfo import NEU_DET, NEU_SEG_INSTANCES
from mkbackbones.datasets.splits import neu_det_split, neu_seg_rows


def test_no_overlap_group_crosses_a_split():
    split, group = neu_det_split()
    assert split.keys() == group.keys()
    assert Counter(split.values()) == dict(train=1260, val=180, test=360)
    assert len(set(group.values())) == 646
    assert len({(group[stem], split[stem]) for stem in split}) == 646


def test_every_class_has_the_same_share_of_every_split():
    split, _ = neu_det_split()
    counts = Counter((stem.rsplit('_', 1)[0], side) for stem, side in split.items())
    for name in NEU_DET['classes']:
        assert [counts[name, side] for side in ('train', 'val', 'test')] == [210, 30, 60]


def test_segmentation_is_on_the_side_of_detection():
    split, group = neu_det_split()
    rows = neu_seg_rows()
    assert Counter(row['split'] for row in rows) == dict(train=629, val=90, test=180)
    for row in rows:
        assert split[row['neudet_id']] == row['split']
        assert group[row['neudet_id']] == row['group']
        assert row['neudet_id'].rsplit('_', 1)[0] in NEU_SEG_INSTANCES['classes']
    assert len({row['neudet_id'] for row in rows}) == 899
    assert len({(row['official'], row['file']) for row in rows}) == 899
