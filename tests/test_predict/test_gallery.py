import io
import re

from PIL import Image

from mkbackbones.predict import gallery as module
from mkbackbones.predict.alarms import Alarms
from mkbackbones.predict.gallery import gallery, thumbnail
from mkbackbones.predict.results import Instance, Prediction


def one(name, *found, score=None, by_class=()):
    instances = tuple(
        Instance(label, f'class {label}', value, (0.0, 0.0, 4.0, 4.0)) for label, value in found
    )
    best = max((value for _, value in found), default=0.0) if score is None else score
    picture = thumbnail(Image.new('RGB', (800, 400)))
    prediction = Prediction(name, 8, 8, best, instances, class_scores=tuple(by_class))
    return name, prediction, picture


PAGE = gallery(
    ['a', 'b<', 'c'],
    [one('x', (0, 0.4), (1, 0.95)), one('<y>', (0, 0.2)), one('z'), one('w', (1, 0.6))],
    least=0.3,
    alarms=Alarms(0.6, ['a', 'b<', 'c']),
)


def figures(page):
    marks = re.findall(r'<figure class="([^"]*)"', page)
    names = re.findall(r'<figcaption>(?:<b>[^<]*</b> )?[\d.]+ ([^<]*)<', page)
    return {name: set(mark.split()) for name, mark in zip(names, marks)}


def test_pictures_come_by_score_with_what_they_can_be_picked_by():
    assert list(figures(PAGE)) == ['x', 'w', '&lt;y&gt;', 'z']
    assert figures(PAGE)['x'] == {'c0', 'c1', 's0', 's30', 's50', 's70', 's90', 'alarm'}
    assert figures(PAGE)['w'] == {'c1', 's0', 's30', 's50', 'quiet'}  # 0.6 is not above 0.6
    # Its find is below the least score.
    assert figures(PAGE)['&lt;y&gt;'] == {'none', 's0', 'quiet'}
    assert figures(PAGE)['z'] == {'none', 's0', 'quiet'}


def test_a_reader_picks_from_what_there_is():
    boxes = re.findall(r'id="(c\d|none)" checked>([^<]*)<', PAGE)
    assert boxes == [('c0', 'a (1)'), ('c1', 'b&lt; (2)'), ('none', 'nothing found (2)')]
    assert '4 pictures; 1 with an alarm, above 0.6.' in PAGE
    for kind, _ in boxes:
        assert f'body:has(#{kind}:checked) figure.{kind}{{display:block}}' in PAGE


def options(page):
    """What a reader picks alarms from."""
    return re.findall(r'name="alarm" id="(\w+)">([^<]*)<', page)


#: A class of which little is enough, another of which much is needed.
OWN = Alarms({'a': 0.1, 'b<': 0.8}, ['a', 'b<', 'c'])
BY_CLASS = [
    one('x', (0, 0.4), (1, 0.95), by_class=(0.4, 0.95, 0)),
    one('y', (0, 0.2), by_class=(0.2, 0, 0)),
    one('z', (1, 0.7), by_class=(0, 0.7, 0)),
    one('w', (2, 0.9), by_class=(0, 0, 0.9)),
]


def test_alarms_are_picked_by_what_raises_them():
    assert options(PAGE) == [('alarm', 'with one (1)'), ('quiet', 'without (3)')]
    page = gallery(['a', 'b<', 'c'], BY_CLASS, least=0.3, alarms=OWN)
    assert options(page) == [
        ('alarm', 'with one (2)'),
        ('a0', 'by a (2)'),
        ('a1', 'by b&lt; (1)'),
        ('quiet', 'without (2)'),
    ]
    for why, _ in options(page):
        assert f'body:has(#{why}:checked) figure:not(.{why}){{display:none!important}}' in page
    found = {name: marks & {'alarm', 'quiet', 'a0', 'a1'} for name, marks in figures(page).items()}
    assert found == {
        'x': {'alarm', 'a0', 'a1'},
        'w': {'quiet'},
        'z': {'quiet'},
        'y': {'alarm', 'a0'},
    }
    assert '<b>alarm a, b&lt;</b>' in page


def test_without_an_alarm_there_is_nothing_to_pick():
    calm = gallery(['a', 'b<', 'c'], BY_CLASS[2:], least=0.3, alarms=OWN)
    assert not options(calm) and '0 with an alarm' in calm
    assert not options(gallery(['a', 'b<', 'c'], BY_CLASS, least=0.3))


def test_an_alarm_of_a_low_score_is_among_those_that_are_shown(monkeypatch):
    monkeypatch.setattr(module, 'MOST', 3)
    page = gallery(['a', 'b<', 'c'], BY_CLASS, least=0.3, alarms=OWN)
    assert list(figures(page)) == ['x', 'w', 'y']
    assert 'the 3 with an alarm, or the highest scores, are shown' in page


def test_nothing_is_fetched_and_nothing_is_run():
    assert 'http' not in PAGE and '<script' not in PAGE and 'onload' not in PAGE


def test_only_so_many_are_shown(monkeypatch):
    monkeypatch.setattr(module, 'MOST', 2)
    page = gallery(['a'], [one(str(i), (0, i / 10)) for i in range(5)], least=0.0)
    assert list(figures(page)) == ['4', '3'] and 'the 2 with the highest scores' in page
    assert '5 pictures' in page


def test_thumbnails_are_small():
    assert max(Image.open(io.BytesIO(thumbnail(Image.new('L', (3000, 20))))).size) == module.SIDE
