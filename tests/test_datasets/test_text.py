import json

import pytest

from mkbackbones.datasets import DatasetError, text
from mkbackbones.datasets.generic.base import class_names
from mkbackbones.datasets.naming import natural_order
from mkbackbones.datasets.text import parse_json, parse_xml, parse_yaml


@pytest.mark.parametrize(
    'content', [b'["\\ud800"]', b'{"\\udc80x": 1}', '"\ud800"'.encode('utf-8', 'surrogatepass')]
)
def test_half_a_character(content):
    with pytest.raises(DatasetError, match=r'^a.json: malformed JSON .*half a character'):
        parse_json(content, 'a.json')
    assert parse_json(json.dumps('\U0001f600').encode(), 'a.json') == '\U0001f600'


def test_numbers_of_thousands_of_digits():
    with pytest.raises(DatasetError, match='a number of thousands of digits'):
        parse_json(b'9' * 5000, 'a.json')
    assert natural_order(['a' + '9' * 5000, 'a10', 'a9', 'a010']) == [
        'a9', 'a10', 'a010', 'a' + '9' * 5000
    ]  # fmt: skip


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
def test_yaml_in_any_marked_encoding(encoding):
    assert parse_yaml('names: [Maß, no]'.encode(encoding), 'a') == {'names': ['Maß', 'no']}


@pytest.mark.parametrize(
    'content, message',
    [
        (b'names: [a]\nnames: [b]', "the key 'names' twice"),
        (b'names: {0: a, 0: b}', "the key '0' twice"),
        (b'x: [{a: 1, a: 2}]', "the key 'a' twice"),
        (b'names: [\xff]', 'not text in UTF-8'),
        ('names: [a]'.encode('utf-16-le'), 'zero byte'),
        (b'names: ["\\ud800"]', 'half a character'),
        (b'[' * 5000, 'malformed YAML'),
    ],
)
def test_malformed_yaml(content, message):
    with pytest.raises(DatasetError, match=f'^data.yaml: .*{message}'):
        parse_yaml(content, 'data.yaml')


def test_xml_of_too_many_tags(monkeypatch):
    monkeypatch.setattr(text, '_MOST_TAGS', 100)
    assert len(parse_xml(b'<a>' + b'<b/>' * 98 + b'</a>', 'a.xml')) == 98
    with pytest.raises(DatasetError, match=r'a.xml: XML of more than'):
        parse_xml(b'<a>' + b'<b/>' * 99 + b'</a>', 'a.xml')


@pytest.mark.parametrize('name', ['de\0nt', 'a\nb', 'a\u2028b', '\x1b[1m', 'a\ud800', 'a\x85b'])
def test_class_names_that_cannot_be_shown(name):
    with pytest.raises(DatasetError, match='which is no letter'):
        class_names([name], ())


def test_blanks_around_class_names():
    assert class_names([' dent ', 'crack'], ()) == ('dent', 'crack')
    with pytest.raises(DatasetError, match='given twice'):
        class_names(['dent', 'dent '], ())
