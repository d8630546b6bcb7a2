"""The one look at the test split: evidence of each image, and predictions for a report to draw."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset

from ...engine.defect_score import class_probabilities, has_background, largest_probability
from ...predict.evaluation import SCORE
from ..evidence import ClassificationEvidence, DetectionEvidence, Evidence, SegmentationEvidence
from ..evidence.base import FALSE_ALARMS
from ..evidence.groups import groups_of

if TYPE_CHECKING:
    from ..define.tasks import TaskKind
    from .tiles import Tiles

__all__ = ['Collector', 'collect', 'collector_of', 'good_scores']

#: Boxes below this score are not drawn; metrics use all of them.
DRAWN_SCORE = 0.3


class Collector(ABC):
    """Turns the predictions of one task into evidence.

    Args:
        dataset (Any): The test split, of the library that has the task.
        data_root (str): Folder of the data set.
        predictions (Path): Folder for what a report draws.
    """

    def __init__(self, dataset: Any, data_root: str, predictions: Path) -> None:
        self.dataset = dataset
        self.data_root = data_root
        self.predictions = predictions

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return list(self.dataset.metainfo['classes'])

    def may_be_good(self) -> list[int]:
        """Indices of the images that may be free of defects, as far as it is cheap to tell."""
        return []

    @abstractmethod
    def add(self, sample: Any) -> None:
        """Take in a data sample with its prediction, on the CPU."""

    @abstractmethod
    def evidence(self) -> Evidence:
        """Evidence of all samples so far."""


class ClassificationCollector(Collector):
    """Class probabilities; images are named ``class/stem``, since stems repeat across classes."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.images: list[str] = []
        self.labels: list[int] = []
        self.scores: list[np.ndarray] = []

    def add(self, sample: Any) -> None:
        path = Path(sample.img_path)
        self.images.append(f'{path.parent.name}/{path.stem}')
        self.labels.append(int(sample.gt_label))
        self.scores.append(sample.pred_score.float().numpy())

    def evidence(self) -> ClassificationEvidence:
        groups = groups_of(self.data_root, self.images)
        names = [groups[image] for image in self.images]
        return ClassificationEvidence(
            self.images, names, np.array(self.labels), np.stack(self.scores)
        )


class SegmentationCollector(Collector):
    """Confusion matrices, and as the defect score the highest defect probability of a pixel."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.images: list[str] = []
        self.confusion: list[np.ndarray] = []
        self.defect_score: list[float] = []
        self.defective: list[bool] = []

    def add(self, sample: Any) -> None:
        stem = Path(sample.img_path).stem
        truth = sample.gt_sem_seg.data.squeeze(0).numpy().astype(np.int64)
        predicted = sample.pred_sem_seg.data.squeeze(0).numpy().astype(np.int64)
        num_classes = len(self.classes)
        known = truth < num_classes  # the others are ignored
        pairs = num_classes * truth[known] + predicted[known]
        counts = np.bincount(pairs, minlength=num_classes**2)
        self.images.append(stem)
        self.confusion.append(counts.reshape(num_classes, num_classes))
        self.defect_score.append(self.score(sample))
        self.defective.append(not self.has_background or bool((truth[known] > 0).any()))
        image = Image.fromarray(predicted.astype(np.uint8))
        image.save(self.predictions / f'{stem}.png')

    def may_be_good(self) -> list[int]:
        return list(range(len(self.dataset))) if self.has_background else []

    @property
    def has_background(self) -> bool:
        """Whether class 0 is a surface without defects."""
        return has_background(self.classes)

    def score(self, sample: Any) -> float:
        """Highest probability of a defect at any pixel; 1 where no class means 'no defect'."""
        if SCORE in sample.metainfo:
            return sample.metainfo[SCORE]
        return largest_probability(class_probabilities(sample.seg_logits.data), self.classes)

    def evidence(self) -> SegmentationEvidence:
        groups = groups_of(self.data_root, self.images)
        return SegmentationEvidence(
            self.images,
            [groups[image] for image in self.images],
            np.stack(self.confusion),
            np.array(self.defect_score),
            np.array(self.defective),
        )


class DetectionCollector(Collector):
    """Boxes, or masks where ``iou_type`` is ``segm``, as COCO results."""

    iou_type = 'bbox'

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        if not hasattr(self.dataset, 'cat_ids'):
            raise TypeError(
                f'the test split is a {type(self.dataset).__name__}; a study needs annotations in '
                'COCO format (CocoDataset)'
            )
        self.results: list[dict] = []

    def add(self, sample: Any) -> None:
        instances = sample.pred_instances
        boxes = np.asarray(getattr(instances.bboxes, 'tensor', instances.bboxes), dtype=float)
        results = [
            dict(
                image_id=sample.img_id,
                category_id=self.dataset.cat_ids[int(label)],
                bbox=[box[0], box[1], box[2] - box[0], box[3] - box[1]],
                score=float(score),
            )
            for box, label, score in zip(boxes.tolist(), instances.labels, instances.scores)
        ]
        self.add_masks(results, instances)
        self.results += results
        drawn = [
            dict(result, label=int(label))
            for result, label in zip(results, instances.labels)
            if result['score'] >= DRAWN_SCORE
        ]
        path = self.predictions / f'{Path(sample.img_path).stem}.json'
        path.write_text(json.dumps(drawn), encoding='utf-8')

    def may_be_good(self) -> list[int]:
        infos = (self.dataset.get_data_info(i) for i in range(len(self.dataset)))
        return [i for i, info in enumerate(infos) if not info['instances']]

    def add_masks(self, results: list[dict], instances: Any) -> None:
        """Add the masks of an image's instances to its results."""

    def evidence(self) -> DetectionEvidence:
        return DetectionEvidence.from_coco(
            self.dataset.ann_file, self.results, self.groups(), self.classes, self.iou_type
        )

    def groups(self) -> dict[str, str]:
        """Group of each image of the test split, by file name."""
        annotations = json.loads(Path(self.dataset.ann_file).read_text(encoding='utf-8'))
        stems = {
            image['file_name']: Path(image['file_name']).stem for image in annotations['images']
        }
        groups = groups_of(self.data_root, stems.values())
        return {name: groups[stem] for name, stem in stems.items()}


