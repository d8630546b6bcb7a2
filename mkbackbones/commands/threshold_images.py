"""Images of a split with their scores, by a trained model or by the file it was exported to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.defect_score import class_probabilities, has_background, largest_by_class
from ..export.metric import FileModel
from ..exported_files import is_program
from ..predict.evaluation import CLASS_SCORES, seen_whole
from ..predict.passes import Passes
from ..runner.config_files import one_line
from ..study.worker.collect import collect, collector_of
from .errors import CommandError

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from ..decide.looked import Looked
    from ..predict.model import Kind
    from ..study.worker.collect import Collector

__all__ = ['Split', 'open_file']


class Split:
    """Images of a split, which a model scores.

    Images go through it one after the other, as predict and exported files take them: in a batch,
    an image is padded to the size of its neighbours, and has another score.

    Args:
        build (Callable): Builds a loader from its settings.
        settings (dict): Those of the loader.
        kind (str): ``'detection'`` or ``'segmentation'``.
        scratch (Path): A folder for what the collector writes.

    Raises:
        CommandError: Its annotations are not such as tell which images are good.
    """

    def __init__(
        self,
        build: Callable[[dict], DataLoader],
        settings: dict,
        kind: Kind,
        scratch: Path,
    ) -> None:
        self.loader, self.kind = build(dict(settings, batch_size=1)), kind
        dataset: Any = self.loader.dataset
        root = getattr(dataset, 'data_root', None) or '.'
        self.collector: Collector
        try:
            self.collector = collector_of(kind, dataset, root, scratch)
        except TypeError as error:
            raise CommandError(error) from error
        #: How many images were cut into tiles.
        self.cut = 0
        self.class_scores: list[list[float]] = []
        self.truth: dict[Path, list[Any]] = {}
        self.found: dict[Path, list[Any]] = {}

    @property
    def classes(self) -> list[str]:
        """Names of the classes of the model."""
        return self.collector.classes

    @property
    def first(self) -> int:
        """The first class that is one of defects."""
        return int(self.kind == 'segmentation' and has_background(self.classes))

    @property
    def defects(self) -> list[str]:
        """Names of the classes of defects."""
        return self.classes[self.first :]

    def most(self) -> tuple[int, int]:
        """How many images are good, and how many defective, at most; as far as is cheap to tell.

        Annotations of detectors tell how many are good; those of segmentors, how many there are.
        """
        number = len(self.collector.dataset)
        if self.kind != 'detection':
            return number, number
        good = len(self.collector.may_be_good())
        return good, number - good

    def add(self, sample: Any) -> None:
        """Take in a data sample with its prediction, on the CPU."""
        self.collector.add(sample)
        path = Path(sample.img_path)
        if self.kind == 'detection':
            instances = sample.pred_instances
            boxes = np.asarray(getattr(instances.bboxes, 'tensor', instances.bboxes), float)
            found = zip(boxes.tolist(), instances.labels.tolist(), instances.scores.tolist())
            self.found[path] = [(box, self.classes[label], score) for box, label, score in found]
            return
        scores = sample.metainfo.get(CLASS_SCORES)
        if scores is None:  # neither of tiles nor of a file
            scores = largest_by_class(class_probabilities(sample.seg_logits.data))
        self.class_scores.append(scores)
        truth, labels = (
            each.data.squeeze(0).numpy() for each in (sample.gt_sem_seg, sample.pred_sem_seg)
        )
        known = (truth >= self.first) & (truth < len(self.classes))
        self.truth[path] = boxes_of(known) if self.first else []
        self.found[path] = [
            (box, self.classes[label], scores[label])
            for label in np.unique(labels[labels >= self.first]).astype(int).tolist()
            for box in boxes_of(labels == label)
        ]

    def look(self, model: Any) -> Looked:
        """Score the images.

        Args:
            model (nn.Module | Passes): A model, or what looks at images in tiles.
        """
        from ..decide.looked import Looked, Marks

        if isinstance(model, Passes):
            for sample, found in seen_whole(model, self.collector.dataset, masks=False):
                tiling = model.tiling
                self.cut += bool(tiling and len(tiling.windows(found.width, found.height)) > 1)
                self.add(sample)
        else:
            collect(model, self.loader, self)
        evidence: Any = self.collector.evidence()
        paths: dict[str, Path] = {}
        for index in range(len(self.collector.dataset)):
            info = self.collector.dataset.get_data_info(index)
            path = Path(info['img_path'])
            paths |= dict.fromkeys([path.stem, *ends_of(path)], path)
            if self.kind == 'detection':
                self.truth[path] = [each['bbox'] for each in info['instances']]
        # With `indices`, annotations list more images than are looked at.
        rows = [row for row, image in enumerate(evidence.images) if image in paths]
        files = [paths[evidence.images[row]] for row in rows]
        if self.kind == 'detection':
            truth = evidence.num_truths > 0
            score = np.zeros(truth.shape)
            np.maximum.at(score, (evidence.image, evidence.category), evidence.score)
        else:
            truth = evidence.confusion.sum(2) > 0
            score = np.array(self.class_scores)
        return Looked(
            evidence.defect_score[rows],
            evidence.defective[rows],
            [evidence.groups[row] for row in rows],
            files,
            self.defects,
            score[rows, self.first :],
            truth[rows, self.first :],
            [Marks(self.truth.get(path, []), self.found.get(path, [])) for path in files],
        )


def ends_of(path: Path) -> list[str]:
    """A path as annotations may name it, from its name to all of it."""
    return ['/'.join(path.parts[-number:]) for number in range(1, len(path.parts) + 1)]


def boxes_of(bitmap: np.ndarray) -> list[list[float]]:
    """Boxes around what hangs together in a (height, width) bool: left, top, right, bottom."""
    from .. import opencv as cv2

    _, _, about, _ = cv2.connectedComponentsWithStats(bitmap.astype(np.uint8))
    return [[x, y, x + width, y + height] for x, y, width, height, _ in about[1:].tolist()]


def open_file(path: str, classes: list[str], by_class: bool) -> FileModel:
    """An exported file in the place of a model.

    Args:
        path (str): The file.
        classes (list[str]): Names of the classes of the data.
        by_class (bool): Whether scores of classes are needed.

    Raises:
        CommandError: It cannot be run, is no whole model, or one of other classes.
    """
    from importlib.util import find_spec

    if not is_program(path) and find_spec('onnxruntime') is None:
        raise CommandError(
            "onnxruntime is missing, which runs it: pip install 'mkbackbones[export]'"
        )
    try:
        model = FileModel(Path(path))
    except Exception as error:  # onnxruntime and torch raise anything
        raise CommandError(
            f'{path} cannot be read as an exported file ({one_line(error)})'
        ) from error
    notes = model.exported.notes
    if 'classes' not in notes:
        raise CommandError(
            f'{path} is no whole model of export: it has no note of its classes; thresholds '
            'are for files as export writes them, without --part'
        )
    lacking = [name for name in ('resize', 'kind') if name not in notes]
    if lacking:
        raise CommandError(
            f'{path} lacks the note {lacking[0]}, which export gives it: export it anew'
        )
    if notes['classes'] != classes:
        raise CommandError(
            f'{path} is for the classes {", ".join(notes["classes"])}; the config has '
            f'{", ".join(classes)}'
        )
    needed = by_class or notes['kind'] == 'segmentation'
    if needed and 'class_scores' not in model.exported.outputs:
        raise CommandError(
            f'{path} has no scores of classes, as a former release wrote it: export it anew'
        )
    return model
