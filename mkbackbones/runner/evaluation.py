"""Metrics of some of the images that an annotation file lists."""

from __future__ import annotations

from typing import Any

__all__ = ['count_images_of', 'count_seen_images']


def count_seen_images(loop: Any) -> None:
    """:func:`count_images_of` of a loop of mmengine for validation or test, or None."""
    if loop is not None and hasattr(loop, 'dataloader'):
        count_images_of(loop.dataloader.dataset, loop.evaluator)


def count_images_of(dataset: Any, evaluator: Any) -> None:
    """Let COCO and LVIS metrics count the images of a data set, and no others.

    They count all that their ``ann_file`` lists, so that with ``indices`` in the data set each
    image that is left out is one of which nothing was found.

    Args:
        dataset (Dataset): The images that are looked at.
        evaluator (Evaluator): The metrics.
    """
    if not hasattr(dataset, 'get_data_info'):
        return
    for metric in getattr(evaluator, 'metrics', ()):
        # None as long as it has not asked its file.
        if getattr(metric, 'img_ids', 0) is None:
            infos: list[dict] = [dataset.get_data_info(i) for i in range(len(dataset))]
            metric.img_ids = [info['img_id'] for info in infos if 'img_id' in info] or None
