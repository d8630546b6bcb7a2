import json
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as pycoco

from mkbackbones.datasets import DatasetError
from mkbackbones.datasets.generic.coco import Coco, coco_window

from .common import boxes, by_name, pixels, png, write

CATEGORIES = [dict(id=7, name='scratch'), dict(id=3, name='dent')]


def coco(names, of_first=(), **kwargs):
    """A file with these images; ``of_first`` are annotations of the first one."""
    images = [
        dict(id=n, file_name=name, width=30, height=20) for n, name in enumerate(names, start=1)
    ]
    annotations = [dict(id=n, image_id=1, category_id=3, **item) for n, item in enumerate(of_first)]
    content = dict(images=images, annotations=annotations, categories=CATEGORIES)
    return json.dumps(content | kwargs)


def test_boxes_crowds_and_negatives(tmp_path):
    annotations = [
        dict(bbox=[1, 2, 5, 6]),
        dict(bbox=[25, 2, 9, 6]),
        dict(bbox=[5, 5, -3, 4]),
        dict(bbox=[5, 5, 0, 4]),
        dict(bbox=[0, 0, 30, 20], iscrowd=1),
    ]
    write(
        tmp_path, {'a.json': coco(['a.png', 'b.png'], annotations), 'a.png': png(), 'b.png': png()}
    )
    converter = Coco(tmp_path)
    assert converter.classes == ('dent', 'scratch')
    records = by_name(converter)
    assert boxes(records['a.png']) == [
        (0, (1, 2, 5, 6)),
        (0, (25, 2, 5, 6)),
        (0, (2, 5, 3, 4)),
        (0, (0, 0, 30, 20)),
    ]
    assert [item.crowd for item in records['a.png'].instances] == [False] * 3 + [True]
    kinds = [fix.partition(': ')[0] for fix in records['a.png'].fixes]
    assert kinds == [
        'box clipped to the image',
        'box with swapped corners mended',
        'box narrower than a pixel dropped',
    ]
    assert 'annotation 2 (id 1)' in records['a.png'].fixes[0]
    assert records['b.png'].instances == [] and records['b.png'].seg_map is None


def test_polygons_and_a_crowd(tmp_path):
    ring = np.ones((20, 30), bool)
    ring[5:15, 5:25] = False
    crowd = pycoco.encode(np.asfortranarray(ring.astype(np.uint8)))
    crowd['counts'] = crowd['counts'].decode()
    annotations = [
        dict(segmentation=[[0, 0, 4, 0, 4, 4, 0, 4], [8, 8, 10, 8, 10, 10, 8, 10]], bbox=[0] * 4),
        dict(segmentation=crowd, iscrowd=1, bbox=[0, 0, 30, 20]),
    ]
    write(tmp_path, {'x/a.json': coco(['a.png'], annotations), 'x/a.png': png()})
    record = Coco(tmp_path).read(0)
    assert record.instances[0].bbox == (0, 0, 10, 10) and record.instances[0].mask.sum() == 20
    assert np.array_equal(pixels(record, 1), ring)
    assert (record.seg_map == 1).sum() == 20 and (record.seg_map[ring] != 0).all()
    assert (record.seg_map == 255).sum() == ring.sum() - 16


shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(shapes.flatmap(lambda shape: arrays(bool, shape)), st.booleans())
@settings(deadline=None)
def test_run_lengths_with_holes(mask, compressed):
    if compressed:
        segmentation = pycoco.encode(np.asfortranarray(mask.astype(np.uint8)))
        segmentation['counts'] = segmentation['counts'].decode()
    else:
        flat = mask.ravel(order='F')
        edges = np.flatnonzero(np.diff(np.concatenate([[False], flat]).astype(int)))
        counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
        segmentation = dict(size=list(mask.shape), counts=counts)
    drawn = np.zeros(mask.shape, bool)
    window = coco_window(segmentation, mask.shape, 'a')
    drawn[window.place] = window.mask
    assert np.array_equal(drawn, mask)


