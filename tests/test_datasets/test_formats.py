import json

import pytest

from mkbackbones.datasets.formats import name_format, reader_hint

SAMPLES = {
    'CVAT for images': '<?xml version="1.0"?><annotations><version>1.1</version></annotations>',
    'CVAT for video': '<annotations><version>1.1</version><track id="0" label="a"/></annotations>',
    'Pascal VOC': '<annotation><object><bndbox/></object></annotation>',
    'LabelMe (XML)': '<annotation><object><polygon><pt/></polygon></object></annotation>',
    'VGG Image Annotator': json.dumps({'a.png1234': dict(filename='a.png', regions=[])}),
    'Supervisely': json.dumps(dict(size=dict(height=4, width=5), objects=[])),
    'Label Studio': json.dumps([dict(id=1, data=dict(image='a.png'), annotations=[])]),
    'Label Studio (JSON-MIN)': json.dumps([dict(id=1, image='a.png', annotator=1)]),
    'Datumaro': json.dumps(dict(info={}, categories=dict(label={}), items=[])),
    'CreateML': json.dumps([dict(image='a.png', annotations=[dict(label='a', coordinates={})])]),
    'COCO': json.dumps(dict(images=[], annotations=[], categories=[])),
    'labelme': json.dumps(dict(shapes=[])),
    'DOTA': 'imagesource:GoogleEarth\ngsd:0.1\n1 1 9 1 9 9 1 9 dent 0\n',
    'YOLO': '0 0.5 0.5 0.1 0.1\n',
}


@pytest.mark.parametrize('name', SAMPLES)
def test_formats_are_known_by_their_content(name):
    content = SAMPLES[name].encode()
    assert name_format(content) == name
    assert f'this looks like {name}: ' in reader_hint(content, 'another')
    assert reader_hint(content, name) == ''


@pytest.mark.parametrize(
    'content', [b'', b'\xff\xfe\x00', b'{', b'<html/>', b'[' * 9999, b'hello', b'[1]', b'{"a": 1}']
)
def test_anything_else_has_no_name(content):
    assert name_format(content) is None


def test_dota_without_its_head():
    assert name_format(b'1.0 1 9 1 9 9 1 9 dent 0\n') == 'DOTA'
