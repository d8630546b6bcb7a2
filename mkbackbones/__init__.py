"""mkbackbones: manifold-key ViT and Swin backbones for OpenMMLab.

Importing the package registers everything (``custom_imports = dict(imports=['mkbackbones'])``) and,
where mmcv has no compiled operators, puts torchvision-backed ones in their place.
"""

from . import ops
from .version import __version__

# Before anything imports mmdet.models: its import fails without mmcv's operators.
ops.install()

from . import backbones, engine, keys, necks  # noqa: E402
from .inject import apply_manifold_key, fold_manifold_keys  # noqa: E402

__all__ = [
    '__version__',
    'apply_manifold_key',
    'backbones',
    'engine',
    'fold_manifold_keys',
    'keys',
    'necks',
    'ops',
]