def test_splits_and_folders(tmp_path):
    write(
        tmp_path,
        {
            'annotations/instances_train2017.json': coco(['1.png']),
            'annotations/instances_val2017.json': coco(['1.png']),
            'train2017/1.png': png(1),
            'val2017/1.png': png(2),
            'test/_annotations.coco.json': coco(['2.png']),
            'test/2.png': png(3),
            'annotations/other.json': '{"info": []}',
        },
    )
    records = by_name(Coco(tmp_path, unannotated='negative'))
    assert {name: record.split for name, record in records.items()} == {
        'train2017__1.png': 'train',
        'val2017__1.png': 'val',
        '2.png': 'test',
    }
    assert records['val2017__1.png'].image == png(2)


def test_paths_and_unicode_forms(tmp_path):
    name = unicodedata.normalize('NFC', 'Fläche é.png')
    write(
        tmp_path,
        {
            'a.json': coco([f'C:\\line\\{name}']),
            f'img/{unicodedata.normalize("NFD", name)}': png(),
        },
    )
    assert len(Coco(tmp_path, unannotated='negative')) == 1


def test_missing_images(tmp_path):
    write(tmp_path, {'a.json': coco([f'{n}.png' for n in range(8)]), '0.png': png()})
    with pytest.raises(DatasetError, match=r'7 of 8 images are missing: 1.png, .*5.png and 2 more'):
        Coco(tmp_path)
    converter = Coco(tmp_path, unannotated='negative', skip_bad=True)
    assert len(converter) == 8 and converter.read(0).width == 30
    with pytest.raises(DatasetError, match=r'1.png is missing'):
        converter.read(1)


@pytest.mark.parametrize(
    'content, message',
    [
        ('{"images": [\n', 'malformed JSON .*line 2'),
        ('{}', 'holds no COCO file'),
        (coco(['a.png', 'a.png']), 'a.png is listed twice in a.json: make it one'),
        (coco(['a.png'], images=[dict(id=1)]), 'image 1 without a file_name'),
        (coco(['a.png'], images=[dict(id=1, file_name='a.png')] * 2), 'two images have one id'),
        (coco(['a.png'], categories=[]), 'no object is annotated'),
        (coco(['a.png'], annotations=[5]), '5 is not an object'),
        (coco(['a.png'], annotations=[dict(image_id=9)]), 'annotation 1: image_id 9 is not in'),
        (coco(['a.png'], annotations=[dict(image_id=1, category_id=9)]), 'category_id 9 is not in'),
        (coco(['a.png'], [dict(bbox=[1, 2, 3])]), r'bbox \[1, 2, 3\] is not four numbers'),
        (coco(['a.png'], [dict(bbox=[1, 2, 3, float('nan')])]), 'not four finite numbers'),
        (coco(['a.png'], [dict(segmentation=[[1, 2, 3, 4]])]), 'a polygon needs three'),
        (coco(['a.png'], [dict(segmentation=[['a'] * 6])]), 'malformed segmentation'),
        (coco(['a.png'], [dict(segmentation=dict(size=[20, 30], counts=[9]))]), 'do not add up'),
        (coco(['a.png'], [dict(segmentation=dict(size=[2, 3], counts=[6]))]), 'run lengths of'),
    ],
)
def test_faults(tmp_path, content, message):
    write(tmp_path, {'a.json': content, 'a.png': png()})
    with pytest.raises(DatasetError, match=message) as error:
        Coco(tmp_path).read(0)
    assert tmp_path.name in str(error.value) or 'annotated' in message


def test_single_faults_can_be_skipped(tmp_path):
    faults = [dict(image_id=9), dict(image_id=1, category_id=9)]
    write(
        tmp_path,
        {'a.json': coco(['a.png', 'b.png'], annotations=faults), 'a.png': png(), 'b.png': png()},
    )
    converter = Coco(tmp_path, skip_bad=True)
    assert 'annotation 1: image_id 9' in converter.notes[0]
    with pytest.raises(DatasetError, match='annotation 2: category_id 9'):
        converter.read(0)
    with pytest.raises(DatasetError, match='it may be free of defects or not'):
        converter.read(1)


def test_named_files(tmp_path):
    write(tmp_path, {'a.json': coco(['a.png']), 'b.json': coco(['a.png']), 'a.png': png()})
    with pytest.raises(DatasetError, match=r'listed twice, in a.json and b.json.*--annotations'):
        Coco(tmp_path)
    assert len(Coco(tmp_path, unannotated='negative', annotations=['b.json'])) == 1
    with pytest.raises(DatasetError, match=r'c.json does not exist'):
        Coco(tmp_path, annotations=['c.json'])


