"""The metrics of ``test`` on pictures that are cut into tiles."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runner.errors import InputError
from ..runner.evaluation import count_images_of
from .results import Prediction

if TYPE_CHECKING:
    from .passes import Passes
    from .predictor import Predictor

__all__ = ['CLASS_SCORES', 'SCORE', 'evaluate', 'seen_whole']

#: Where a sample keeps the score of its picture: logits of tiles are not kept.
SCORE = 'defect_score'
#: And where those of the classes.
CLASS_SCORES = 'class_scores'

Progress = Callable[[int], AbstractContextManager[Callable[[], Any]]]


@contextlib.contextmanager
def unseen(total: int) -> Iterator[Callable[[], Any]]:
    """No progress bar."""
    yield lambda: None


def evaluate(predictor: Predictor, progress: Progress = unseen) -> dict[str, float]:
    """Predict the test set of a predictor's config and measure what is found, in whole pictures.

    Args:
        predictor (Predictor): The model, with tiles or without.
        progress (Callable): Given the number of pictures, a context with what to call after each.

    Returns:
        dict[str, float]: What the config's ``test_evaluator`` says.

    Raises:
        InputError: A picture cannot be used.
    """
    from mmengine.evaluator import Evaluator
    from mmengine.registry import DATASETS

    cfg = predictor.cfg
    with predictor.scope():
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
        evaluator = Evaluator(cfg.test_evaluator)
        evaluator.dataset_meta = dataset.metainfo
        count_images_of(dataset, evaluator)
        # What mmdet's metric gets of the first picture tells it what to expect of all.
        masks = any('segm' in getattr(metric, 'metrics', ()) for metric in evaluator.metrics)
        with progress(len(dataset)) as advance:
            for sample, _ in seen_whole(predictor, dataset, masks):
                evaluator.process([sample])
                advance()
        return evaluator.evaluate(len(dataset))


def seen_whole(passes: Passes, dataset: Any, masks: bool) -> Iterator[tuple[Any, Prediction]]:
    """Samples of a data set with what is found in their pictures, whatever windows found it.

    Args:
        passes (Passes): The model, with tiles or without.
        dataset (Dataset): Pictures with their truth, as mmdet and mmseg read them.
        masks (bool): Whether objects have masks, which come as run-length codes.

    Yields:
        tuple[Any, Prediction]: A data sample for each, in their order, on the CPU, whose metainfo
            has the scores of the picture (:data:`SCORE`, :data:`CLASS_SCORES`); and what was found.

    Raises:
        InputError: A picture cannot be used.
    """
    samples: deque[Any] = deque()

    def paths() -> Iterator[str]:
        for index in range(len(dataset)):
            sample = dataset[index]['data_samples']
            samples.append(sample)
            yield sample.img_path

    with contextlib.closing(passes.outcomes(paths())) as outcomes:
        for outcome in outcomes:
            if outcome.prediction is None:
                raise InputError(outcome.fault)
            yield filled(samples.popleft(), outcome.prediction, masks), outcome.prediction


def filled(sample: Any, prediction: Prediction, masks: bool) -> Any:
    """A data sample of mmdet or mmseg, which has the truth, with what was found."""
    import torch
    from mmengine.structures import InstanceData, PixelData

    sample.set_metainfo({SCORE: prediction.score, CLASS_SCORES: list(prediction.class_scores)})
    if prediction.class_map is not None:
        labels = torch.from_numpy(prediction.class_map.astype(np.int64))
        sample.pred_sem_seg = PixelData(data=labels[None])
        return sample
    found = prediction.instances
    boxes = np.array([one.box for one in found], dtype=float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    instances = InstanceData(
        bboxes=torch.from_numpy(boxes).float(),
        scores=torch.tensor([one.score for one in found], dtype=torch.float),
        labels=torch.tensor([one.label for one in found], dtype=torch.long),
    )
    if masks:
        instances.masks = [one.mask for one in found]
    sample.pred_instances = instances
    return sample
