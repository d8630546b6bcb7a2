import json

import numpy as np
import pytest

from mkbackbones.datasets import DatasetError
from mkbackbones.datasets.generic.label_studio import LabelStudio

from .common import HEIGHT, WIDTH, boxes, by_name, pixels, png, write


def region(kind, label='dent', number='r1', **value):
    value = value if label is None else {**value, f'{kind}labels': [label]}
    return dict(
        id=number,
        type=f'{kind}labels',
        from_name='label',
        to_name='image',
        original_width=WIDTH,
        original_height=HEIGHT,
        image_rotation=0,
        value=value,
    )


def rectangle(label='dent', number='r1', **more):
    box = dict(x=10, y=20, width=20, height=30, rotation=0) | more
    return region('rectangle', label, number, **box)


def task(image='a.png', *annotations, number=1, **more):
    return dict(id=number, data=dict(image=image), annotations=list(annotations), **more)


def annotation(*results, **more):
    return dict(id=1, result=list(results), was_cancelled=False) | more


def read(tmp_path, *results):
    content = json.dumps([task('a.png', annotation(*results))])
    write(tmp_path, {'a.png': png(), 'export.json': content})
    return LabelStudio(tmp_path).read(0)


def packed(mask):
    """Brush pixels as Label Studio packs them: here runs and literals by turns."""
    values = np.repeat(mask.ravel().astype(np.uint8) * 255, 4)
    bits = f'{len(values):032b}{7:05b}' + ''.join(f'{size - 1:04b}' for size in (3, 4, 8, 16))
    at, turn = 0, 0
    while at < len(values):
        part = values[at : at + (5, 100)[turn % 2]]
        same = (part == part[0]).all()
        bits += f'{int(same)}11{len(part) - 1:016b}'
        bits += ''.join(f'{value:08b}' for value in (part[:1] if same else part))
        at, turn = at + len(part), turn + 1
    bits += '0' * (-len(bits) % 8)
    return [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]


def test_rectangles_alone(tmp_path):
    record = read(tmp_path, rectangle(), rectangle('crack', 'r2', x=95))
    # Per cent of 30 x 20 pixels; classes are sorted.
    assert boxes(record) == [(1, (3, 4, 6, 6)), (0, (28.5, 4, 1.5, 6))]
    assert record.seg_map is None and 'clipped' in record.fixes[0]


def test_areas(tmp_path):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[3:5, 7:11] = mask[19, 29] = True
    record = read(
        tmp_path,
        region('polygon', number='1', points=[[10, 10], [30, 10], [30, 40], [10, 40]]),
        region('ellipse', number='2', x=50, y=50, radiusX=20, radiusY=10, rotation=0),
        region('brush', number='3', format='rle', rle=packed(mask)),
        rectangle(number='4', rotation=90, x=50, y=10),
        rectangle(number='5'),
    )
    polygon, ellipse, brush, turned, upright = range(5)
    assert record.instances[polygon].bbox == (3, 2, 6, 6)
    assert record.instances[ellipse].bbox == (9, 8, 12, 4)
    assert np.array_equal(pixels(record, brush), mask)
    # 6 x 6 pixels, turned clockwise around the upper left corner at (15, 2).
    assert record.instances[turned].bbox == (9, 2, 6, 6)
    assert record.instances[upright].mask is None


def test_shape_and_label_as_two_results(tmp_path):
    shape = rectangle(None) | dict(type='rectangle')
    label = shape | dict(type='labels', value=shape['value'] | dict(labels=['dent']))
    answer = dict(id='r1', type='choices', value=dict(choices=['blurred']))
    assert boxes(read(tmp_path, shape, label, answer)) == [(0, (3, 4, 6, 6))]
    assert LabelStudio(tmp_path).notes == ['1 results of the type choices left out']


def test_which_annotation_counts(tmp_path):
    old = annotation(rectangle(x=0), updated_at='2024-01-01')
    new = annotation(rectangle(x=50), updated_at='2024-05-01', id=2)
    truth = annotation(rectangle(x=20), updated_at='2023-01-01', ground_truth=True)
    gone = annotation(rectangle(x=90), updated_at='2025-01-01', was_cancelled=True)
    tasks = [
        task('a.png', new, old, gone, number=1),
        task('b.png', old, truth, number=2, predictions=[dict(result=[rectangle()])]),
        task('c.png', annotation(), number=3, drafts=[dict(result=[rectangle()])]),
    ]
    files = {f'{name}.png': png(seed) for seed, name in enumerate('abc')}
    converter = LabelStudio(write(tmp_path, files | {'x.json': json.dumps(tasks)}))
    found = {name: [box[0] for _, box in boxes(item)] for name, item in by_name(converter).items()}
    assert found == {'a.png': [15], 'b.png': [6], 'c.png': []}
    assert converter.notes == [
        '1 cancelled annotations left out',
        '2 tasks have several annotations: the ground truth counts, else the newest',
        '1 tasks with drafts, which are left out',
        '1 tasks with predictions, which are left out',
    ]


@pytest.mark.parametrize('annotations', [[], [annotation(rectangle(), was_cancelled=True)]])
def test_a_task_without_an_annotation_is_not_annotated(tmp_path, annotations):
    tasks = [task('a.png', annotation(rectangle())), task('b.png', *annotations, number=2)]
    write(tmp_path, {'a.png': png(), 'b.png': png(1), 'x.json': json.dumps(tasks)})
    with pytest.raises(DatasetError, match=r'no annotation for 1 images: b.png; .*--unannotated'):
        LabelStudio(tmp_path)
    assert len(LabelStudio(tmp_path, unannotated='skip')) == 1
    assert len(by_name(LabelStudio(tmp_path, unannotated='negative'))['b.png'].instances) == 0


