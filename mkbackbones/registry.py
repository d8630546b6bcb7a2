"""Registries: children of mmengine's root with the scope ``mkbackbones``.

``type='mkbackbones.X'`` resolves from an mmdet, mmseg or mmpretrain config without a change of
``default_scope``: mmengine imports ``mkbackbones.registry`` on meeting the scope, then the
``locations`` listed here.
"""

from .openmmlab.sentences import explain

try:
    from mmengine.registry import DATASETS as MMENGINE_DATASETS
    from mmengine.registry import HOOKS as MMENGINE_HOOKS
    from mmengine.registry import METRICS as MMENGINE_METRICS
    from mmengine.registry import MODELS as MMENGINE_MODELS
    from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_CONSTRUCTORS
    from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
    from mmengine.registry import Registry
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition('.')[0] != 'mmengine':
        raise
    raise ModuleNotFoundError(
        f'mkbackbones needs mmengine; {explain(error)}', name='mmengine'
    ) from error

MODELS = Registry(
    'model',
    parent=MMENGINE_MODELS,
    scope='mkbackbones',
    locations=[
        'mkbackbones.backbones',
        'mkbackbones.necks',
        'mkbackbones.heads',
        'mkbackbones.classification',
    ],
)
DATASETS = Registry(
    'dataset',
    parent=MMENGINE_DATASETS,
    scope='mkbackbones',
    locations=['mkbackbones.classification', 'mkbackbones.datasets.openmmlab'],
)
METRICS = Registry(
    'metric',
    parent=MMENGINE_METRICS,
    scope='mkbackbones',
    locations=['mkbackbones.classification'],
)
OPTIM_WRAPPERS = Registry(
    'optimizer wrapper',
    parent=MMENGINE_OPTIM_WRAPPERS,
    scope='mkbackbones',
    locations=['mkbackbones.engine'],
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=MMENGINE_CONSTRUCTORS,
    scope='mkbackbones',
    locations=['mkbackbones.engine'],
)
HOOKS = Registry(
    'hook',
    parent=MMENGINE_HOOKS,
    scope='mkbackbones',
    locations=['mkbackbones.engine'],
)
KEYS = Registry('key', scope='mkbackbones', locations=['mkbackbones.keys'])
