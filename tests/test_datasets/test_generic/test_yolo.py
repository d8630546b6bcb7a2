import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkbackbones.datasets import DatasetError
from mkbackbones.datasets.generic.yolo import Yolo, parse_yolo

from ..fakes import write_zip
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
        ('0 .5 .5 .4 .4 .3 .3 2 .7 .7 2', 'line 2: coordinates are fractions.*the kpt_shape'),
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


def records_of(tmp_path, files, **kwargs):
    converter = Yolo(write(tmp_path, files), **kwargs)
    return converter, by_name(converter)


def test_labels_in_any_folder_are_seen(tmp_path):
    files = {'classes.txt': 'dent\nscratch'}
    for split, folder in dict(train='labels', valid='Labels', test='label', val='boxes').items():
        files |= {f'{split}/images/{split}.png': png(), f'{split}/{folder}/{split}.txt': BOX}
    _, records = records_of(tmp_path, files)
    assert len(records) == 4 and all(len(record.instances) == 1 for record in records.values())


def test_class_lists_that_differ(tmp_path):
    files = {'a.png': png(), 'a.txt': BOX, 'x/classes.txt': 'dent\nscratch\n\n'}
    assert Yolo(write(tmp_path, files)).classes == ('dent', 'scratch')
    write(tmp_path, {'y/classes.txt': 'scratch\ndent'})
    with pytest.raises(DatasetError, match=r'x/classes.txt and y/classes.txt name different'):
        Yolo(tmp_path)
    assert Yolo(tmp_path, classes=['a', 'b']).classes == ('a', 'b')


def test_an_empty_line_would_shift_the_classes(tmp_path):
    write(tmp_path, {'a.png': png(), 'a.txt': BOX, 'classes.txt': 'dent\n\nscratch\n'})
    with pytest.raises(DatasetError, match=r'classes.txt: line 2 is empty'):
        Yolo(tmp_path)


def test_data_yaml_counts_more_than_a_class_list(tmp_path):
    write(tmp_path, {'a.png': png(), 'a.txt': BOX, 'data.yaml': DATA, 'classes.txt': 'scratch'})
    converter = Yolo(tmp_path)
    assert converter.classes == ('dent', 'scratch')
    assert converter.notes == ['classes.txt names other classes than data.yaml, which counts']


@pytest.mark.parametrize(
    'yaml, classes',
    [
        ('names: [no, yes]', ('no', 'yes')),
        ('names: [1, 2.50]', ('1', '2.50')),
        ('names:\n  0: dent\n  1: scratch\ncreated: 2024-02-30', ('dent', 'scratch')),
        (f'names: {[str(number) for number in range(12)]}', tuple(map(str, range(12)))),
        ('names: {' + ', '.join(f'{n}: c{n}' for n in range(12)) + '}', None),
    ],
)
def test_names_are_taken_as_written(tmp_path, yaml, classes):
    write(tmp_path, {'a.png': png(), 'a.txt': BOX, 'data.yaml': yaml})
    classes = classes or tuple(f'c{number}' for number in range(12))
    assert Yolo(tmp_path).classes == classes


@pytest.mark.parametrize(
    'yaml, message',
    [
        ('names: dent', "names is 'dent', not a list"),
        ('names: 5', "names is '5', not a list"),
        ('names: [[a], b]', 'a name of a class is no text'),
        ('names: [a, ""]', 'a class has no name'),
        (f'{DATA}train: 5', 'train: 5 does not exist'),
        (f'{DATA}train: {{a: b}}', 'train is no folder'),
        (f'{DATA}path: [a]', 'path is no folder'),
        (f'{DATA}kpt_shape: 5', 'kpt_shape is not'),
        (f'{DATA}nc: 5', "nc is '5', but names has 2"),
        (f'{DATA}train: .\nval: ../valid/images', 'val: ../valid/images does not exist'),
        (f'{DATA}nested: {"[" * 3000}', 'malformed YAML'),
    ],
)
def test_malformed_configs(tmp_path, yaml, message):
    write(tmp_path, {'a.png': png(), 'a.txt': BOX, 'data.yaml': yaml})
    with pytest.raises(DatasetError, match=message) as caught:
        Yolo(tmp_path)
    assert 'data.yaml' in str(caught.value) or 'no name' in message


def test_other_yaml_files_do_not_matter(tmp_path):
    files = {
        'a.png': png(),
        'a.txt': BOX,
        'classes.txt': 'dent\nscratch',
        'mkdocs.yml': 'site: !!python/name:material.x\n  - [',
    }
    assert len(Yolo(write(tmp_path, files))) == 1


def test_key_points_are_left_out(tmp_path):
    line = '1 0.5 0.5 0.2 0.4 0.1 0.1 2 0.9 0.9 2\n'
    files = {'a.png': png(), 'a.txt': line, 'data.yaml': f'{DATA}kpt_shape: [2, 3]'}
    converter, records = records_of(tmp_path, files)
    assert boxes(records['a.png']) == [(1, (12, 6, 6, 8))] and not converter.has_masks
    assert any('key points' in note for note in converter.notes)
    (tmp_path / 'a.txt').write_text(BOX)
    with pytest.raises(DatasetError, match='5 values, expected class x y width height and 6 of'):
        Yolo(tmp_path)


