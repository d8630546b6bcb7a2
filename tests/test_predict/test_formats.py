"""What other tools read of predictions; labelme and YOLO by way of our own readers."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from mkbackbones.datasets import iter_records
from mkbackbones.datasets.generic.labelme import Labelme
from mkbackbones.datasets.generic.yolo import Yolo
from mkbackbones.predict import Instance, Prediction, masks
from mkbackbones.predict.formats import Sheet, coco, labelme, named_from, names, png, table, yolo
from mkbackbones.predict.inputs import Picture

CLASSES = ('crack', 'dent, "deep"')


def instance(label, score, left, top, width, height, hole=False):
    mask = np.ones((height, width), bool)
    if hole:
        mask[height // 2, 1:-1] = False
    code = masks.encode(mask, left, top, 60, 40)
    return Instance(label, CLASSES[label], score, (left, top, width, height), code)


PREDICTION = Prediction(
    'a.png', 60, 40, 0.9,
    (instance(1, 0.9, 5, 6, 20, 10, hole=True), instance(0, 0.6, 20, 10, 30, 20),
     instance(0, 0.1, 0, 0, 3, 3)),
)  # fmt: skip
BOXES = Prediction('b.png', 60, 40, 0.8, (Instance(1, CLASSES[1], 0.8, (1.5, 2.25, 10.0, 20.5)),))
NOTHING = Prediction('c.png', 60, 40, 0.0)
FOUND = [
    (Picture(Path(f'x/{prediction.path}'), f'x/{prediction.path}', prediction.path[0]), prediction)
    for prediction in (PREDICTION, BOXES, NOTHING)
]


def test_predictions_survive_json():
    for prediction in (PREDICTION, BOXES, NOTHING):
        again = Prediction.from_json(json.loads(json.dumps(prediction.to_json())))
        assert vars(again) == vars(prediction)


def test_coco(tmp_path):
    (name, content) = coco(CLASSES, FOUND).popitem()
    path = tmp_path / name
    path.write_text(content, encoding='utf-8')
    read = COCO(path)
    assert [image['file_name'] for image in read.dataset['images']] == [
        'x/a.png',
        'x/b.png',
        'x/c.png',
    ]
    assert [image['score'] for image in read.dataset['images']] == [0.9, 0.8, 0.0]
    assert len(read.getAnnIds(imgIds=[1])) == 3 and read.getAnnIds(imgIds=[3]) == []
    assert np.array_equal(read.annToMask(read.anns[1]), PREDICTION.instances[0].bitmap())
    assert read.cats[read.anns[4]['category_id']]['name'] == CLASSES[1]
    assert read.loadRes(read.dataset['annotations']).anns[4]['score'] == 0.8


def test_a_row_an_instance():
    rows = list(csv.DictReader(table(CLASSES, FOUND)['predictions.csv'].splitlines()))
    assert [row['picture'] for row in rows] == ['x/a.png'] * 3 + ['x/b.png', 'x/c.png']
    assert rows[3]['class'] == CLASSES[1] and float(rows[3]['y']) == 2.25
    assert rows[4]['picture_score'] == '0' and rows[4]['class'] == rows[4]['score'] == ''
    assert {row['picture_score'] for row in rows[:3]} == {'0.9'}


def sheets(least=0.0):
    for stem, prediction in (('a', PREDICTION), ('b', BOXES), ('c', NOTHING)):
        yield stem, Sheet(prediction, CLASSES, least, f'../pictures/{stem}.png')


@pytest.fixture
def folder(tmp_path):
    """As the outputs lie beside their pictures."""
    for part in ('pictures', 'labels', 'labelme'):
        (tmp_path / part).mkdir()
    for stem, sheet in sheets():
        cv2.imwrite(str(tmp_path / f'pictures/{stem}.png'), np.zeros((40, 60, 3), np.uint8))
        (tmp_path / f'labelme/{stem}.json').write_bytes(labelme(sheet))
        (tmp_path / f'labels/{stem}.txt').write_bytes(yolo(sheet))
    (tmp_path / 'classes.txt').write_text(names(CLASSES, FOUND)['yolo/classes.txt'])
    return tmp_path


def drawn(records):
    """Class, box and pixels of each object, by picture."""
    found = {}
    for record in records:
        found[Path(record.file_name).stem] = [
            (one.label, one.bbox, None if one.mask is None else one.mask.sum())
            for one in record.instances
        ]
    return found


def test_labelme_is_read_back(folder):
    for path in folder.glob('labels/*'):
        path.unlink()
    found = drawn(iter_records(Labelme(folder, classes=CLASSES)))
    wanted = [(one.label, one.box, one.area) for one in PREDICTION.instances]
    assert sorted(found['a']) == sorted(wanted)
    assert found['b'] == [(1, (1.5, 2.25, 10.0, 20.5), None)] and found['c'] == []


def test_yolo_is_read_back(folder):
    for path in folder.glob('labelme/*'):
        path.unlink()
    found = drawn(iter_records(Yolo(folder)))
    area = sum(one[2] for one in found['a'] if one[0] == 1)
    assert area == PREDICTION.instances[0].area
    ((label, box, _),) = found['b']
    assert label == 1 and box == pytest.approx((1.5, 2.25, 10.0, 20.5), abs=1e-3)
    assert found['c'] == []


def test_annotation_tools_get_what_is_sure():
    sheet = dict(sheets(0.5))['a']
    shapes = json.loads(labelme(sheet))['shapes']
    assert {shape['score'] for shape in shapes} == {0.9, 0.6}
    assert len({shape['group_id'] for shape in shapes if shape['score'] == 0.9}) == 1


def read_png(content):
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)


def test_masks_as_png():
    values = read_png(png(dict(sheets())['a']))
    assert values.dtype == np.uint16 and values.shape == (40, 60)
    surest, second, _ = PREDICTION.instances
    assert (values[surest.bitmap()] == 1).all()
    assert (values[second.bitmap() & ~surest.bitmap()] == 2).all()
    assert (read_png(png(dict(sheets())['b'])) == 1).sum() == 10 * 21
    seg = Prediction('x', 5, 4, 0.5, class_map=np.arange(20, dtype=np.uint8).reshape(4, 5))
    assert np.array_equal(read_png(png(Sheet(seg, CLASSES, 0, ''))), seg.class_map)


def test_how_a_picture_is_named(tmp_path):
    folder = tmp_path / 'out' / 'labelme'
    assert named_from(folder, tmp_path / 'in' / 'a.png') == '../../in/a.png'