class InstanceCollector(DetectionCollector):
    """Masks as run-length codes."""

    iou_type = 'segm'

    def add_masks(self, results: list[dict], instances: Any) -> None:
        from pycocotools import mask as coder

        if isinstance(instances.masks, list):  # they are such codes already, of tiles
            for result, mask in zip(results, instances.masks):
                result['segmentation'] = mask
            return
        masks = np.asarray(instances.masks, dtype=np.uint8)
        for result, mask in zip(results, masks):
            code = coder.encode(np.asfortranarray(mask))
            result['segmentation'] = dict(size=code['size'], counts=code['counts'].decode())


COLLECTORS: dict[str, type[Collector]] = {
    'classification': ClassificationCollector,
    'detection': DetectionCollector,
    'instance-segmentation': InstanceCollector,
    'segmentation': SegmentationCollector,
}


def collector_of(kind: TaskKind, *args: Any) -> Collector:
    """The collector of a kind of task."""
    return COLLECTORS[kind](*args)


class Taker(Protocol):
    """What takes predictions in."""

    def add(self, sample: Any) -> None: ...


def collect(model: Any, loader: DataLoader, collector: Taker, tiles: Tiles | None = None) -> float:
    """Predict the test split.

    Args:
        model (nn.Module): A model of mmengine.
        loader (DataLoader): Batches of the test split.
        collector (Taker): Takes the predictions.
        tiles (Tiles | None): How larger images are cut; None: not at all.

    Returns:
        float: Median time of the model for one image, in seconds.
    """
    model.eval()
    seconds = []
    if tiles is not None:
        for sample, taken in tiles.samples(model, loader):
            seconds.append(taken)
            collector.add(sample)
        return statistics.median(seconds[2:] or seconds)
    for batch in loader:
        start = time.perf_counter()
        with torch.no_grad():
            samples: Sequence = model.test_step(batch)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append((time.perf_counter() - start) / len(samples))
        for sample in samples:
            collector.add(sample.cpu())
    # The first batches warm up caches and kernels.
    return statistics.median(seconds[2:] or seconds)


def good_scores(
    model: torch.nn.Module,
    loader: DataLoader,
    kind: TaskKind,
    data_root: str,
    tiles: Tiles | None = None,
) -> np.ndarray:
    """Defect scores of the defect-free images of a split, from which a threshold follows.

    Args:
        model (nn.Module): A model of mmengine, with the weights that are tested.
        loader (DataLoader): Batches of the validation split.
        kind (TaskKind): Kind of the task.
        data_root (str): Folder of the data set.
        tiles (Tiles | None): How larger images are cut, as those of the test are: a threshold of
            images that are seen whole says nothing of others.

    Returns:
        ndarray: The scores, (v,); none where a task has no defect-free images, or too few.
    """
    with tempfile.TemporaryDirectory(prefix='mkbackbones-val-') as folder:
        collector = collector_of(kind, loader.dataset, data_root, Path(folder))
        images = collector.may_be_good()
        if len(images) + 1 < min(FALSE_ALARMS.values()):
            return np.zeros(0)
        part = DataLoader(
            Subset(loader.dataset, images),
            batch_size=loader.batch_size or 1,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
        )
        collect(model, part, collector, tiles)
        found: Any = collector.evidence()
    return found.defect_score[~found.defective]
