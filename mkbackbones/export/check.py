"""Whether a file finds in pictures what the model finds: asked before it takes its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..predict import Outcome, Prediction
from .program import ExportError
from .run import Exported
from .ties import Boxes, iou, told_by_ties

__all__ = ['Agreement', 'check_file']

LEAST_IOU = 0.99
MOST_SCORE = 1e-3
LEAST_PIXELS = 0.9999
#: One picture, or one in so many, may differ by what two equal scores decide (``ties.py``).
TIES = 8


@dataclass
class Agreement:
    """How well a file and the model agreed.

    Args:
        pictures (int): How many were compared.
        scores (float): Largest difference of scores.
        boxes (int): How many boxes were compared.
        edge (int): How many of the model's were not, next to the least score or the most boxes.
        tied (set[str]): Pictures in which some were not, as two scores are equal.
        iou (float): Least IoU of a box with its own.
        maps (int): How many class maps, and pictures with masks, were compared.
        pixels (float): Least share of equal pixels of a class map, or of the masks of a picture.
        left_out (list[str]): Why pictures could not be compared, a sentence each.
        runner (str): What ran the file.
    """

    pictures: int = 0
    scores: float = 0.0
    boxes: int = 0
    edge: int = 0
    tied: set[str] = field(default_factory=set)
    iou: float = 1.0
    maps: int = 0
    pixels: float = 1.0
    left_out: list[str] = field(default_factory=list)
    runner: str = 'onnxruntime'

    def __str__(self) -> str:
        parts = [f'scores differ by at most {self.scores:.1e}']
        if self.boxes:
            parts.append(f'{self.boxes} boxes with IoU from {self.iou:.4f}')
        if self.edge:
            parts.append(f'{self.edge} next to the limits left out')
        if self.tied:
            parts.append(f'some of {", ".join(sorted(self.tied))} left out, as scores are equal')
        if self.maps:
            parts.append(
                f'{self.pixels:.4%} of pixels equal' if self.pixels < 1 else 'no pixel differs'
            )
        elif not self.boxes:
            parts.append(
                'no boxes, as none was found: to have some compared, name pictures with defects by '
                '--images'
            )
        return f'{self.runner} on {self.pictures} pictures: ' + ', '.join(parts)


def check_file(
    exported: Exported, outcomes: Sequence[Outcome], least_score: float = 0.0
) -> Agreement:
    """Compare a file with the model that it was made of.

    Args:
        exported (Exported): The file, in what runs it.
        outcomes (Sequence[Outcome]): What the model finds in some pictures. Those of one size that
            follow each other also go through the file as a batch.
        least_score (float): Below it the model keeps no boxes.

    Raises:
        ExportError: They do not agree.
    """
    agreement = Agreement(runner=exported.runner)
    pictures: Any = [outcome.pixels for outcome in outcomes]
    wanted: Any = [outcome.prediction for outcome in outcomes]
    for group in groups(pictures):
        batches = [[i] for i in group] + ([group] if len(group) > 1 else [])
        for batch in batches:
            found = exported([pictures[i] for i in batch])
            for place, i in enumerate(batch):
                one = {name: value[place] for name, value in found.items()}
                where = f'picture {i + 1} of {len(pictures)}'
                if 'class_map' in one:
                    compare_maps(one, wanted[i], agreement, where)
                else:
                    compare_boxes(one, wanted[i], agreement, where, least_score)
    if len(agreement.tied) > max(1, len(pictures) // TIES):
        raise ExportError(
            f'in {len(agreement.tied)} of {len(pictures)} pictures the file finds other boxes of '
            'the same scores than the model, which is more than equal scores explain; nothing was '
            'written'
        )
    agreement.pictures = len(pictures)
    return agreement


def groups(pictures: Sequence[np.ndarray]) -> list[list[int]]:
    """Places of pictures of one size that follow each other."""
    found: list[list[int]] = []
    for i, picture in enumerate(pictures):
        if found and pictures[found[-1][0]].shape == picture.shape:
            found[-1].append(i)
        else:
            found.append([i])
    return found


def compare_maps(
    found: dict[str, np.ndarray], wanted: Prediction, agreement: Agreement, where: str
) -> None:
    """Compare a class map and its scores."""
    class_map: Any = wanted.class_map
    if found['class_map'].shape != class_map.shape:
        raise ExportError(
            f'{where}: the file gives a class map of {found["class_map"].shape}, the model one of '
            f'{class_map.shape}; nothing was written'
        )
    same = float((found['class_map'] == class_map).mean())
    if same < LEAST_PIXELS:
        raise ExportError(
            f'{where}: {1 - same:.3%} of the pixels have another class in the file than in the '
            f'model, more than {1 - LEAST_PIXELS:.2%}; nothing was written'
        )
    agreement.maps += 1
    agreement.pixels = min(agreement.pixels, same)
    compare_score(found['score'], wanted.score, agreement, where)
    for score, of_class in zip(found['class_scores'], wanted.class_scores):
        compare_score(score, of_class, agreement, where)
    for region in wanted.instances:
        of_class = found['scores'][class_map == region.label]
        compare_score(of_class.max(), region.score, agreement, where)


def compare_boxes(
    found: dict[str, np.ndarray],
    wanted: Prediction,
    agreement: Agreement,
    where: str,
    least_score: float,
) -> None:
    """Compare boxes, scores and labels, and masks where there are any.

    Which boxes are the last ones, next to the least score or to the most boxes of a picture, may
    differ, and which of two equal scores comes first.
    """
    compare_score(found['score'], wanted.score, agreement, where)
    kept = found['labels'] >= 0
    boxes, scores, labels = (found[name][kept] for name in ('boxes', 'scores', 'labels'))
    truth = np.array([one.box for one in wanted.instances], float).reshape(-1, 4)
    truth[:, 2:] += truth[:, :2]
    true_scores = np.array([one.score for one in wanted.instances], float)
    true_labels = np.array([one.label for one in wanted.instances], int)
    full = len(scores) == len(found['labels']) or len(truth) == len(found['labels'])
    edge = least_score
    if full:
        edge = max(edge, *(each.min() for each in (scores, true_scores) if len(each)))
    taken = np.zeros(len(boxes), bool)
    pairs = []
    for i in np.argsort(-true_scores):
        may = ~taken & (labels == true_labels[i]) & (np.abs(scores - true_scores[i]) <= MOST_SCORE)
        overlaps = np.where(may, iou(truth[i], boxes), -1.0)
        best = int(overlaps.argmax()) if len(boxes) else -1
        if best < 0 or overlaps[best] < LEAST_IOU:
            continue
        taken[best] = True
        pairs.append((i, best))
        agreement.boxes += 1
        agreement.iou = min(agreement.iou, float(overlaps[best]))
        compare_score(scores[best], true_scores[i], agreement, where)
    lost = ~np.isin(np.arange(len(truth)), [i for i, _ in pairs])
    agreement.edge += int((lost & (true_scores <= edge + MOST_SCORE)).sum())
    lost &= true_scores > edge + MOST_SCORE
    new = ~taken & (scores > edge + MOST_SCORE)
    ours = Boxes(truth, true_scores, true_labels).pick(lost)
    theirs = Boxes(boxes, scores, labels).pick(new)
    if lost.any() or new.any():
        mine, its = told_by_ties(ours, theirs)
        refuse_different(ours.pick(~mine), theirs.pick(~its), where)
        agreement.tied.add(where)
    if 'masks' in found:
        compare_masks(found['masks'][kept], wanted, pairs, agreement, where)


def refuse_different(lost: Boxes, new: Boxes, where: str) -> None:
    """Raise ExportError for boxes of the model's that the file has not, or the other way round."""
    if len(lost.scores):
        raise ExportError(
            f'{where}: the model finds a box of class {lost.labels[0]} with score '
            f'{lost.scores[0]:.3f} that the file does not find; nothing was written'
        )
    if len(new.scores):
        raise ExportError(
            f'{where}: the file finds a box with score {new.scores.max():.3f} that the model does '
            'not find; nothing was written'
        )


