"""Dataset classes for mmdet and mmseg, of whichever is installed.

mmengine imports this module when a config names a data set of scope ``mkbackbones``.
"""

from importlib.util import find_spec

__all__: list[str] = []

if find_spec('mmdet') is not None:
    from . import detection

    __all__ += detection.__all__
    globals().update({name: getattr(detection, name) for name in detection.__all__})

if find_spec('mmseg') is not None:
    from . import segmentation

    __all__ += segmentation.__all__
    globals().update({name: getattr(segmentation, name) for name in segmentation.__all__})
