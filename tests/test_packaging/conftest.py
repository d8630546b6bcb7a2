import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.test_commands.toy import write_toy

ROOT = Path(__file__).resolve().parents[2]
BUILD_INPUTS = (
    'LICENSE',
    'MANIFEST.in',
    'README.md',
    '_mkbackbones_mim',
    'configs',
    'mkbackbones',
    'model-index.yml',
    'pyproject.toml',
    'setup.cfg',
    'setup.py',
    'tools',
)


def run(*command, cwd, env=None):
    """Run a command; return its output, or fail with it."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f'{command} ended with {done.returncode}:\n{done.stdout}'
    return done.stdout


class Environment:
    """A virtual environment that sees the packages of the running one, and costs nothing."""

    def __init__(self, folder: Path, env: dict[str, str]):
        self.python = folder / 'bin' / 'python'
        self.env = env
        run(sys.executable, '-m', 'venv', '--without-pip', folder, cwd=folder.parent)
        packages = self.eval("__import__('sysconfig').get_paths()['purelib']", folder)
        self.packages = Path(packages.strip())
        shared = Path(sysconfig.get_paths()['purelib'])
        (self.packages / '_shared.pth').write_text(str(shared))
        # mmengine imports distutils, which since Python 3.12 this file of setuptools provides.
        shutil.copy2(shared / 'distutils-precedence.pth', self.packages)

    def eval(self, expression: str, cwd: Path) -> str:
        return run(self.python, '-c', f'print({expression})', cwd=cwd)

    def install(self, *arguments):
        pip = (sys.executable, '-m', 'pip', '--python', self.python, 'install', '--no-deps')
        run(*pip, '--no-build-isolation', *arguments, cwd=self.packages)

    def mim(self, *arguments, cwd):
        code = 'from mim.cli import cli; cli()'
        return run(self.python, '-c', code, *arguments, cwd=cwd, env=self.env)


@pytest.fixture(scope='session')
def toy(tmp_path_factory):
    """A folder with a module and a config that trains in a second."""
    folder = tmp_path_factory.mktemp('toy')
    write_toy(folder)
    return folder


@pytest.fixture(scope='session')
def source(tmp_path_factory, toy):
    """A copy of the checkout, as git would hold it, that ships the toy config too."""
    folder = tmp_path_factory.mktemp('source')
    for name in BUILD_INPUTS:
        if (ROOT / name).is_dir():
            skip = shutil.ignore_patterns('__pycache__')
            shutil.copytree(ROOT / name, folder / name, ignore=skip)
        elif (ROOT / name).exists():
            shutil.copy2(ROOT / name, folder / name)
    shutil.copy2(toy / 'mk_toy_config.py', folder / 'configs' / 'mk_toy_config.py')
    return folder


@pytest.fixture(scope='session')
def wheel(tmp_path_factory, source):
    """The wheel of ``source``."""
    return build_wheel(source, tmp_path_factory.mktemp('wheel'))


def build_wheel(source: Path, out: Path) -> Path:
    pip = (sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation')
    run(*pip, '--wheel-dir', out, source, cwd=out)
    return next(out.glob('*.whl'))


@pytest.fixture(scope='session')
def environment(tmp_path_factory, toy):
    """A function that makes an environment and installs the package, or more, into it."""

    def make(*arguments):
        folder = tmp_path_factory.mktemp('environment') / 'venv'
        made = Environment(folder, {'PYTHONPATH': str(toy), 'OMP_NUM_THREADS': '1'})
        made.install(*arguments)
        return made

    return make
