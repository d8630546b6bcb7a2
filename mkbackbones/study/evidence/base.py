"""What all kinds of evidence share: images and their groups, saving, alarms."""

from __future__ import annotations

import zipfile
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...decide.ranks import exceeded_in
from ...files import written_aside

__all__ = ['Evidence', 'alarm_metrics', 'alarm_weights', 'load_evidence', 'nanmean']

#: Evidence of 20,000 images with 150 classes takes 2 GB.
MAX_BYTES = 8 << 30
#: Shares of false alarms, as one in so many.
FALSE_ALARMS = {'fa5': 20, 'fa1': 100}


@dataclass(eq=False)
class Evidence(ABC):
    """Evidence of one run on n test images.

    Args:
        images (list[str]): Name of each image, unique.
        groups (list[str]): Group of each image. Images of one group resemble each other (crops of
            one strip) and are left out together; an image on its own is a group of one.

    Raises:
        ValueError: Lengths differ, names repeat, or a score is not a number.
    """

    kinds: ClassVar[dict[str, type[Evidence]]] = {}
    per_image: ClassVar[tuple[str, ...]] = ()  # fields with one entry an image

    images: list[str]
    groups: list[str]

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        Evidence.kinds[cls.__name__] = cls

    def __post_init__(self) -> None:
        self.images, self.groups = [str(i) for i in self.images], [str(g) for g in self.groups]
        if len(set(self.images)) < len(self.images):
            name = next(i for i in self.images if self.images.count(i) > 1)
            raise ValueError(f"image names have to be unique: '{name}' occurs more than once")
        for name in ('groups', *self.per_image):
            if len(getattr(self, name)) != len(self.images):
                raise ValueError(
                    f'{name} has {len(getattr(self, name))} entries for {len(self.images)} images'
                )
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray) and np.isnan(value).any():
                raise ValueError(f'{field.name} of {type(self).__name__} contains NaN')

    @abstractmethod
    def resampled(self, classes: list[str], weights: np.ndarray) -> dict[str, np.ndarray]:
        """Metrics of many resampled test sets.

        Args:
            classes (list[str]): Class names.
            weights (ndarray): How often each image occurs in each sample, (B, n), integers.

        Returns:
            dict[str, ndarray]: Each metric in per cent, (B,). A metric that a sample does not
            define (a class without ground truth in it) is NaN there.
        """

    @abstractmethod
    def image_weights(self, classes: list[str]) -> dict[str, np.ndarray]:
        """What each image weighs in each metric.

        Args:
            classes (list[str]): Class names.

        Returns:
            dict[str, ndarray]: By metric (n, k): a column for each of the k classes whose mean the
            metric is, with what the images hold of that class (boxes, pixels, or themselves).
        """

    @abstractmethod
    def per_image_score(self) -> np.ndarray:
        """How well each image was dealt with, (n,), from 0 to 1."""

    def metrics(self, classes: list[str], weights: np.ndarray | None = None) -> dict[str, float]:
        """Metrics of the test set, in per cent.

        Args:
            classes (list[str]): Class names.
            weights (ndarray | None): How often each image counts, (n,), integers; None: once.

        Returns:
            dict[str, float]: The metrics that are defined; a class without ground truth has none,
            and the means over classes leave it out.
        """
        weights = np.ones(len(self.images), dtype=np.int64) if weights is None else weights
        values = self.resampled(classes, np.asarray(weights)[None])
        return {name: float(v[0]) for name, v in values.items() if not np.isnan(v[0])}

    def save(self, path: str | Path) -> None:
        """Write an ``.npz`` file, whole or not at all."""
        content: dict[str, Any] = {
            field.name: np.asarray(getattr(self, field.name)) for field in fields(self)
        }
        with written_aside(Path(path)) as work, work.open('wb') as file:
            np.savez_compressed(file, evidence=type(self).__name__, **content)


