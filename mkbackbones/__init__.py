"""mkbackbones: manifold-key ViT, DINOv3, Swin and Swin V2 backbones for OpenMMLab.

Importing the package (``custom_imports = dict(imports=['mkbackbones'])``) makes its types known to
every OpenMMLab registry and, where mmcv has no compiled operators, puts torchvision-backed ones in
their place. Both are lazy: ``--help`` does not wait for torch.
"""

import importlib
from typing import Any

from . import ops
from .openmmlab.bases import mend_bases
from .openmmlab.glance import warn_of_faults
from .version import __version__

_MODULES = (
    'backbones',
    'checkpoints',
    'datasets',
    'engine',
    'keys',
    'necks',
    'predict',
    'registry',
    'study',
)
_FUNCTIONS = {
    'ManifoldDINOv3': 'backbones',
    'ManifoldKeyBackbone': 'backbones',
    'ManifoldSwin': 'backbones',
    'ManifoldSwinV2': 'backbones',
    'ManifoldViT': 'backbones',
    'Predictor': 'predict',
    'SimpleFeaturePyramid': 'necks',
    'apply_manifold_key': 'attention.inject',
    'fold_manifold_keys': 'attention.inject',
    'load_checkpoint': 'checkpoints',
    'swap_backbone': 'swap',
}
__all__ = ['__version__', 'ops', *_MODULES, *_FUNCTIONS]

# Before anything imports mmdet.models: its import fails without mmcv's operators.
ops.install()
mend_bases()
warn_of_faults()


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return _module(name)
    if name in _FUNCTIONS:
        return getattr(_module(_FUNCTIONS[name]), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def _module(name: str) -> Any:
    try:
        return importlib.import_module(f'{__name__}.{name}')
    except ImportError as error:
        from .openmmlab.sentences import explain

        sentence = explain(error)
        if sentence is None:
            raise
        raise ImportError(f'mkbackbones.{name}: {sentence}', name=error.name) from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
