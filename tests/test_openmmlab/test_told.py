"""How faults reach users: in processes of their own, with installations that are fakes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mkbackbones.openmmlab.sentences import explain
from mkbackbones.packages import pip_install

from .fakes import MAINTAINED, ORIGINAL, install, uninstall

ROOT = Path(__file__).parents[2]


def python(site, *words):
    """Run Python with an installation before all others; return code and standard error."""
    paths = [str(site), str(ROOT)]
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(paths)}
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, cwd=site)
    return done.returncode, done.stderr


def hidden(site, *names):
    """Modules that cannot be found: imports of them fail as if they were not installed."""
    for name in names:
        folder = site / name
        folder.mkdir(parents=True, exist_ok=True)
        error = f"raise ModuleNotFoundError(\"No module named '{name}'\", name='{name}')\n"
        (folder / '__init__.py').write_text(error, encoding='utf-8')


def test_an_import_warns_once(tmp_path):
    install(tmp_path, {**ORIGINAL, **MAINTAINED})
    code, told = python(
        tmp_path, '-c', 'import mkbackbones, importlib; importlib.reload(mkbackbones)'
    )
    assert code == 0
    assert told.count('installed twice') == 1 and 'pip uninstall -y mmengine' in told


def test_an_import_is_silent_where_nothing_is_wrong(tmp_path):
    for line in (ORIGINAL, MAINTAINED):
        site = tmp_path / line.keys().__iter__().__next__()
        install(site, line)
        code, told = python(site, '-S', '-c', 'import mkbackbones.version')
        assert (code, told) == (0, '')


def test_a_command_says_what_is_damaged(tmp_path):
    install(tmp_path, {**ORIGINAL, **MAINTAINED})
    uninstall(tmp_path, *ORIGINAL)
    (tmp_path / 'mmcv' / 'ops' / '__pycache__').mkdir(parents=True)  # which pip leaves
    words = ('prepare-dataset', 'coco', '--src', 'x', '--out', 'y')
    code, told = python(tmp_path, '-m', 'mkbackbones', *words)
    assert code == 2 and 'pip install --force-reinstall --no-deps onedl-mmengine==0.10.12' in told
    assert told.count('onedl-mmengine==0.10.12') == 1 and 'Traceback' not in told


@pytest.mark.parametrize(
    'command',
    [
        ('train', 'faster-rcnn_swin-nano-stock.py', '--device', 'cpu'),
        ('convert-checkpoint', 'a.pth', 'b.pth', '--to', 'mmdet'),
        ('study', 'plan', ROOT / 'configs/studies/demo.py'),
    ],
)
def test_without_mmengine_commands_end_in_a_sentence(tmp_path, command):
    hidden(tmp_path, 'mmengine')
    code, told = python(tmp_path, '-m', 'mkbackbones', *command)
    assert code == 2 and 'Traceback' not in told
    assert 'mmengine' in told.splitlines()[-1]


@pytest.mark.parametrize(
    'command',
    [
        ('prepare-dataset', 'synthetic', '--out', 'data', '--num-train', '1', '--size', '64'),
        ('train', 'faster-rcnn_swin-nano-stock.py', '--device', 'cpu'),
    ],
)
def test_without_opencv_commands_end_in_a_sentence(tmp_path, command):
    hidden(tmp_path, 'cv2')
    code, told = python(tmp_path, '-m', 'mkbackbones', *command)
    assert code == 2 and 'Traceback' not in told
    assert told.splitlines()[-1].endswith(pip_install('cv2'))
    assert list(tmp_path.glob('data*')) == []


@pytest.mark.parametrize('name, package', [('yaml', 'pyyaml'), ('rich', 'rich')])
def test_without_what_is_required_commands_end_in_a_sentence(tmp_path, name, package):
    hidden(tmp_path, name)
    code, told = python(tmp_path, '-m', 'mkbackbones', 'prepare-dataset', 'coco', '--out', 'y')
    assert code == 2 and 'Traceback' not in told
    assert told.splitlines()[-1] in {
        f'error: {name} is not installed: pip install {package}',
        f'error: {name} cannot be imported (No module named {name!r}): '
        'python -m mkbackbones doctor tells more',
    }


def test_help_needs_neither(tmp_path):
    hidden(tmp_path, 'cv2', 'mmengine', 'torch')
    for name in ('prepare-dataset', 'check-leakage', 'train', 'doctor'):
        assert python(tmp_path, '-m', 'mkbackbones', name, '--help') == (0, '')


def test_python_s_own_imports_say_it_too(tmp_path):
    hidden(tmp_path, 'mmengine')
    code, told = python(tmp_path, '-c', 'import mkbackbones; mkbackbones.ManifoldSwin')
    assert code == 1 and told.splitlines()[-1].startswith('ImportError: mkbackbones.backbones: ')


def test_what_is_explained():
    assert explain(ModuleNotFoundError("No module named 'own'", name='own')) is None
    assert explain(ValueError('mmengine')) is None
    told = explain(ModuleNotFoundError("No module named 'nowhere'", name='rich.nowhere'))
    assert 'rich cannot be imported' in told and 'doctor' in told
    told = explain(ModuleNotFoundError('mmsegmentation is not installed, please install it'))
    assert told is None or 'pip install' in told or 'mmseg' in told


def test_what_is_left_of_mmcv_is_no_mmcv(tmp_path):
    """pip leaves folders in which files lie that it has not installed."""
    (tmp_path / 'mmcv' / 'ops' / '__pycache__').mkdir(parents=True)
    check = "import mkbackbones; assert mkbackbones.ops.backend() == 'none'"
    assert python(tmp_path, '-S', '-c', check) == (0, '')
