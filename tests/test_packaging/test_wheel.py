import shutil
import sys
from email import message_from_string
from pathlib import PurePosixPath
from zipfile import ZipFile

import pytest

from mkbackbones.version import __version__

from .conftest import build_wheel, run


def files(folder, *names):
    return {
        path.relative_to(folder).as_posix()
        for name in names
        for path in [folder / name, *(folder / name).rglob('*')]
        if path.is_file() and '__pycache__' not in path.parts
    }


@pytest.fixture(scope='module')
def names(wheel):
    return set(ZipFile(wheel).namelist())


@pytest.fixture(scope='module')
def metadata(wheel):
    with ZipFile(wheel) as archive:
        text = archive.read(f'mkbackbones-{__version__}.dist-info/METADATA').decode()
    return message_from_string(text)


def test_nothing_but_the_two_packages_is_at_the_top(names):
    tops = {PurePosixPath(name).parts[0] for name in names}
    assert tops == {'_mkbackbones_mim', 'mkbackbones', f'mkbackbones-{__version__}.dist-info'}


def test_it_holds_every_module_and_data_file(names, source):
    wanted = {name for name in files(source, 'mkbackbones') if name.endswith(('.py', '.json'))}
    assert wanted <= names
    assert any(name.startswith('mkbackbones/datasets/splits/') for name in names)


def test_type_checkers_are_told_that_it_has_types(names):
    assert 'mkbackbones/py.typed' in names


@pytest.mark.parametrize('package', ['mkbackbones', '_mkbackbones_mim'])
def test_both_mim_folders_hold_all_configs_and_tools(names, source, package):
    prefix = f'{package}/.mim/'
    held = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    assert held == files(source, 'configs', 'tools', 'model-index.yml')


def test_it_does_not_choose_an_openmmlab_line_for_the_user(metadata):
    required = [r for r in metadata.get_all('Requires-Dist') if 'extra ==' not in r]
    assert not [r for r in required if r.startswith(('mm', 'onedl'))]
    assert any(r.startswith('torch>=') for r in required)
    assert set(metadata.get_all('Provides-Extra')) == {'onedl', 'cluster', 'export', 'dev'}


def test_it_has_no_console_script(names):
    # Its '../../../bin/x' would come first in RECORD, where onedl-mim reads the package folder.
    assert not [name for name in names if name.endswith('entry_points.txt')]


def test_building_leaves_no_second_copy_of_a_config(wheel, source):
    assert not (source / 'build').exists()
    assert len(list(source.rglob('mk_toy_config.py'))) == 1


def test_a_source_distribution_builds_the_same_wheel(source, names, tmp_path):
    code = 'import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])'
    run(sys.executable, '-c', code, tmp_path, cwd=source)
    shutil.unpack_archive(next(tmp_path.glob('*.tar.gz')), tmp_path)
    rebuilt = build_wheel(tmp_path / f'mkbackbones-{__version__}', tmp_path)
    assert set(ZipFile(rebuilt).namelist()) == names


def test_installed_it_is_what_mim_finds_first_and_runs(environment, wheel, tmp_path):
    env = environment(wheel)
    assert ZipFile(wheel).namelist()[0].startswith('_mkbackbones_mim/')  # unsorted installers
    record = env.packages / f'mkbackbones-{__version__}.dist-info' / 'RECORD'
    assert record.read_text().startswith('_mkbackbones_mim/')
    assert 'prepare-dataset' in run(env.python, '-m', 'mkbackbones', '--help', cwd=tmp_path)