@pytest.mark.parametrize(
    'url, file',
    [
        ('/data/upload/3/0a1b2c3d-a.png', '0a1b2c3d-a.png'),
        ('/data/upload/3/0a1b2c3d-a.png', 'images/a.png'),
        ('/data/local-files/?d=line1%2Fa%201.png', 'line1/a 1.png'),
        ('s3://bucket/line1/a.png', 'images/a.png'),
        ('https://host/line1/a.png?token=3', 'line1/a.png'),
        ('upload/a.png', 'a.png'),
        (r'C:\pictures\a.png', 'a.png'),
    ],
)
def test_images_by_their_address(tmp_path, url, file):
    content = json.dumps([task(url, annotation(rectangle()))])
    record = LabelStudio(write(tmp_path, {file: png(), 'x.json': content})).read(0)
    assert record.file_name == file.rpartition('/')[2]


def test_one_task_a_file(tmp_path):
    files = {
        f'tasks/{name}': json.dumps(task(f'{name}.png', annotation(rectangle()))) for name in 'ab'
    }
    files = {f'{name}.json': content for name, content in files.items()}
    write(tmp_path, files | {'a.png': png(), 'b.png': png(1)})
    assert len(by_name(LabelStudio(tmp_path))) == 2


def test_key_points_alone_are_no_negative(tmp_path):
    tasks = [
        task('a.png', annotation(rectangle())),
        task('b.png', annotation(region('keypoint', x=5, y=5, width=1)), number=2),
    ]
    write(tmp_path, {'a.png': png(), 'b.png': png(1), 'x.json': json.dumps(tasks)})
    with pytest.raises(DatasetError, match='key point without an area dropped'):
        LabelStudio(tmp_path).read(1)


@pytest.mark.parametrize(
    'item, message',
    [
        (rectangle(x=None), 'x is None, not a number'),
        (region('rectangle', y=1, width=2, height=3), "no coordinates .* 'rectanglelabels'"),
        (region('bitmask', imageDataURL='data:'), "no coordinates .* 'bitmasklabels'"),
        (rectangle() | dict(value=5), 'no coordinates'),
        (rectangle(width='4'), "width is '4', not a number"),
        (rectangle(x=True), 'x is True, not a number'),
        (rectangle(None), 'a rectangle needs one label, it has none'),
        (rectangle() | dict(image_rotation=90), 'turned by 90 degrees'),
        (rectangle() | dict(item_index=1), 'several images'),
        (rectangle() | dict(original_width=31), 'says 31x20 pixels'),
        (region('polygon', points=[[1, 1], [2, 2]]), 'a polygon of 2 points'),
        (region('polygon', points=[[1, 1], [2], [3, 3]]), 'points are not pairs'),
        (region('polygon', points=[[1, 1], [2, 2], [1e7, 3]]), 'far outside of the image'),
        (region('brush', format='rle', rle=[1, 256]), 'not a list of bytes'),
        (region('brush', format='rle', rle=[0, 0]), 'end too early'),
        (region('brush', format='rle', rle=[0] * 99), 'a brush of 0 pixels'),
        (region('brush', format='rle', rle=packed(np.zeros((HEIGHT, WIDTH)))[:-9]), 'too early'),
        (region('vector', vertices=[dict(x=1, y=1)]), 'a vector path'),
    ],
)
def test_malformed_regions(tmp_path, item, message):
    with pytest.raises(DatasetError, match=message):
        read(tmp_path, item)
    with pytest.raises(DatasetError, match=message):
        LabelStudio(tmp_path, skip_bad=True, classes=['dent']).read(0)


@pytest.mark.parametrize(
    'content, message',
    [
        ('[', 'malformed JSON'),
        ('[]', 'holds no Label Studio file'),
        ('[5]', "task 1 has no object 'data'"),
        (json.dumps(dict(images=[], annotations=[])), 'this looks like COCO'),
        (
            json.dumps([dict(id=1, image='a.png', annotator=1)]),
            'this looks like Label Studio .JSON-',
        ),
        (json.dumps([dict(data=dict(text='a'))]), "'data' names no image"),
        (json.dumps([task('a.png', 5)]), "'annotations' is no list of objects"),
        (json.dumps([task('a.png', dict(result={}))]), "'result' is no list of objects"),
        (json.dumps([task('b.png', annotation(rectangle()))]), 'images are missing: b.png'),
        (json.dumps([task('a.png', annotation())]), 'name the classes with --classes'),
    ],
)
def test_malformed_files(tmp_path, content, message):
    write(tmp_path, {'a.png': png(), 'x.json': content})
    with pytest.raises(DatasetError, match=message):
        LabelStudio(tmp_path)


@pytest.mark.parametrize('key', ['was_cancelled', 'ground_truth'])
def test_truth_values_that_are_text(tmp_path, key):
    annotation = {'result': [], key: 'false'}
    task = dict(data=dict(image='a.png'), annotations=[annotation])
    write(tmp_path, {'a.json': json.dumps([task]), 'a.png': png()})
    with pytest.raises(DatasetError, match=f"{key} is 'false', not 0, 1, true or false"):
        LabelStudio(tmp_path, classes=['dent'])