CVAT = {
    'obj.data': 'classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\nbackup = backup/',
    'obj.names': 'dent\nscratch\n',
    'train.txt': 'data/obj_train_data/a.png\n',
    'valid.txt': 'data/obj_valid_data/b.png\n',
    'obj_train_data/a.png': png(),
    'obj_train_data/a.txt': BOX,
    'obj_valid_data/b.png': png(1),
    'obj_valid_data/b.txt': BOX,
}


@pytest.mark.parametrize('without', ['', 'obj.data'])
def test_lists_of_darknet(tmp_path, without):
    files = {name: content for name, content in CVAT.items() if name != without}
    converter, records = records_of(tmp_path, files)
    assert {name: record.split for name, record in records.items()} == {
        'a.png': 'train',
        'b.png': 'val',
    }
    assert converter.classes == ('dent', 'scratch')


def test_an_image_in_two_splits_counts_for_the_first(tmp_path):
    files = {'a.png': png(), 'a.txt': BOX, 'data.yaml': f'{DATA}train: .\nval: .'}
    converter, records = records_of(tmp_path, files)
    assert records['a.png'].split == 'train'
    assert converter.notes[0].startswith('1 images lie in several splits of data.yaml')


def test_texts_that_are_no_labels(tmp_path):
    files = {'a.png': png(), 'a.txt': BOX, 'data.yaml': DATA, 'README.roboflow.txt': 'Hello!'}
    converter, _ = records_of(tmp_path, files)
    assert converter.notes == ['no label files, passed over: README.roboflow.txt']


def test_other_formats_are_named(tmp_path):
    line = '1.0 1.0 9.0 1.0 9.0 9.0 1.0 9.0 dent 0\n'
    write(tmp_path, {'data.yaml': DATA, 'a.png': png(), 'labels/a.txt': line})
    with pytest.raises(DatasetError, match='this looks like DOTA'):
        Yolo(tmp_path)


def test_labels_in_another_encoding(tmp_path):
    write(tmp_path, {'data.yaml': DATA, 'a.png': png(), 'a.txt': BOX.encode('utf-16')})
    assert len(Yolo(tmp_path).read(0).instances) == 1
    (tmp_path / 'data.yaml').unlink()
    (tmp_path / 'classes.txt').write_bytes('Kratzer\nDrückstelle'.encode('latin-1'))
    with pytest.raises(DatasetError, match=r'classes.txt: not text in UTF-8 \(byte 10\)'):
        Yolo(tmp_path)


@pytest.mark.parametrize(
    'name',
    ['images/b.json', 'labels/b.xml', 'b.csv', 'labels/b.text', 'labels/b.txt.gz', 'labels/b']
    + ['labels/b.txt/x', 'other/b.png.json', 'labels.zip'],
)
def test_a_label_in_another_form_makes_no_negative(tmp_path, name):
    files = {'data.yaml': DATA, 'images/a.png': png(), 'labels/a.txt': BOX, 'images/b.png': png(1)}
    write(tmp_path, {**files, name: BOX})
    message = 'labels.zip is not read.*unpack' if name == 'labels.zip' else 'not read.*images/b.png'
    with pytest.raises(DatasetError, match=message):
        Yolo(tmp_path)
    assert len(Yolo(tmp_path, unannotated='skip')) == 1
    if name != 'labels.zip':  # b has its label, the other file is of no account
        write(tmp_path, {'classes.txt': 'dent\nscratch', 'images/b.txt': BOX})
        assert len(Yolo(tmp_path)) == 2


@pytest.mark.parametrize('name', ['labels/.b.txt', 'annos/c.txt', '.data/labels/c.txt'])
@pytest.mark.parametrize('pack', [False, True])
def test_a_label_without_an_image_is_told_wherever_it_lies(tmp_path, name, pack):
    files = {'data.yaml': DATA, 'images/a.png': png(), 'labels/a.txt': BOX, 'images/b.png': png(1)}
    files[name] = BOX
    path = write_zip(tmp_path / 'a.zip', files) if pack else write(tmp_path, files)
    with pytest.raises(DatasetError, match=f'no image for 1 of 2 annotation files: {name}'):
        Yolo(path)


def test_files_of_the_set_are_no_labels_in_another_form(tmp_path):
    files = {'data.yaml': DATA, 'images/a.png': png(), 'labels/a.txt': BOX}
    files |= {'images/data.png': png(1), 'images/classes.png': png(2)}
    files |= {'classes.txt': 'dent\nscratch\n', '._a.txt': 'x', 'images/.DS_Store': 'x'}
    assert len(Yolo(write(tmp_path, files))) == 3
