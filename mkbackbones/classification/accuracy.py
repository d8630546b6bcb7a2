"""Top-1 accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.evaluator import BaseMetric

from ..registry import METRICS

__all__ = ['Accuracy']


@METRICS.register_module()
class Accuracy(BaseMetric):
    """``accuracy/top1``, in per cent."""

    default_prefix = 'accuracy'

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Note which samples are right."""
        self.results += [
            int(sample['pred_score'].argmax()) == int(sample['gt_label']) for sample in data_samples
        ]

    def compute_metrics(self, results: list[bool]) -> dict[str, float]:
        """Share of right samples."""
        return {'top1': 100.0 * sum(results) / len(results)}
