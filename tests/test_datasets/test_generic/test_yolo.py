import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkbackbones.datasets import DatasetError
from mkbackbones.datasets.generic.yolo import Yolo, parse_yolo

from .common import boxes, by_name, pixels, png, write

BOX = '1 0.5 0.5 0.2 0.4\n'  # 6 x 8 pixels around (15, 10)
DATA = 'names: [dent, scratch]\n'


def test_boxes_and_negatives(tmp_path):
    write(
        tmp_path,
        {
            'data.yaml': DATA,
            'images/a.png': png(),
            'labels/a.txt': '\ufeff' + BOX + '\n',
            'images/empty.png': png(1),
            'labels/empty.txt': '',
            'images/none.png': png(2),
        },
    )
    converter = Yolo(tmp_path)
    assert converter.classes == ('dent', 'scratch')
    records = by_name(converter)
    assert boxes(records['a.png']) == [(1, (12, 6, 6, 8))]
    assert boxes(records['empty.png']) == boxes(records['none.png']) == []
    assert records['a.png'].seg_map is None
    assert len(Yolo(tmp_path, unannotated='skip')) == 2


def test_polygons(tmp_path):
    square = '0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n'
    thin = '0 0.1 0.1 0.1 0.1 0.1001 0.1\n'
    beyond = '1 0.8 0.8 1.4 0.8 1.4 1.4 0.8 1.4\n'
    write(
        tmp_path,
        {'classes.txt': 'dent\nscratch\n', 'a.png': png(), 'a.txt': square + thin + beyond},
    )
    record = Yolo(tmp_path).read(0)
    assert boxes(record) == [(0, (3, 2, 12, 8)), (1, (24, 16, 6, 4))]
    assert (record.seg_map == 1).sum() == 96 and (record.seg_map == 2).sum() == 24
    assert np.array_equal(record.seg_map == 2, pixels(record, 1))
    kinds = [fix.partition(': ')[0] for fix in record.fixes]
    assert kinds == ['polygon without a pixel in the image dropped', 'polygon cut to the image']
    assert record.fixes[0].endswith('a.txt, line 2')


@pytest.mark.parametrize('root', ['', '/home/somebody/set', '../set', '.'])
def test_the_split_of_data_yaml(tmp_path, root):
    listing = '/old/machine/pool/images/t 1.png\n./pool/images/t2.png\n'
    write(
        tmp_path,
        {
            'data.yaml': f'path: "{root}"\ntrain: ../train/images\nval: [valid/images/]\n'
            'test: lists/test.txt\nnames:\n  0: dent\n  1: scratch\n',
            'train/images/a.png': png(1),
            'train/labels/a.txt': BOX,
            'valid/images/b.png': png(2),
            'valid/labels/b.txt': BOX,
            'pool/images/t 1.png': png(3),
            'pool/labels/t 1.txt': BOX,
            'pool/images/t2.png': png(4),
            'pool/labels/t2.txt': '',
            'lists/test.txt': listing,
            'spare/images/c.png': png(5),
            'spare/labels/c.txt': BOX,
        },
    )
    converter = Yolo(tmp_path)
    assert converter.notes == ['1 images left out that data.yaml has in no split']
    splits = {name: record.split for name, record in by_name(converter).items()}
    assert splits == {'a.png': 'train', 'b.png': 'val', 't 1.png': 'test', 't2.png': 'test'}


def test_the_split_of_folders(tmp_path):
    files = {'obj.names': 'dent\nscratch'}
    for split in ('train', 'val'):
        files |= {f'images/{split}/1.png': png(), f'labels/{split}/1.txt': BOX}
    records = by_name(Yolo(write(tmp_path, files)))
    assert {name: record.split for name, record in records.items()} == {
        'train__1.png': 'train',
        'val__1.png': 'val',
    }


@given(st.tuples(*[st.floats(-0.4, 1.4)] * 4))
def test_boxes_stay_in_the_image(values):
    (line,) = parse_yolo(f'0 {" ".join(map(str, values))}'.encode(), 'a')
    instance, fix = line.instance(30, 20)
    if instance is None:
        assert 'dropped' in fix
    else:
        x, y, width, height = instance.bbox
        assert 0 <= x < x + width <= 30 + 1e-9 and 0 <= y < y + height <= 20 + 1e-9


@pytest.mark.parametrize(
    'line, message',
    [
        ('0 0.5 0.5 0.1', 'line 2: 4 values'),
        ('0 0.5 0.5 0.1 0.1 0.9', 'line 2: 6 values'),
        ('0 0.5 0.5 0.1 x', "line 2: '0 0.5 0.5 0.1 x' is not all numbers"),
        ('2 0.5 0.5 0.1 0.1', 'line 2: class 2, allowed are 0 to 1'),
        ('0.5 0.5 0.5 0.1 0.1', 'line 2: class 0.5'),
        ('-1 0.5 0.5 0.1 0.1', 'line 2: class -1'),
        ('0 15 10 6 8', 'line 2: coordinates are fractions'),
        ('0 nan 0.5 0.1 0.1', 'line 2: coordinates are fractions'),
    ],
)
def test_malformed_lines(tmp_path, line, message):
    write(tmp_path, {'data.yaml': DATA, 'a.png': png(), 'a.txt': BOX + line})
    with pytest.raises(DatasetError, match=f'a.txt, {message}'):
        Yolo(tmp_path)
    with pytest.raises(DatasetError, match=message):
        Yolo(tmp_path, skip_bad=True).read(0)


@pytest.mark.parametrize(
    'files, message',
    [
        ({}, 'has no class names'),
        ({'data.yaml': 'names: [a'}, 'malformed YAML'),
        ({'data.yaml': 'names: {1: a}'}, r'numbered \[1\], not from 0'),
        ({'data.yaml': DATA, 'b.yaml': DATA}, 'several files with class names: b.yaml, data.yaml'),
        ({'data.yaml': 'names: [a, a]'}, 'a class is given twice'),
        ({'data.yaml': DATA, 'a.txt': None}, 'no label file'),
    ],
)
def test_bad_layouts(tmp_path, files, message):
    files = {'a.png': png(), 'a.txt': BOX} | files
    with pytest.raises(DatasetError, match=message):
        Yolo(write(tmp_path, {name: content for name, content in files.items() if content}))
