"""``python -m mkbackbones doctor`` on right, broken and crashing installations."""

import getpass
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mkbackbones.doctor import findings, probe, render
from mkbackbones.doctor.wrong import find_wrong
from mkbackbones.openmmlab.distributions import look

from ..test_openmmlab.fakes import MAINTAINED, ORIGINAL, install

ROOT = Path(__file__).parents[2]


def doctor(site, *options, **env):
    """Run the command with a folder of modules before all others."""
    env = {**os.environ, **env, 'PYTHONPATH': os.pathsep.join([str(site), str(ROOT)])}
    command = [sys.executable, '-W', 'ignore', '-m', 'mkbackbones', 'doctor', *options]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


def fake(site, **modules):
    """Write modules; importing one of the others does not cost seconds then."""
    names = ('torchvision', 'timm', 'cv2', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'triton')
    quick = dict.fromkeys(names, "__version__ = '1.2'\n")
    for name, text in {**quick, 'torch': 'raise OSError("no libcudart")\n', **modules}.items():
        (site / name).mkdir()
        (site / name / '__init__.py').write_text(text, encoding='utf-8')


def test_it_outlives_libraries_that_raise_print_exit_or_crash(tmp_path):
    fake(
        tmp_path,
        timm='import sys; print("{}"); sys.exit("leaving")\n',
        cv2='class Odd(BaseException): pass\nraise Odd\n',
        triton='import os; os._exit(11)\n',
    )
    code, out, err = doctor(tmp_path, '--json')
    assert (code, err) == (1, '')
    about = json.loads(out)
    found = {name: entry.get('error') for name, entry in about['imports'].items()}
    assert found['torch'] == 'OSError: no libcudart' and found['timm'] == 'SystemExit: leaving'
    assert found['cv2'].startswith('Odd') and 'process ended' in found['triton']
    assert found['torchvision'] is None
    told = {fault['what'].split()[0]: fault['command'] for fault in about['wrong']}
    assert told['torch'] == 'pip install --force-reinstall torch torchvision'
    assert {'torch', 'timm', 'cv2', 'triton'} <= set(told)


def test_the_text_has_what_a_bug_report_needs(tmp_path):
    fake(tmp_path)
    code, out, _ = doctor(tmp_path, MKBACKBONES_DATA=str(Path.home() / 'sets'))
    assert code == 1
    for word in ('Python', 'torch', 'timm', 'OpenMMLab', 'operators', 'kernels', 'devices'):
        assert f'\n{word} ' in out
    assert 'MKBACKBONES_DATA=~' in out and 'no libcudart' in out
    assert out.count('no libcudart') <= 4


@pytest.mark.slow
def test_this_environment_is_right():
    code, out, _ = doctor(ROOT)
    assert code == 0 and out.endswith('nothing is wrong\n'), out


def test_names_of_users_stay_here(monkeypatch):
    monkeypatch.setenv('HOME', '/home/ada')
    monkeypatch.setattr(getpass, 'getuser', lambda: 'ada')
    told = {'a': ['/home/ada/x', '/data/ada/y', '/home/adagio', 'C:\\Users\\ada'], 'b': 3}
    assert findings.anonymous(told) == {
        'a': ['~/x', '/data/USER/y', '/home/adagio', 'C:\\Users\\USER'],
        'b': 3,
    }


def about(**changes):
    right = {name: {'value': '1.0'} for name in probe.LIBRARIES}
    return {
        **dict(mkbackbones='0', place='', python='3', platform='', driver=None, cores=1),
        **dict(distributions={}, openmmlab={}, line=[], imports=right, settings={}, wrong=[]),
        **dict(cache={'folder': None, 'bytes': 0}, torch_build={}, operators={'value': 'none'}),
        **dict(devices={'value': []}, kernels={'value': []}),
        **changes,
    }


@pytest.mark.parametrize(
    'reasons, text',
    [
        ([], 'do not serve: torch sees no CUDA device'),
        ([''], 'serve, in half precision'),
        (['MKBACKBONES_TRITON=0'], 'do not serve: MKBACKBONES_TRITON=0'),
        (['', 'old'], 'do not serve on all devices: old'),
    ],
)
def test_kernels_say_why_not(reasons, text):
    lines = render(about(kernels={'value': reasons})).splitlines()
    assert f'kernels      {text}' in lines


def test_devices_are_listed():
    device = dict(name='NVIDIA A', memory=80 * 2**30, capability='9.0')
    text = render(about(devices={'value': [device, device]}, driver='570.1'))
    assert 'device 1     NVIDIA A, 80 GiB, compute capability 9.0, driver 570.1' in text


def test_what_one_breaks_in_others_is_told_once(tmp_path):
    libraries = look([install(tmp_path, MAINTAINED)])
    error = {'error': "ModuleNotFoundError: No module named 'torch'"}
    tried = dict.fromkeys(('torch', 'torchvision', 'timm', 'mmengine'), error)
    (found,) = [f for f in find_wrong(libraries, tried) if 'torch' in f['what'].split()[0]]
    assert found == {'what': 'torch is not installed', 'command': 'pip install torch torchvision'}


def test_faults_of_openmmlab_are_among_what_is_wrong(tmp_path):
    libraries = look([install(tmp_path, {**ORIGINAL, **MAINTAINED})])
    assert any('installed twice' in fault['what'] for fault in find_wrong(libraries, {}))