def compare_masks(
    masks: np.ndarray,
    wanted: Prediction,
    pairs: list[tuple[int, int]],
    agreement: Agreement,
    where: str,
) -> None:
    """Compare the masks of boxes that are the same, all of a picture together."""
    differ = 0
    agreement.maps += bool(pairs)
    for i, j in pairs:
        bitmap: Any = wanted.instances[i].bitmap()
        differ += int((masks[j].astype(bool) != bitmap).sum())
    same = 1 - differ / max(len(pairs) * wanted.width * wanted.height, 1)
    if same < LEAST_PIXELS:
        raise ExportError(
            f'{where}: {1 - same:.3%} of the pixels of masks differ between file and model, more '
            f'than {1 - LEAST_PIXELS:.2%}; nothing was written'
        )
    agreement.pixels = min(agreement.pixels, same)


def compare_score(found: Any, wanted: float, agreement: Agreement, where: str) -> None:
    """Compare two scores."""
    difference = abs(float(found) - float(wanted))
    if not difference <= MOST_SCORE:
        raise ExportError(
            f'{where}: a score is {float(found):.4f} in the file and {float(wanted):.4f} in the '
            f'model, which differ by more than {MOST_SCORE}; nothing was written'
        )
    agreement.scores = max(agreement.scores, difference)
