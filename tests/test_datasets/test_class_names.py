import json

import pytest

from mkbackbones.datasets.class_names import class_fault, class_note


@pytest.fixture
def coco(tmp_path):
    def make(*names, classes=('dent', 'scratch'), **more):
        categories = [dict(id=index, name=name) for index, name in enumerate(names, start=3)]
        (tmp_path / 'train.json').write_text(json.dumps(dict(categories=categories)))
        metainfo = {} if classes is None else dict(metainfo=dict(classes=classes))
        return dict(data_root=str(tmp_path), ann_file='train.json', **metainfo, **more)

    return make


def test_names_that_agree(coco):
    assert class_fault(coco('dent', 'scratch')) is class_note(coco('dent', 'scratch')) is None


def test_a_misspelt_class_is_a_fault(coco):
    fault = class_fault(coco('dent', 'scrach', 'pit'))
    assert "the class 'scratch'" in fault and "did you mean 'scrach'?" in fault
    assert 'train.json' in fault


def test_another_order_is_a_fault_since_mmdet_numbers_as_the_file_does(coco):
    assert 'numbers them scratch, dent: take that order' in class_fault(coco('scratch', 'dent'))
    assert class_fault(coco('dent', 'pit', 'scratch')) is None


def test_classes_left_out_by_choice_are_told(coco):
    assert class_fault(coco('dent', 'pit', 'scratch')) is None
    assert class_note(coco('dent', 'pit', 'scratch')).startswith('objects of pit in ')


def test_mmdet_itself_drops_and_renumbers(coco, tmp_path):
    """The reason for the check, so that it goes when mmdet mends this."""
    CocoDataset = pytest.importorskip('mmdet.datasets').CocoDataset
    config = coco('scratch', 'dent')
    content = json.loads((tmp_path / 'train.json').read_text())
    content['images'] = [dict(id=1, file_name='a.png', width=9, height=9)]
    box = dict(image_id=1, bbox=[1, 1, 5, 5], area=25, iscrowd=0)
    content['annotations'] = [dict(box, id=1, category_id=3), dict(box, id=2, category_id=4)]
    (tmp_path / 'train.json').write_text(json.dumps(content))
    (item,) = CocoDataset(data_prefix=dict(img=''), **config)
    named = [config['metainfo']['classes'][box['bbox_label']] for box in item['instances']]
    assert named == ['dent', 'scratch']  # the file says scratch, dent
    config['metainfo'] = dict(classes=('dent', 'scrach'))
    (item,) = CocoDataset(data_prefix=dict(img=''), **config)
    assert len(item['instances']) == 1


def test_classes_of_a_type(coco):
    pytest.importorskip('mmdet')
    neu = class_fault(coco('crazing', classes=None, type='mkbackbones.NeuDetDataset'))
    assert "the class 'inclusion'" in neu
    plain = class_fault(coco('dent', classes=None, type='CocoDataset'), 'mmdet')
    assert "the class 'person'" in plain


def test_class_maps(tmp_path):
    (tmp_path / 'dataset.json').write_text(json.dumps(dict(classes=['dent', 'scratch'])))

    def fault(*classes, **more):
        return class_fault(
            dict(
                data_root=str(tmp_path),
                data_prefix=dict(img_path='images/train', seg_map_path='masks/train'),
                metainfo=dict(classes=classes),
                **more,
            )
        )

    assert fault('background', 'dent', 'scratch') is fault('good', 'dent', 'scratch') is None
    assert fault('dent', 'scratch', reduce_zero_label=True) is None
    assert "did you mean 'scratch'?" in fault('background', 'dent', 'scrach')
    assert 'take that order' in fault('background', 'scratch', 'dent')
    assert 'its pixels would be of no class' in fault('background', 'dent')


@pytest.mark.parametrize('content', [None, '{', '[]', '{"categories": 5}', '{"categories": []}'])
def test_what_cannot_be_told_is_no_fault(coco, tmp_path, content):
    config = coco('dent')
    if content is None:
        (tmp_path / 'train.json').unlink()
    else:
        (tmp_path / 'train.json').write_text(content)
    assert class_fault(config) is class_note(config) is None
    assert class_fault(dict(config, backend_args=dict(backend='s3'))) is None
    assert class_fault(dict(type='Unknown', ann_file='list.txt')) is None
