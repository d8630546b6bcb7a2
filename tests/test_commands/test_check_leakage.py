import csv
import json

import pytest

from mkbackbones.commands.check_leakage import main

from ..test_leakage.surfaces import SIDE, crop, strip, write


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Two crops of one strip on different sides, a copy on one side, and one picture alone."""
    one, other, alone = (strip(seed) for seed in (1, 2, 3))
    images = {
        'images/train/a': crop(one, 0, 0),
        'images/test/b': crop(one, 40, 30),
        'images/train/c': crop(other, 0, 0),
        'images/train/d': crop(other, 0, 0),
        'images/test/e': crop(alone, 0, 0),
    }
    return write(tmp_path_factory.mktemp('leakage'), images)


def test_crossing_pairs(folder, tmp_path, capsys):
    out = tmp_path / 'out'
    assert main([str(folder), '--out', str(out)]) == 1
    assert '1 pairs lie in different splits' in capsys.readouterr().out
    groups = json.loads((out / 'groups.json').read_text())
    assert groups == dict(a='a', b='a', c='c', d='c', e='e')
    with (out / 'pairs.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    first = rows[0]
    assert [row['across_splits'] for row in rows] == ['1', '0']
    assert {first['first_split'], first['second_split']} == {'train', 'test'}
    assert float(first['overlap']) == pytest.approx((SIDE - 40) * (SIDE - 30) / SIDE**2, abs=0.02)
    page = (out / 'index.html').read_text()
    assert page.count('<figure>') == 1 and 'http' not in page.replace('http-equiv', '')


def test_a_split_that_is_planned(folder, tmp_path):
    plan = tmp_path / 'plan.json'
    arguments = [str(folder), '--out', str(tmp_path / 'out'), '--splits', str(plan)]
    plan.write_text(json.dumps(dict(a='train', b='train', c='val', d='val', e='test')))
    assert main(arguments) == 0
    plan.write_text(json.dumps(dict(split=dict(a='train', b='train', c='val', d='test'))))
    assert main(arguments) == 1


def test_without_splits_nothing_leaks(folder, tmp_path, capsys):
    write(tmp_path, dict(a=crop(strip(1), 0, 0), b=crop(strip(1), 30, 0)))
    assert main([str(tmp_path), '--out', str(tmp_path / 'out')]) == 0
    assert 'no splits are known' in capsys.readouterr().out
    assert '<figure>' in (tmp_path / 'out/index.html').read_text()


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['nowhere'], 'nowhere is no folder'),
        (['.'], 'holds 0 pictures'),
        (['.', '--show', '-1'], '--show -1'),
        (['.', '--out', 'text.json'], '--out text.json is a file'),
        (['.', '--splits', 'nowhere.json'], '--splits nowhere.json'),
        (['.', '--splits', 'text.json'], 'malformed JSON'),
        (['.', '--splits', 'list.json'], 'not an object of file stem'),
    ],
)
def test_errors(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'text.json').write_text('hello')
    (tmp_path / 'list.json').write_text('[1]')
    before = sorted(tmp_path.rglob('*'))
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1
    assert sorted(tmp_path.rglob('*')) == before
