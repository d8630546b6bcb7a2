"""Training parts that configs name: optimiser wrappers, learning rates, hooks."""

from .amp import BFloat16OptimWrapper
from .compile_backbone import CompileBackboneHook
from .exact_resume import ExactResumeHook
from .layer_decay import LayerDecayConstructor
from .merged_groups import MergedGroupsConstructor
from .paint_segmentation import PaintSegmentationHook

__all__ = [
    'BFloat16OptimWrapper',
    'CompileBackboneHook',
    'ExactResumeHook',
    'LayerDecayConstructor',
    'MergedGroupsConstructor',
    'PaintSegmentationHook',
]
