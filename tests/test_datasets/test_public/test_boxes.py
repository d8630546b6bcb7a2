"""Public sets with boxes."""

import pytest

from mkbackbones.datasets.errors import DatasetError
from mkbackbones.datasets.public.deep_pcb import DeepPcb
from mkbackbones.datasets.public.gc10_det import Gc10Det
from mkbackbones.datasets.records import iter_records

from ..fakes import write_tree
from . import layouts


def boxes(record, classes):
    return [(classes[item.label], item.bbox) for item in record.instances]


def test_deep_pcb(tmp_path):
    converter = DeepPcb(write_tree(tmp_path, layouts.deep_pcb()))
    first, second, third = iter_records(converter)
    assert [record.file_name for record in (first, second, third)] == [
        '00041000.jpg',
        '12000001.jpg',
        '00041002.jpg',
    ]
    assert [record.split for record in (first, second, third)] == ['train', 'train', 'test']
    assert [record.group for record in (first, second, third)] == ['group1', 'group2', 'group1']
    assert boxes(first, converter.classes) == [
        ('mousebite', (1, 2, 10, 20)),
        ('pin-hole', (20, 21, 10, 10)),
    ]
    assert boxes(second, converter.classes) == [('open', (0, 0, 32, 32))]  # commas
    assert boxes(third, converter.classes) == [
        ('short', (1, 1, 4, 4)),
        ('spur', (4, 2, 6, 10)),
        ('copper', (20, 20, 12, 10)),
    ]
    assert [fix.split(':')[0] for fix in third.fixes] == [
        'box with swapped corners mended',
        'box clipped to the image',
        'box narrower than a pixel dropped',
    ]


@pytest.mark.parametrize(
    ('line', 'message'),
    [(b'1 2 3 4', 'line 1: .*five integers'), (b'1 2 3 4 7', 'type 7'), (b'a b c d 1', 'line 1')],
)
def test_deep_pcb_names_a_malformed_line(tmp_path, line, message):
    files = layouts.deep_pcb()
    files['DeepPCB/PCBData/group1/00041_not/00041000.txt'] = line
    with pytest.raises(DatasetError, match=message):
        DeepPcb(write_tree(tmp_path, files)).read(0)


def test_deep_pcb_names_missing_files(tmp_path):
    files = layouts.deep_pcb()
    del files['DeepPCB/PCBData/group2/12000/12000001_test.jpg']
    with pytest.raises(DatasetError, match=r'1 of 3 image files .*12000001_test.jpg'):
        DeepPcb(write_tree(tmp_path, files))


def test_gc10_det(tmp_path):
    converter = Gc10Det(write_tree(tmp_path, layouts.gc10_det()))
    first, second, empty, last = iter_records(converter)
    assert boxes(first, converter.classes) == [
        ('punching_hole', (0, 0, 10, 20)),
        ('waist_folding', (4, 5, 4, 4)),
    ]
    assert boxes(second, converter.classes) == [('welding_line', (2, 2, 4, 4))]
    assert boxes(last, converter.classes) == [('crease', (19, 19, 13, 13))]
    assert empty.instances == []
    assert {record.split for record in (first, second, empty, last)} == {None}
    assert first.group == second.group == 'img_01_3402617700' != last.group


def test_gc10_det_reports_its_faults(tmp_path):
    converter = Gc10Det(write_tree(tmp_path, layouts.gc10_det()))
    first, second, empty, last = (
        [fix.split(':')[0] for fix in item.fixes] for item in iter_records(converter)
    )
    assert first == []
    assert second == [
        "object of the unknown class 'd' dropped",
        'image in several folders, one taken',
    ]
    assert empty == ['annotation without an object, image kept as a negative']
    assert last == ['box clipped to the image']
    assert 'img_07_425000003_00009' in converter.notes[0]
    assert 'img_09_000000000_00001' in converter.notes[1]


def test_gc10_det_takes_the_image_from_the_folder_of_its_class(tmp_path):
    files = layouts.gc10_det()
    record = Gc10Det(write_tree(tmp_path, files)).read(1)
    assert record.image == files['GC10-DET/2/img_01_3402617700_00002.jpg']
