"""Which parts of mmdet's heads are exactly those that are written out for a batch."""

from collections.abc import Sequence
from typing import Any

from mmdet.models.task_modules.assigners import BboxOverlaps2D, MaxIoUAssigner
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.models.task_modules.samplers import RandomSampler

__all__ = ['knows_assigner', 'knows_coder', 'knows_sampler']


def knows_assigner(assigner: Any, to_ignore: Sequence[Any] | None) -> bool:
    """Whether :func:`~mkbackbones.heads.assign.assign_batch` does what an assigner does.

    Args:
        assigner (BaseAssigner): The assigner.
        to_ignore (Sequence[InstanceData | None], optional): Boxes of each image to ignore.
    """
    if type(assigner) is not MaxIoUAssigner:
        return False
    ignores = any(each is not None and len(each) for each in to_ignore or [])
    return (
        not (ignores and assigner.ignore_iof_thr > 0)
        and isinstance(assigner.neg_iou_thr, float | tuple)
        and type(assigner.iou_calculator) is BboxOverlaps2D
        and assigner.iou_calculator.dtype is None
        and assigner.gt_max_assign_all
        and getattr(assigner, 'perm_repeat_gt_cfg', None) is None
        and assigner.gpu_assign_thr < 0
    )


def knows_sampler(sampler: Any) -> bool:
    """Whether :func:`~mkbackbones.heads.assign.sample` does what a sampler does."""
    return type(sampler) is RandomSampler


def knows_coder(coder: Any) -> bool:
    """Whether boxes are coded one by one, whichever image they are of."""
    return type(coder) is DeltaXYWHBBoxCoder