def test_ids_of_categories_are_unique(tmp_path):
    content = coco(['a.png'], categories=[*CATEGORIES, dict(CATEGORIES[0], name='other')])
    with pytest.raises(DatasetError, match='two categories have one id'):
        Coco(write(tmp_path, {'a.json': content, 'a.png': png()}))


@pytest.mark.parametrize(
    'content, message',
    [
        (dict(annotations={}), 'annotations is no list'),
        (dict(categories=[5]), 'category 1 is not an object'),
        (dict(categories=[dict(id=1)]), 'category 1 without a name'),
        (dict(categories=[dict(id=[1], name='a')]), 'category 1 without an id'),
        (dict(categories=[dict(id=1, name='a'), dict(id='2', name='b')]), 'partly text'),
        (dict(images=['a.png']), 'image 1 is not an object'),
        (dict(images=[dict(id=1, file_name=7)]), 'image 1 without a file_name'),
        (dict(annotations=[dict(image_id=[1], category_id=3)]), r'image_id \[1\] is not in'),
        (dict(annotations=[dict(image_id=1, category_id={})]), 'category_id {} is not in the file'),
        (dict(annotations=[dict(image_id=True, category_id=3)]), 'image_id True is not in'),
    ],
)
def test_malformed_files(tmp_path, content, message):
    write(tmp_path, {'val/a.json': coco(['a.png'], **content), 'a.png': png()})
    with pytest.raises(DatasetError, match=f'val/a.json.*{message}'):
        Coco(tmp_path)


def test_files_that_are_something_else_are_told(tmp_path):
    info = dict(images=[], categories=[])
    files = {'a.json': coco(['a.png'], [dict(bbox=[1, 2, 5, 6])]), 'a.png': png()}
    files |= {'test.json': json.dumps(info), 'settings.json': '{"a": 1}', 'b.png': png(1)}
    assert Coco(write(tmp_path, files)).notes == [
        'no COCO files, passed over: settings.json, test.json (without annotations)',
        '1 images left out, since no file lists them: b.png',
    ]


@pytest.mark.parametrize(
    'item, message',
    [
        (dict(segmentation=[[1, 1, 1e9, 1, 9, 9]]), 'far outside of the image'),
        (dict(segmentation=[[1, 1, 2, 2, 'a', 3]]), 'not lists of numbers'),
        (dict(segmentation=[5]), 'not lists of numbers'),
        (dict(segmentation='x'), 'neither polygons nor run lengths'),
        (dict(segmentation=dict(size=[20, 30])), 'neither polygons nor run lengths'),
        (dict(segmentation=dict(size=[20, 30], counts='05')), 'do not add up to the image: 5'),
        (dict(segmentation=dict(size=[20, 30], counts=[9, -1])), 'a run length is negative'),
        (dict(bbox='abcd'), 'is not four numbers'),
        (dict(bbox=[1, 2, 3, True]), 'is not four numbers'),
        (dict(bbox=[1, 2, 3, 10**400]), 'not four finite numbers'),
    ],
)
def test_malformed_annotations(tmp_path, item, message):
    write(tmp_path, {'a.json': coco(['a.png'], [item]), 'a.png': png()})
    with pytest.raises(DatasetError, match=f'annotation 1 .*{message}'):
        Coco(tmp_path).read(0)


@pytest.mark.parametrize(
    'stated, files, found',
    [
        ('/home/x/set/images/7.png', ['images/7.png'], 'images/7.png'),
        ('D:\\old\\7.png', ['images/7.png'], 'images/7.png'),
        ('train2017/7.png', ['images/train/7.png'], 'images/train/7.png'),
        ('line1/7.png', ['line1/1.png', 'line2/7.png'], None),
        ('train/7.png', ['val/7.png'], None),
    ],
)
def test_an_image_is_never_that_of_another_folder(tmp_path, stated, files, found):
    content = {name: png(seed) for seed, name in enumerate(files)}
    write(tmp_path, content | {'a.json': coco([stated], [dict(bbox=[1, 2, 5, 6])])})
    if found is None:
        with pytest.raises(DatasetError, match='1 of 1 images are missing'):
            Coco(tmp_path)
    else:
        assert Coco(tmp_path).read(0).image == content[found]


