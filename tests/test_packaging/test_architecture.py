"""docs/architecture.md names what is there, and its floors are those that the lint checks.

With them what no linter can be told.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / 'docs/architecture.md').read_text(encoding='utf-8')
PATHS = sorted({name for name in re.findall(r'`([\w./-]+)`', TEXT) if '/' in name or '.py' in name})


MODULES = sorted((ROOT / 'mkbackbones').rglob('*.py'))
#: Loaded as a part of another package, see there.
ABSOLUTE = {ROOT / 'mkbackbones/ops/extension.py'}


def read_pyproject():
    tomllib = pytest.importorskip('tomllib')
    return tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))


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
    contracts = read_pyproject()['tool']['importlinter']['contracts']
    (layers,) = (c['layers'] for c in contracts if c.get('containers') == [package])
    assert floors_of_the_text(before) == [set(re.findall(r'\w+', layer)) for layer in layers]


@pytest.mark.parametrize('package', ['mkbackbones', 'mkbackbones/study'])
def test_every_room_has_a_floor(package):
    rooms = {path.parent.name for path in (ROOT / package).glob('*/__init__.py')}
    rooms |= {path.stem for path in (ROOT / package).glob('*.py')} - {'__init__'}
    assert rooms <= set(re.findall(r'`(\w+)`', TEXT))


def test_imports_within_the_package_are_relative():
    found = [
        f'{path.relative_to(ROOT)}:{node.lineno}'
        for path in MODULES
        if path not in ABSOLUTE
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
        if isinstance(node, ast.ImportFrom)
        and node.level == 0
        and (node.module or '').partition('.')[0] == 'mkbackbones'
    ]
    assert found == []


def test_no_module_is_without_types_but_triton_s():
    overrides = read_pyproject()['tool']['mypy']['overrides']
    untyped = [
        name
        for override in overrides
        if override.get('disallow_untyped_defs') is False
        for name in override['module']
    ]
    for name in untyped:
        path = ROOT / f'{name.replace(".", "/")}.py'
        assert '@triton.jit' in path.read_text(encoding='utf-8'), f'{name} can have types'
