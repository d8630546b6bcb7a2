import base64
import json

import numpy as np
import pytest

from mkbackbones.datasets import DatasetError
from mkbackbones.datasets.generic.labelme import Labelme, parse_labelme

from .common import boxes, by_name, pixels, png, write


def shape(label, points, kind='polygon', **kwargs):
    return dict(label=label, points=points, shape_type=kind, **kwargs)


def labelme(*shapes, width=30, height=20):
    return json.dumps(dict(shapes=shapes, imageWidth=width, imageHeight=height, imageData=None))


SQUARE = [[2, 2], [8, 2], [8, 8], [2, 8]]


def write_mask(rows):
    import cv2

    return cv2.imencode('.png', np.array(rows, np.uint8) * 255)[1].tobytes()


WIDE = base64.b64encode(write_mask(np.ones((2, 9)))).decode()
"""A mask that has not the size of SQUARE."""


def read(tmp_path, *shapes, **kwargs):
    write(tmp_path, {'a.png': png(), 'a.json': labelme(*shapes, **kwargs)})
    return Labelme(tmp_path).read(0)


def test_polygons_groups_and_rectangles(tmp_path):
    record = read(
        tmp_path,
        shape('dent', SQUARE),
        shape('crack', [[10, 2], [12, 2], [12, 4], [10, 4]], group_id=1),
        shape('crack', [[20, 10], [24, 10], [24, 14], [20, 14]], group_id=1),
        shape('dent', [[28, 18], [25, 15]], 'rectangle'),
    )
    # Classes are sorted: crack, dent. The two parts with one group are one object.
    assert boxes(record) == [(1, (2, 2, 6, 6)), (1, (25, 15, 3, 3)), (0, (10, 2, 14, 12))]
    assert record.instances[2].mask.sum() == 20 and record.instances[1].mask is None
    # What is under the rectangle is not known.
    assert (record.seg_map == 255).sum() == 9 and (record.seg_map == 2).sum() == 36


def test_rectangles_alone_are_boxes_without_class_maps(tmp_path):
    assert read(tmp_path, shape('dent', [[1, 1], [5, 6]], 'rectangle')).seg_map is None


def test_circles_and_masks(tmp_path):
    bitmap = base64.b64encode(write_mask([[0, 1, 1], [1, 1, 0]])).decode()
    record = read(
        tmp_path,
        shape('dent', [[10, 10], [14, 10]], 'circle'),
        shape('dent', [[28, 1], [30, 2]], 'mask', mask=bitmap),
    )
    circle, mask = record.instances
    assert circle.bbox == (6, 6, 8, 8) and abs(circle.mask.sum() - np.pi * 16) < 4
    drawn = pixels(record, 1)
    assert drawn[1, 29] and drawn[2, 28:30].all() and drawn.sum() == mask.mask.sum() == 3


def test_what_has_no_area_is_dropped_and_told(tmp_path):
    record = read(
        tmp_path,
        shape('dent', [[1, 1]], 'point'),
        shape('dent', [[1, 1], [9, 9]], 'line'),
        shape('dent', [[40, 40], [50, 40], [50, 50]]),
        shape('dent', [[1, 1], [1, 8]], 'rectangle'),
        shape('dent', SQUARE),
    )
    assert len(record.instances) == 1
    where = f'{tmp_path.name}/a.json, shape'
    assert record.fixes == [
        f'point without an area dropped: {where} 1',
        f'line without an area dropped: {where} 2',
        f'polygon without a pixel in the image dropped: {where} 3',
        f'box narrower than a pixel dropped: {where} 4',
    ]


def test_negatives_and_splits(tmp_path):
    write(
        tmp_path,
        {
            'train/a.png': png(),
            'train/a.json': labelme(shape('dent', SQUARE)),
            'test/b.png': png(),
            'test/b.json': labelme(),
            'test/c.png': png(),
        },
    )
    records = by_name(Labelme(tmp_path, unannotated='negative'))
    assert {name: record.split for name, record in records.items()} == {
        'a.png': 'train',
        'b.png': 'test',
        'c.png': 'test',
    }
    assert not records['b.png'].seg_map.any() and not records['c.png'].seg_map.any()


