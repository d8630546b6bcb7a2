import numpy as np
import pytest

from mkbackbones.datasets import DatasetError
from mkbackbones.datasets.generic.cvat import Cvat

from .common import boxes, by_name, pixels, png, write

LABELS = """<labels>
<label><name>scratch</name><type>any</type></label><label><name>dent</name></label>
<label><name>unused</name><type>polygon</type></label><label><name>ok</name><type>tag</type></label>
<label><name>tip</name><type>points</type></label>
<label><name>part</name><type>any</type><parent>arm</parent></label></labels>"""


def image(name, *shapes, **more):
    stated = ' '.join(f'{key}="{value}"' for key, value in more.items())
    return f'<image id="0" name="{name}" width="30" height="20" {stated}>{"".join(shapes)}</image>'


def cvat(*images, labels=LABELS):
    meta = f'<meta><project>{labels}</project></meta>'
    return f'<annotations><version>1.1</version>{meta}{"".join(images)}</annotations>'


def shape(kind, label='dent', inner='', **values):
    stated = ' '.join(f'{key}="{value}"' for key, value in values.items())
    return f'<{kind} label="{label}" source="manual" occluded="0" {stated}>{inner}</{kind}>'


BOX = shape('box', xtl=2, ytl=3, xbr=8, ybr=7)


def read(tmp_path, *shapes):
    write(tmp_path, {'a.png': png(), 'annotations.xml': cvat(image('a.png', *shapes))})
    return Cvat(tmp_path).read(0)


def test_boxes_alone(tmp_path):
    record = read(tmp_path, BOX, shape('box', 'scratch', xtl=-2, ytl=3, xbr=5, ybr=9, rotation=0))
    assert boxes(record) == [(1, (2, 3, 6, 4)), (0, (0, 3, 5, 6))]
    assert record.seg_map is None
    assert record.fixes == [
        f'box clipped to the image: {tmp_path.name}/annotations.xml, image 1 (a.png), shape 2'
    ]


def test_areas(tmp_path):
    record = read(
        tmp_path,
        shape('polygon', points='2,2;8,2;8,8;2,8'),
        shape('ellipse', cx=20, cy=10, rx=4, ry=4),
        shape('mask', rle='1, 3, 2', left=12, top=1, width=3, height=2),
        shape('box', xtl=20, ytl=4, xbr=28, ybr=6, rotation=90),
        BOX,
    )
    square, circle, mask, turned, box = range(5)
    assert pixels(record, square)[2:8, 2:8].all() and record.instances[square].area == 36
    assert record.instances[circle].bbox == (16, 6, 8, 8)
    assert np.argwhere(pixels(record, mask)).tolist() == [[1, 13], [1, 14], [2, 12]]
    assert record.instances[turned].bbox == (23, 1, 2, 8)
    assert record.instances[box].mask is None


def test_a_cuboid_is_its_outline(tmp_path):
    front = dict(xtl1=5, ytl1=5, xbl1=5, ybl1=10, xbr1=10, ybr1=10, xtr1=10, ytr1=5)
    back = dict(xtl2=7, ytl2=3, xbl2=7, ybl2=8, xbr2=12, ybr2=8, xtr2=12, ytr2=3)
    record = read(tmp_path, shape('cuboid', **front, **back))
    assert record.instances[0].bbox == (5, 3, 7, 7)


def test_what_is_left_out_is_told(tmp_path):
    skeleton = shape('skeleton', 'arm', shape('points', 'part', points='1,1'))
    line = shape('polyline', 'tip', points='1,1;5,5')
    attribute = '<attribute name="depth">3</attribute>'
    good = shape('tag', 'ok')
    write(
        tmp_path,
        {
            'a.png': png(),
            'b.png': png(1),
            'c.png': png(2),
            'x.xml': cvat(
                image('a.png', BOX.replace('></', f'>{attribute}</'), line, skeleton),
                image('b.png', good),
            ),
        },
    )
    converter = Cvat(tmp_path)
    assert converter.classes == ('scratch', 'dent', 'unused')
    assert converter.notes == [
        'tags of whole images left out: 1 x ok',
        '1 attributes of shapes left out',
        '1 images left out, since no file lists them: c.png',
    ]
    records = by_name(converter)
    where = f'{tmp_path.name}/x.xml, image 1 (a.png), shape'
    assert records['a.png'].fixes == [
        f'polyline without an area dropped: {where} 2',
        f'skeleton without an area dropped: {where} 3',
    ]
    assert boxes(records['b.png']) == []


def test_an_image_whose_only_mark_has_no_area_is_no_negative(tmp_path):
    with pytest.raises(DatasetError, match=r'a.png would count as free of defects'):
        read(tmp_path, shape('polyline', points='1,1;5,5'))