def test_annotations_without_an_image_make_no_negative(tmp_path):
    content = json.loads(coco(['a.png', 'b.png'], [dict(bbox=[1, 2, 5, 6])] * 2))
    content['annotations'][1]['image_id'] = 7
    write(tmp_path, {'a.json': json.dumps(content), 'a.png': png(), 'b.png': png(1)})
    with pytest.raises(DatasetError, match=r'annotation 2 .*: image_id 7 is not in the file'):
        Coco(tmp_path)
    converter = Coco(tmp_path, skip_bad=True)
    assert len(converter.read(0).instances) == 1
    with pytest.raises(DatasetError, match=r'b.png has no annotation, but 1 annotations of'):
        converter.read(1)


@pytest.mark.parametrize('empty', [[], [[]], None, [[], []]])
def test_an_empty_segmentation_is_a_box(tmp_path, empty):
    item = dict(bbox=[1, 2, 5, 6], segmentation=empty)
    converter = Coco(write(tmp_path, {'a.json': coco(['a.png'], [item]), 'a.png': png()}))
    assert boxes(converter.read(0))[0][1] == (1, 2, 5, 6) and not converter.has_masks


def test_what_is_to_be_ignored_is_a_crowd(tmp_path):
    item = dict(bbox=[1, 2, 5, 6], ignore=1)
    record = Coco(write(tmp_path, {'a.json': coco(['a.png'], [item]), 'a.png': png()})).read(0)
    assert record.instances[0].crowd


def test_a_box_of_another_image(tmp_path):
    item = dict(bbox=[1, 2, 1e5, 6])
    write(tmp_path, {'a.json': coco(['a.png'], [item]), 'a.png': png()})
    with pytest.raises(DatasetError, match=r'annotation 1 .*far outside of the image of 30x20'):
        Coco(tmp_path).read(0)


@pytest.mark.parametrize('key', ['iscrowd', 'ignore'])
@pytest.mark.parametrize(
    'value, crowd', [(0, 0), (1, 1), (True, 1), (False, 0), (1.0, 1), (None, 0)]
)
def test_truth_values(tmp_path, key, value, crowd):
    item = dict(bbox=[1, 1, 5, 5], **{key: value})
    write(tmp_path, {'a.json': coco(['a.png'], [item]), 'a.png': png()})
    assert Coco(tmp_path).read(0).instances[0].crowd is bool(crowd)


@pytest.mark.parametrize('key', ['iscrowd', 'ignore'])
@pytest.mark.parametrize('value', ['0', 'false', 2, [], {}, ''])
def test_truth_values_that_are_none(tmp_path, key, value):
    item = dict(bbox=[1, 1, 5, 5], **{key: value})
    write(tmp_path, {'a.json': coco(['a.png'], [item]), 'a.png': png()})
    with pytest.raises(DatasetError, match=rf'annotation 1 \(id 0\): {key} is .*, not 0, 1, true'):
        Coco(tmp_path).read(0)


def test_a_set_without_any_object(tmp_path):
    write(tmp_path, {'a.json': coco(['a.png', 'b.png']), 'a.png': png(), 'b.png': png(1)})
    with pytest.raises(DatasetError, match=r'no object in 2 of 2 images.*--unannotated negative'):
        Coco(tmp_path)
    assert len(Coco(tmp_path, unannotated='negative')) == 2


@pytest.mark.parametrize(
    'side, message',
    [('400', 'says 400x20'), (400.0, 'says 400x20'), ('wide', "width is 'wide', not a number of")]
    + [
        (True, 'width is True'),
        (3.5, 'width is 3.5'),
        ('9' * 5000, 'width is .{60,70}, not a number'),
    ],
)
def test_stated_sizes_of_any_form_are_compared(tmp_path, side, message):
    item = dict(image_id=1, category_id=3, bbox=[1, 1, 5, 5])
    image = dict(id=1, file_name='a.png', width=side, height='20')
    write(tmp_path, {'a.json': coco([], [], images=[image], annotations=[item]), 'a.png': png()})
    with pytest.raises(DatasetError, match=message):
        Coco(tmp_path).read(0)