def test_another_size_than_stated(tmp_path):
    with pytest.raises(DatasetError, match=r'a.json: says 31x20 pixels, but .*a.png has 30x20'):
        read(tmp_path, shape('dent', SQUARE), width=31)


@pytest.mark.parametrize(
    'content, message',
    [
        (b'{\n"shapes": [', 'malformed JSON .*line 2'),
        (b'\xff\xfe\xfa', 'malformed JSON'),
        (b'[]', 'not a labelme file'),
        (labelme(shape('a', [[1, 2], [3]])), 'shape 1: points'),
        (labelme(shape('a', [[1, 2], [3, None], [4, 5]])), 'shape 1: points are not pairs'),
        (labelme(shape('a', SQUARE), shape('a', [[1, 2]])), 'shape 2: polygon of 1 points'),
        (labelme(dict(points=SQUARE)), 'shape 1: no label'),
        (labelme(shape('a', [[1, 1], [2, 2]], 'mask', mask='x')), 'shape 1: '),
    ],
)
def test_malformed_files(content, message):
    with pytest.raises(DatasetError, match=f'^a.json.*{message}'):
        parse_labelme(content if isinstance(content, bytes) else content.encode(), 'a.json')


def test_unknown_class(tmp_path):
    write(tmp_path, {'a.png': png(), 'a.json': labelme(shape('rust', SQUARE))})
    with pytest.raises(
        DatasetError, match=r"a.json, shape 1: unknown class 'rust', not one of dent"
    ):
        Labelme(tmp_path, classes=['dent']).read(0)


@pytest.mark.parametrize(
    'kind, points, bbox',
    [
        ('Polygon', SQUARE, (2, 2, 6, 6)),
        ('rotation', [[5, 3], [20, 8], [18, 14], [3, 9]], (3, 3, 17, 11)),
        ('oriented_rectangle', [[5, 3], [20, 8], [18, 14], [3, 9]], (3, 3, 17, 11)),
        ('quadrilateral', [[5, 3], [20, 8], [18, 14], [3, 9]], (3, 3, 17, 11)),
        ('cuboid', [*SQUARE, [4, 1], [10, 1], [10, 7], [4, 7]], (2, 1, 8, 7)),
        ('RECTANGLE', [[2, 2], [8, 2], [8, 8], [2, 8]], (2, 2, 6, 6)),
    ],
)
def test_every_kind_with_an_area(tmp_path, kind, points, bbox):
    record = read(tmp_path, shape('dent', points, kind))
    assert boxes(record) == [(0, bbox)] and record.fixes == []


def test_unknown_kinds_and_lone_lines_stop(tmp_path):
    with pytest.raises(DatasetError, match="unknown shape_type 'star', not one of rectangle"):
        read(tmp_path, shape('dent', SQUARE, 'star'))
    with pytest.raises(DatasetError, match=r'a.png would count as free of defects'):
        read(tmp_path, shape('dent', [[1, 1], [9, 9]], 'linestrip'))


def test_what_is_to_be_ignored(tmp_path):
    record = read(
        tmp_path,
        shape('dent', SQUARE),
        shape('__ignore__', [[5, 5], [12, 5], [12, 12], [5, 12]]),
        shape('__ignore__', [[20, 2], [22, 4]], 'rectangle'),
    )
    assert boxes(record) == [(0, (2, 2, 6, 6))]
    # The dent stays where the two overlap.
    assert (record.seg_map == 255).sum() == 49 - 9 + 4 and (record.seg_map == 1).sum() == 36
    with pytest.raises(DatasetError, match='_background_ is no class'):
        read(tmp_path, shape(' _background_', SQUARE))


def test_what_is_to_be_ignored_in_a_set_of_boxes(tmp_path):
    content = labelme(shape('dent', [[1, 1], [5, 6]], 'rectangle'), shape('__ignore__', SQUARE))
    converter = Labelme(write(tmp_path, {'a.png': png(), 'a.json': content}))
    assert converter.read(0).seg_map is None and converter.classes == ('dent',)
    assert converter.notes[0].startswith('1 shapes labelled __ignore__ left out')


