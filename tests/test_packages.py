"""What pip is asked for is the same wherever it is told."""

import configparser
import importlib.metadata
import re
import shlex
from pathlib import Path

import pytest

from mkbackbones import opencv
from mkbackbones.doctor.probe import LIBRARIES
from mkbackbones.doctor.wrong import find_wrong
from mkbackbones.openmmlab.sentences import explain
from mkbackbones.packages import PACKAGES, pip_install, pip_reinstall

ROOT = Path(__file__).parents[1]
HEADLESS = 'opencv-python-headless'


def missing(name):
    return ModuleNotFoundError(f"No module named '{name}'", name=name)


@pytest.mark.parametrize('name', ['cv2', 'torch', 'torchvision', 'timm', 'numpy'])
def test_commands_and_doctor_say_the_same(name, monkeypatch):
    monkeypatch.setattr('mkbackbones.openmmlab.sentences.find_spec', lambda root: None)
    tried = {name: {'error': f'ModuleNotFoundError: {missing(name)}'}}
    told = {wrong['what']: wrong['command'] for wrong in find_wrong({}, tried)}
    assert told[f'{name} is not installed'] == pip_install(name)
    assert explain(missing(name)) == f'{name} is not installed: {pip_install(name)}'


@pytest.mark.parametrize(
    'error, command',
    [(missing('cv2'), pip_install), (ImportError('libGL.so.1'), pip_reinstall)],
)
def test_opencv_says_the_same(error, command, monkeypatch):
    def fail(name):
        raise error

    monkeypatch.setattr(opencv.importlib, 'import_module', fail)
    with pytest.raises(ImportError) as told:
        opencv.load()
    assert str(told.value).endswith(command('cv2'))


@pytest.mark.parametrize('version', ['4.11.0.86', None])
def test_the_other_build_of_opencv_is_replaced_by_the_same_version(version, monkeypatch):
    def find(name):
        assert name == 'opencv-python'
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(importlib.metadata, 'version', find)
    wanted = shlex.split(pip_reinstall('cv2'))
    assert wanted[-1] == (f'{HEADLESS}=={version}' if version else f'{HEADLESS}<4.13')
    assert '--no-deps' in wanted, 'pip would replace numpy'


@pytest.mark.parametrize('page', ['README.md', 'docs/environments.md'])
def test_pages_say_the_same(page):
    text = (ROOT / page).read_text(encoding='utf-8')
    told = re.findall(rf'pip install [^\n`]*{HEADLESS}[^\s`]*', text)
    assert {words.replace('--force-reinstall ', '') for words in told} == {pip_install('cv2')}


def test_what_is_required_can_be_told():
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg', encoding='utf-8')
    required = re.findall(r'^([\w-]+)', setup['options']['install_requires'], re.M)
    told = {word for words in PACKAGES.values() for word in words.split()}
    assert set(required) <= told
    assert {'numpy', 'torch', 'torchvision', 'timm', 'cv2'} <= set(LIBRARIES) & set(PACKAGES)
