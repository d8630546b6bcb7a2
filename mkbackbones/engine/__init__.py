"""Training parts that configs name: optimiser wrappers, learning rates, hooks."""

from .amp import BFloat16OptimWrapper
from .chart_info import ChartInfoHook
from .chart_sparsity import ChartSparsityHook
from .compile_backbone import CompileBackboneHook
from .distill import DistillHook, add_distillation
from .exact_resume import ExactResumeHook
from .layer_decay import LayerDecayConstructor
from .membership_loss import MembershipLossHook, add_membership_loss
from .merged_groups import MergedGroupsConstructor
from .paint_segmentation import PaintSegmentationHook
from .record_backbone import RecordBackboneHook
from .resize_gradient import ResizeGradientHook

__all__ = [
    'BFloat16OptimWrapper',
    'ChartInfoHook',
    'ChartSparsityHook',
    'CompileBackboneHook',
    'DistillHook',
    'ExactResumeHook',
    'LayerDecayConstructor',
    'MembershipLossHook',
    'MergedGroupsConstructor',
    'PaintSegmentationHook',
    'RecordBackboneHook',
    'ResizeGradientHook',
    'add_distillation',
    'add_membership_loss',
]
