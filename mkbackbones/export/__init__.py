"""Trained models as ONNX files or ``torch.export`` programs: whole ones, or backbone and neck.

:mod:`~mkbackbones.export.features` has backbones and necks, :mod:`~mkbackbones.export.model` whole
detectors and segmentors.
"""

from .features import Features, build_features, export_onnx, export_program, load_weights
from .program import ExportError, deployed, require_packages

__all__ = [
    'ExportError',
    'Features',
    'build_features',
    'deployed',
    'export_onnx',
    'export_program',
    'load_weights',
    'require_packages',
]
