"""The build steps that setup.cfg cannot express: what ``mim`` reads, and a clean source tree."""

import atexit
import shutil
import tempfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build import build
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
RESOURCES = ('tools', 'configs', 'model-index.yml')


class BuildOutsideTheTree(build):
    """Build in a temporary folder.

    A ``build/`` left in the checkout holds second copies of the configs, and ``mim`` then refuses
    a bare config name as ambiguous; it also lets deleted modules reappear in later wheels.
    """

    def initialize_options(self) -> None:
        super().initialize_options()
        self.build_base = tempfile.mkdtemp(prefix='mkbackbones-build-')
        atexit.register(shutil.rmtree, self.build_base, ignore_errors=True)


class BuildWithMim(build_py):
    """Build the packages, then add the ``.mim`` folders (see ``_mkbackbones_mim``)."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            # No configs: a copy would not follow edits in the checkout, and would make names
            # ambiguous where the environment lies inside the checkout.
            wheel_root = Path(self.get_finalized_command('install').install_lib)
            copy_resources(wheel_root / '_mkbackbones_mim' / '.mim', ('tools', 'model-index.yml'))
        else:
            for package in ('mkbackbones', '_mkbackbones_mim'):
                copy_resources(Path(self.build_lib) / package / '.mim', RESOURCES)


def copy_resources(destination: Path, names: tuple[str, ...]) -> None:
    """Copy the named files and folders of the checkout into ``destination``."""
    shutil.rmtree(destination, ignore_errors=True)
    destination.mkdir(parents=True)
    for name in names:
        source = ROOT / name
        if source.is_dir():
            skip = shutil.ignore_patterns('__pycache__', '*.pyc', '.*')
            shutil.copytree(source, destination / name, ignore=skip)
        else:
            shutil.copy2(source, destination / name)


setup(cmdclass={'build': BuildOutsideTheTree, 'build_py': BuildWithMim})