def test_a_tag_of_a_defect_is_no_negative(tmp_path):
    write(
        tmp_path,
        {
            'a.png': png(),
            'b.png': png(1),
            'x.xml': cvat(image('a.png', BOX), image('b.png', shape('tag', 'dent'))),
        },
    )
    with pytest.raises(DatasetError, match="1 images carry the class 'dent' as a tag"):
        Cvat(tmp_path)


def test_subsets_and_several_tasks(tmp_path):
    write(
        tmp_path,
        {
            'job1/annotations.xml': cvat(
                image('a.png', BOX, subset='Train'), image('sub/b.png', BOX, subset='Validation')
            ),
            'job2/annotations.xml': cvat(image('a.png', BOX, subset='test', task_id='7')),
            'job1/images/a.png': png(),
            'job1/images/sub/b.png': png(1),
            'job2/images/a.png': png(2),
        },
    )
    records = by_name(Cvat(tmp_path))
    assert {name: record.split for name, record in records.items()} == {
        'job1__a.png': 'train',
        'b.png': 'val',
        'job2__a.png': 'test',
    }


def test_without_declared_labels_those_found_count(tmp_path):
    shapes = [BOX, shape('box', 'crack', xtl=2, ytl=3, xbr=8, ybr=7)]
    write(tmp_path, {'a.png': png(), 'x.xml': cvat(image('a.png', *shapes), labels='')})
    assert Cvat(tmp_path).classes == ('crack', 'dent')
    assert Cvat(tmp_path, classes=['dent', 'crack']).classes == ('dent', 'crack')
    with pytest.raises(DatasetError, match="shape 2: unknown class 'crack', not one of dent"):
        Cvat(tmp_path, classes=['dent']).read(0)


@pytest.mark.parametrize(
    'item, message',
    [
        (shape('box', xtl=2, ytl=3, xbr=8), 'ybr is None, not a number'),
        (shape('box', xtl=2, ytl=3, xbr=8, ybr='nan'), "ybr is 'nan', not a number"),
        (shape('box', '', xtl=2, ytl=3, xbr=8, ybr=9), 'a box without a label'),
        (shape('polygon', points='1,1;2,2'), 'a polygon of 2 points'),
        (shape('polygon', points='1,1;2;3,3'), 'points are not x,y;x,y'),
        (shape('polygon', points='1,1;2,2;1e8,3'), 'far outside of the image'),
        (shape('mask', rle='1,2', left=1, top=1, width=2, height=2), 'do not add up to the 2x2'),
        (shape('mask', rle='9,-5', left=1, top=1, width=2, height=2), 'do not add up'),
        (shape('mask', rle='0,4', left=29, top=1, width=2, height=2), 'leaves the image of 30x20'),
        (shape('mask', rle='x', left=1, top=1, width=2, height=2), 'rle is not numbers'),
        (shape('mask', rle='0,1', left=0.5, top=1, width=1, height=1), "left is '0.5'"),
        (shape('ellipse', cx=1, cy=1, rx=-2, ry=1), 'radii'),
        (shape('star', points='1,1;2,2;3,3'), 'unknown shape <star>, not one of box'),
    ],
)
def test_malformed_shapes(tmp_path, item, message):
    with pytest.raises(DatasetError, match=message):
        read(tmp_path, item)
    with pytest.raises(DatasetError, match=message):
        Cvat(tmp_path, skip_bad=True, classes=['dent']).read(0)


@pytest.mark.parametrize(
    'content, message',
    [
        ('<html/>', 'not a CVAT for images file: its root is <html>'),
        ('<annotation/>', 'this looks like Pascal VOC: take `prepare-dataset voc`'),
        ('<annotations><track/></annotations>', 'this looks like CVAT for video'),
        ('<annotations', 'malformed XML'),
        (cvat(), 'holds no CVAT for images file'),
        (cvat(image('', BOX)), 'image 1: no name'),
        (cvat(image('b.png', BOX)), 'images are missing: b.png'),
        (cvat(image('a.png', BOX), image('a.png', BOX)), 'is listed twice'),
        (cvat(image('a.png', BOX)).replace('"30"', '"31"'), 'says 31x20 pixels'),
        (f'<!DOCTYPE a [<!ENTITY b "c">]>{cvat()}', 'declares entities of its own'),
    ],
)
def test_malformed_files(tmp_path, content, message):
    write(tmp_path, {'a.png': png(), 'x.xml': content})
    with pytest.raises(DatasetError, match=message):
        Cvat(tmp_path).read(0)