def test_embedded_images(tmp_path):
    data = dict(json.loads(labelme(shape('dent', SQUARE))), imagePath='gone.png')
    for name, seed in dict(a=1, b=2).items():
        data['imageData'] = base64.b64encode(png(seed)).decode()
        write(tmp_path, {f'{name}.json': json.dumps(data)})
    write(tmp_path, {'b.png': png(3)})
    converter = Labelme(tmp_path)
    assert converter.notes == ['1 images taken out of their labelme files']
    first, second = converter.read(0), converter.read(1)
    # The file beside it counts more than what is embedded.
    assert first.image == png(1) and second.image == png(3)
    assert (first.file_name, second.file_name) == ('a.png', 'b.png')


def test_a_file_that_was_drawn_on_another_image(tmp_path):
    data = json.loads(labelme(shape('dent', SQUARE)))
    files = {'a.png': png(), 'b.png': png(1), 'b.json': labelme(shape('dent', SQUARE))}
    files['a.json'] = json.dumps(data | dict(imagePath='b.png'))
    with pytest.raises(DatasetError, match=r'a.json: its imagePath is b.png, another image'):
        Labelme(write(tmp_path, files))
    for stale in ('gone.png', r'..\line1\a.png', '/home/x/a.png'):
        write(tmp_path, {'a.json': json.dumps(data | dict(imagePath=stale))})
        assert len(Labelme(tmp_path)) == 2


@pytest.mark.parametrize(
    'more, message',
    [
        (dict(group_id=[1]), r'group_id is \[1\], neither'),
        (dict(label=' '), 'no label'),
        (dict(label=None), 'no label'),
        (dict(label=float('nan')), 'no label'),
        (dict(shape_type=5), 'unknown shape_type 5'),
        (dict(points=5), 'points are not pairs'),
        (dict(points=[[1, 1], [1e9, 2], [2, 2]]), 'far outside of the image'),
        (dict(shape_type='mask', mask=5), 'malformed mask'),
        (dict(shape_type='mask', mask='AAAA'), 'not an image'),
        (dict(shape_type='mask', mask=WIDE), 'mask has 9x2 pixels, its corners span'),
    ],
)
def test_malformed_shapes(tmp_path, more, message):
    with pytest.raises(DatasetError, match=message):
        read(tmp_path, shape('dent', SQUARE) | more)


def test_every_fault_is_told_when_nothing_is_left(tmp_path):
    write(tmp_path, {f'{n}.{end}': png() for n in 'ab' for end in ('png', 'json')})
    with pytest.raises(DatasetError, match=r'2 of 2 have one: .*a.json: malformed.*b.json'):
        Labelme(tmp_path, skip_bad=True)


@pytest.mark.parametrize(
    'text, message',
    [
        ('[' * 99999, 'nested too deeply'),
        ('{"shapes": [], "shapes": []}', "the key 'shapes' twice"),
    ],
)
def test_malformed_json(tmp_path, text, message):
    write(tmp_path, {'a.png': png(), 'a.json': text})
    with pytest.raises(DatasetError, match=message):
        Labelme(tmp_path)


@pytest.mark.parametrize('key', ['objects', 'annotations', 'regions'])
def test_objects_in_another_list_make_no_negative(tmp_path, key):
    content = json.dumps(dict(shapes=[], **{key: [dict(label='dent')]}))
    write(tmp_path, {'a.png': png(), 'a.json': content})
    with pytest.raises(DatasetError, match=f"a.json: the list 'shapes' is empty, but '{key}'"):
        Labelme(tmp_path, classes=['dent'])


@pytest.mark.parametrize('side, message', [('400', 'says 400x20'), (400.0, 'says 400x20')])
def test_stated_sizes_of_any_form_are_compared(tmp_path, side, message):
    with pytest.raises(DatasetError, match=message):
        read(tmp_path, shape('dent', SQUARE), width=side)


def test_blanks_around_labels_are_told(tmp_path):
    files = {'a.png': png(), 'a.json': labelme(shape(' dent', SQUARE), shape('dent', SQUARE))}
    converter = Labelme(write(tmp_path, files))
    assert converter.classes == ('dent',)
    assert converter.notes == ['blanks around the labels of 1 shapes removed']


def test_an_embedded_image_behind_the_head_of_a_data_uri(tmp_path):
    text = 'data:image/png;base64,' + base64.b64encode(png()).decode()
    content = json.dumps(dict(shapes=[shape('dent', SQUARE)], imageData=text))
    assert Labelme(write(tmp_path, {'a.json': content})).read(0).width == 30
