"""docs/architecture.md names what is there, and its floors are those that the lint checks."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / 'docs/architecture.md').read_text(encoding='utf-8')
PATHS = sorted({name for name in re.findall(r'`([\w./-]+)`', TEXT) if '/' in name or '.py' in name})


def test_paths_are_found():
    assert len(PATHS) > 50


@pytest.mark.parametrize('path', PATHS)
def test_each_path_exists(path):
    assert (ROOT / path).exists() or (ROOT / 'mkbackbones' / path).exists()


def floors_of_the_text(heading):
    """First cells of the table below a heading."""
    rows = TEXT.split(heading)[1].split('\n\n')[1].splitlines()[2:]
    return [set(re.findall(r'`(\w+)`', row.split('|')[1])) for row in rows]


@pytest.mark.parametrize(
    'package, before', [('mkbackbones', 'no two modules'), ('mkbackbones.study', 'has floors of')]
)
def test_floors_are_those_of_the_contract(package, before):
    tomllib = pytest.importorskip('tomllib')
    linted = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))
    contracts = linted['tool']['importlinter']['contracts']
    (layers,) = (c['layers'] for c in contracts if c.get('containers') == [package])
    assert floors_of_the_text(before) == [set(re.findall(r'\w+', layer)) for layer in layers]


@pytest.mark.parametrize('package', ['mkbackbones', 'mkbackbones/study'])
def test_every_room_has_a_floor(package):
    rooms = {path.parent.name for path in (ROOT / package).glob('*/__init__.py')}
    rooms |= {path.stem for path in (ROOT / package).glob('*.py')} - {'__init__'}
    assert rooms <= set(re.findall(r'`(\w+)`', TEXT))
