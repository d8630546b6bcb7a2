"""Find out what is installed and whether it works together; without trust in any library."""

from __future__ import annotations

import getpass
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..caches import cache_folder
from ..cores import usable_cores
from ..openmmlab.distributions import look
from ..version import __version__
from .wrong import find_wrong

__all__ = ['examine']

#: Distributions to tell of, beside OpenMMLab's.
DISTRIBUTIONS = (
    *('torch', 'torchvision', 'triton', 'timm', 'numpy', 'scipy', 'pillow', 'pycocotools'),
    *('opencv-python', 'opencv-python-headless', 'opencv-contrib-python'),
    *('safetensors', 'setuptools', 'transformers'),
)
#: What the probe finds out beside versions.
PARTS = ('torch_build', 'devices', 'operators', 'kernels')
PATIENCE = 300.0


def examine() -> dict[str, Any]:
    """Look at this installation and this machine.

    Returns:
        dict[str, Any]: What ``--json`` prints: versions, devices, settings, and under ``wrong`` a
        list of ``{'what': sentence, 'command': what mends it, or None}``. Neither the user's name
        nor the home folder is in it.
    """
    libraries = look(thorough=True)
    tried = try_imports()
    about: dict[str, Any] = {
        'mkbackbones': __version__,
        'place': str(Path(__file__).parents[1]),
        'python': f'{platform.python_version()} ({platform.python_implementation()})',
        'platform': platform.platform(),
        'distributions': {name: found for name in DISTRIBUTIONS if (found := version(name))},
        'openmmlab': {
            module: [str(owner) for owner in library.owners]
            or (['a folder without a distribution'] if library.folder else [])
            for module, library in libraries.items()
        },
        'line': sorted({library.line for library in libraries.values() if library.line}),
        'imports': {name: found for name, found in tried.items() if name not in PARTS},
        **{part: tried.get(part, {'error': 'not found out'}) for part in PARTS},
        'driver': driver(),
        'cores': usable_cores(),
        'cache': cache(),
        'settings': {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith('MKBACKBONES_')
        },
    }
    about['wrong'] = find_wrong(libraries, tried)
    return anonymous(about)


def version(name: str) -> str | None:
    """Version of a distribution; None where it is not installed, or its metadata is broken."""
    try:
        return importlib.metadata.version(name)
    except Exception:
        return None


def try_imports() -> dict[str, dict[str, Any]]:
    """What the probe found: for each name ``{'value': ...}`` or ``{'error': sentence}``."""
    from . import probe

    command = [sys.executable, '-m', probe.__name__]
    root = str(Path(__file__).parents[2])
    paths = [root, os.environ.get('PYTHONPATH', '')]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths))}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=PATIENCE,
            check=False,
        )
        output, code = done.stdout, f'code {done.returncode}'
    except subprocess.TimeoutExpired as error:
        output, code = error.stdout or b'', f'no end in {PATIENCE:.0f} s'
    found: dict[str, dict[str, Any]] = {}
    begun = None
    for line in output.decode('utf-8', 'replace').splitlines():
        try:
            content = json.loads(line)
        except ValueError:  # cut off
            continue
        begun = content.get('start', begun)
        if 'name' in content:
            found[content.pop('name')] = content
    if begun is not None and begun not in found:
        found[begun] = {'error': f'the process ended as it was tried ({code})'}
    return found


def driver() -> str | None:
    """Version of NVIDIA's driver; None where there is none that answers."""
    program = shutil.which('nvidia-smi')
    if program is None:
        return None
    command = [program, '--query-gpu=driver_version', '--format=csv,noheader']
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, encoding='utf-8', errors='replace', timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.split('\n')
    return lines[0].strip() or None if done.returncode == 0 else None


def cache() -> dict[str, Any]:
    """Where the user's cache folder is, and its bytes."""
    try:
        folder = cache_folder()
    except RuntimeError:  # no home
        return {'folder': None, 'bytes': 0}
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.stat(os.path.join(place, name)).st_size
            except OSError:
                continue
    return {'folder': str(folder), 'bytes': size}


def anonymous(value: Any) -> Any:
    """The same without the home folder and, in paths, the user's name."""
    if isinstance(value, dict):
        return {key: anonymous(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [anonymous(inner) for inner in value]
    if not isinstance(value, str):
        return value
    for pattern, stand_in in stand_ins():
        value = pattern.sub(stand_in, value)
    return value


def stand_ins() -> list[tuple[re.Pattern, str]]:
    """What to replace, and by what."""
    found = []
    home = os.path.expanduser('~')
    if len(home) > 1 and home != '~':
        found.append((re.compile(re.escape(home) + r'(?![\w.-])'), '~'))
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user without a name
        return found
    if name:
        found.append((re.compile(rf'(?<=[\\/]){re.escape(name)}(?=[\\/]|$)'), 'USER'))
    return found