def load_evidence(path: str | Path) -> Evidence:
    """Read what :meth:`Evidence.save` wrote.

    Args:
        path (str | Path): An ``.npz`` file.

    Raises:
        ValueError: The file holds no evidence, is damaged, or would unpack to more than
            :data:`MAX_BYTES`.
    """
    try:
        check_unpacked_size(Path(path))
        return unpack(path)
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged archive raises any of a dozen types
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise ValueError(
            f'{path} cannot be read ({reason}); `study run` does its run again'
        ) from error


def check_unpacked_size(path: Path) -> None:
    """Raise ValueError if an archive would unpack to more than :data:`MAX_BYTES`."""
    with zipfile.ZipFile(path) as archive:
        total = sum(entry.file_size for entry in archive.infolist())
    if total > MAX_BYTES:
        raise ValueError(f'it would unpack to {total / 1e9:.0f} GB')


def unpack(path: str | Path) -> Evidence:
    """The evidence in a file that is whole."""
    with np.load(path, allow_pickle=False) as file:
        kind = str(file['evidence']) if 'evidence' in file else None
        if kind not in Evidence.kinds:
            raise ValueError(
                f'{path} holds no evidence of a run, or of a kind unknown here: {kind}'
            )
        cls = Evidence.kinds[kind]
        # Evidence of former versions lacks what has a default.
        content = {f.name: file[f.name] for f in fields(cls) if f.name in file}
    content |= {name: content[name].tolist() for name in ('images', 'groups')}
    return cls(**content)


def check_classes(classes: list[str], num_classes: int) -> None:
    """Raise ValueError unless there is a name for each class of the evidence."""
    if len(classes) != num_classes:
        raise ValueError(f'{len(classes)} class names for evidence of {num_classes} classes')


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Per cent, NaN where the denominator is 0."""
    with np.errstate(invalid='ignore', divide='ignore'):
        return np.where(denominator > 0, 100.0 * numerator / denominator, np.nan)


def nanmean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without NaN; NaN where there is nothing else."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0.0).sum(-1)
    return np.where(known.any(-1), total / np.maximum(known.sum(-1), 1), np.nan)


def alarm_threshold(good_scores: np.ndarray, one_in: int) -> float | None:
    """Defect score that a new defect-free image exceeds in at most one of so many cases.

    Args:
        good_scores (ndarray): Scores of defect-free validation images, (v,).
        one_in (int): 20 for 5 per cent false alarms.

    Returns:
        float | None: None with fewer than ``one_in - 1`` images.
    """
    return exceeded_in(good_scores, 1 / one_in)


def alarm_metrics(
    score: np.ndarray, defective: np.ndarray, good_scores: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Share of the defective images that raise an alarm, and of the others that do.

    An image raises an alarm if its score lies above a threshold from defect-free validation images:
    ``recall@fa5`` and ``recall@fa1`` are at 5 and at 1 per cent false alarms, where there are at
    least 19 and 99 of them. ``falsealarms@fa5`` is the share of the defect-free test images that
    raise one, in fact.

    Args:
        score (ndarray): Defect score of each image, (n,).
        defective (ndarray): Whether it has a defect, (n,), bool.
        good_scores (ndarray): Scores of defect-free validation images, (v,).
        weights (ndarray): How often each image occurs in each sample, (B, n).

    Returns:
        dict[str, ndarray]: In per cent, (B,); NaN for samples without such images.
    """
    found = {}
    for name, one_in in FALSE_ALARMS.items():
        threshold = alarm_threshold(good_scores, one_in)
        if threshold is None:
            continue
        alarm = score > threshold
        for metric, images in (('recall', defective), ('falsealarms', ~defective)):
            if images.any():
                counts = weights[:, images]
                found[f'{metric}@{name}'] = ratio(counts @ alarm[images], counts.sum(1))
    return found


def alarm_weights(defective: np.ndarray) -> dict[str, np.ndarray]:
    """What each image weighs in the metrics of :func:`alarm_metrics`, (n, 1)."""
    kinds = {'recall': defective, 'falsealarms': ~defective}
    return {
        f'{metric}@{name}': images[:, None].astype(np.float64)
        for name in FALSE_ALARMS
        for metric, images in kinds.items()
    }
