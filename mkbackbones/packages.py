"""What pip is asked for, by the module that is missing or cannot be imported."""

from __future__ import annotations

import importlib.metadata

__all__ = ['PACKAGES', 'pip_install', 'pip_reinstall']

#: Modules of other distributions that this package needs, but for OpenMMLab's.
PACKAGES: dict[str, str] = {
    'PIL': 'pillow',
    # The build without a display, which works on servers without libGL, too. Later ones were not
    # tried; and 4.12 asks for numpy 2.0 to 2.2, runs with others, and must not replace them.
    'cv2': "--no-deps 'opencv-python-headless<4.13'",
    # torchvision is built for one torch.
    'torch': 'torch torchvision',
    'torchvision': 'torch torchvision',
    'yaml': 'pyyaml',
    **{name: name for name in ('matplotlib', 'numpy', 'pycocotools', 'rich', 'safetensors')},
    **{name: name for name in ('scipy', 'timm')},
}


def pip_install(module: str) -> str:
    """Tell the command that installs a module.

    Args:
        module (str): Its name; what is not in :data:`PACKAGES` is installed by the same name.

    Returns:
        str: The command.
    """
    return f'pip install {PACKAGES.get(module, module)}'


def pip_reinstall(module: str) -> str:
    """Tell the command that installs a module over one that cannot be imported.

    Args:
        module (str): Its name; what is not in :data:`PACKAGES` is installed by the same name.

    Returns:
        str: The command.
    """
    words = PACKAGES.get(module, module)
    if module == 'cv2':
        try:
            # Both builds unpack into one folder, and the last one wins.
            version = importlib.metadata.version('opencv-python')
            words = f'--no-deps opencv-python-headless=={version}'
        except Exception:  # not there, or its metadata is broken
            pass
    return f'pip install --force-reinstall {words}'
