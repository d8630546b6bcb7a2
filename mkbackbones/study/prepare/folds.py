"""Group folds: seed s tests on fold s of k, so that over the seeds every image is tested once.

Below the study's folder, never changed once written::

    folds/<task>/<fold>-<hash>/{train,val,test}.{json,txt}
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ...datasets.naming import first_few
from ...datasets.records import SPLITS
from ...datasets.stratify import stratify
from ...files import written_aside
from ..define.spec import Study, StudyError
from ..define.tasks import Task
from ..evidence.groups import read_groups
from .pools import Pool, read_pool
from .split_checks import MIN_GROUPS, lacking

__all__ = ['Folds', 'check_chains', 'make_folds']

#: Decides between equals, in every study alike.
DEAL_SEED = 0


class Folds:
    """The folds of a task.

    Args:
        task (Task): The task.
        pool (Pool): All of its images.
        groups (list[str]): Group of each image.
        splits (list[dict[str, list[int]]]): By fold and split, which images.
        classes (list[str]): Names of the classes.
    """

    def __init__(
        self,
        task: Task,
        pool: Pool,
        groups: list[str],
        splits: list[dict[str, list[int]]],
        classes: list[str],
    ) -> None:
        self.task, self.pool, self.groups = task, pool, groups
        self.splits, self.classes = splits, classes
        #: Hash of the task's data, once it is known: lists hold annotations, too.
        self.data = ''

    def num_images(self) -> dict[str, int]:
        """Images by split, the mean over the folds."""
        return {
            split: round(sum(len(fold[split]) for fold in self.splits) / len(self.splits))
            for split in SPLITS
        }

    def in_words(self) -> str:
        """How the splits came about, for a report."""
        sizes = sorted({len(fold['test']) for fold in self.splits})
        ends = ' to '.join(f'{size:,}' for size in sorted({sizes[0], sizes[-1]}))
        return (
            f'{len(self.splits)} group folds of {len(self.pool.names):,} images, of which a run '
            f'tests {ends}'
        )

    def mark(self, fold: int) -> str:
        """Short hash of which images a fold trains, validates and tests on."""
        digest = hashlib.sha256()
        for split in SPLITS:
            for index in self.splits[fold][split]:
                digest.update(f'{split}\0{self.pool.names[index]}\0'.encode())
        return digest.hexdigest()[:12]

    def files(self, folder: Path, fold: int) -> dict[str, Path]:
        """Where the lists of a fold are, by split."""
        mark = hashlib.sha256(f'{self.mark(fold)} {self.data}'.encode()).hexdigest()[:12]
        place = folder / 'folds' / self.task.key / f'{fold}-{mark}'
        return {split: place / f'{split}{self.pool.suffix}' for split in SPLITS}

    def write(self, folder: Path, folds: Iterable[int] | None = None) -> None:
        """Write the lists that are not there yet; of all folds, or of some."""
        for fold in range(len(self.splits)) if folds is None else folds:
            for split, file in self.files(folder, fold).items():
                if not file.is_file():
                    file.parent.mkdir(parents=True, exist_ok=True)
                    with written_aside(file) as work:
                        text = self.pool.text(self.splits[fold][split])
                        work.write_text(text, encoding='utf-8')

    def apply(self, cfg: Config, folder: Path, fold: int) -> None:
        """Let a config read the lists of a fold."""
        self.pool.apply(cfg, self.files(folder, fold))

    def by_name(self, stems: bool = False) -> dict[str, set[int]]:
        """The fold that tests each image, by its name or its stem; several where these repeat."""
        found: dict[str, set[int]] = {}
        for fold, splits in enumerate(self.splits):
            for index in splits['test']:
                name = self.pool.names[index]
                found.setdefault(Path(name).name if stems else name, set()).add(fold)
        return found

    def check(self, num_seeds: int) -> list[str]:
        """What the user should know, one sentence each.

        Raises:
            StudyError: A fold cannot be tested, or trained on.
        """
        notes, key, total = [], self.task.key, len(self.splits)
        missing = defaultdict(list)
        for fold, splits in enumerate(self.splits):
            for split in SPLITS:
                if not splits[split]:
                    raise self.too_few(f'leave fold {fold} no image for {split}')
                counts = [0] * len(self.classes)
                for index in splits[split]:
                    for label in self.pool.labels[index]:
                        counts[label] += 1
                found = lacking(counts, self.classes, self.task.kind) if sum(counts) else []
                if found and split == 'train':
                    raise self.too_few(
                        f'leave the training images of fold {fold} no {", ".join(found)}'
                    )
                for name in found:
                    missing[split, name].append(str(fold))
            if len({self.groups[index] for index in splits['test']}) < MIN_GROUPS:
                raise self.too_few(f'leave fold {fold} a single group to test on')
        for (split, name), folds in missing.items():
            notes.append(
                f'task {key}: the {split} split of fold {", ".join(folds)} has no image with '
                f'{name}, which is left out of the mean over classes there'
            )
        if not any(self.pool.labels):
            notes.append(f'task {key}: the folds are dealt by group alone, not by class')
        if num_seeds < total:
            tested = sum(len(splits['test']) for splits in self.splits[:num_seeds])
            notes.append(
                f'task {key}: {num_seeds} seeds test {tested:,} of {len(self.pool.names):,} '
                f'images; all are tested with {total} seeds'
            )
        elif num_seeds % total:
            notes.append(
                f'task {key}: {num_seeds} seeds are no whole rounds of {total} folds; each fold '
                'weighs the same in a mean, however many seeds tested on it'
            )
        return notes

    def too_few(self, what: str) -> StudyError:
        """The error for groups that do not suffice."""
        return StudyError(
            f'task {self.task.key}: {len(set(self.groups))} groups in {len(self.splits)} folds '
            f'{what}; take fewer folds, or one split (leave splits out)'
        )


def make_folds(task: Task, cfg: Config, datasets: Mapping[str, Any], data_root: str) -> Folds:
    """Deal the images of a data set to folds, group by group and stratified by class.

    The rest of the images of a fold is for training and validation, in the proportions that the
    set has as it is prepared. The outcome depends on names, labels and groups alone.

    Args:
        task (Task): The task, with folds.
        cfg (Config): Its config.
        datasets (Mapping[str, Any]): Its data sets by split, as the set is prepared.
        data_root (str): Folder of the data set, with ``groups.json``.

    Raises:
        StudyError: The images cannot be dealt.
    """
    file = Path(data_root) / 'groups.json'
    if not file.is_file():
        raise StudyError(
            f'task {task.key}: folds are dealt by group, and {file} is missing; it tells which '
            'images resemble each other (image stem to group): prepare-dataset writes it from '
            '--groups or --group-regex, and check-leakage finds groups'
        )
    try:
        known = read_groups(file)
    except ValueError as error:
        raise StudyError(f'task {task.key}: {error}') from error
    pool = read_pool(task, cfg, datasets)
    found = [known.get(name, known.get(Path(name).name)) for name in pool.names]
    without = sorted(name for name, group in zip(pool.names, found) if group is None)
    if without:
        raise StudyError(
            f'task {task.key}: folds are dealt by group, and {file} has none of '
            f'{first_few(without)}'
        )
    groups = [str(group) for group in found]
    num_groups = len(set(groups))
    if num_groups < MIN_GROUPS * task.folds:
        fewer = num_groups // MIN_GROUPS
        instead = f'take folds={fewer} at most, or ' if fewer > 1 else ''
        raise StudyError(
            f'task {task.key}: folds={task.folds} wants {MIN_GROUPS * task.folds} groups of images '
            f'and more, and {file} has {num_groups}; {instead}leave splits out'
        )
    sizes = {split: len(dataset) for split, dataset in datasets.items()}
    share = sizes['val'] / (sizes['val'] + sizes['train'])
    splits = deal(pool.names, pool.labels, groups, task.folds, share)
    classes = list((getattr(datasets['train'], 'metainfo', None) or {}).get('classes') or [])
    return Folds(task, pool, groups, splits, classes)


def deal(
    names: Sequence[str],
    labels: Sequence[frozenset[int]],
    groups: Sequence[str],
    num_folds: int,
    val_share: float,
) -> list[dict[str, list[int]]]:
    """Which images each fold trains, validates and tests on.

    Args:
        names (Sequence[str]): Names of the images; the outcome does not depend on their order.
        labels (Sequence[frozenset[int]]): Classes in each image.
        groups (Sequence[str]): Group of each image.
        num_folds (int): Number of folds.
        val_share (float): Share of the images of a fold that are not tested, for validation.

    Returns:
        list[dict[str, list[int]]]: By fold and split, indices of the images, by name.
    """
    order = sorted(range(len(names)), key=names.__getitem__)

    def dealt(indices: list[int], ratios: list[float]) -> list[int]:
        return stratify(
            [labels[i] for i in indices], [groups[i] for i in indices], ratios, DEAL_SEED
        )

    # The first part, which stays empty, is training: the others are all alike.
    fold_of_image = dealt(order, [0.0] + [1 / num_folds] * num_folds)
    found = []
    for fold in range(num_folds):
        rest = [i for i, side in zip(order, fold_of_image) if side != fold + 1]
        sides = dealt(rest, [1 - val_share, val_share])
        found.append(
            {
                'train': [i for i, side in zip(rest, sides) if side == 0],
                'val': [i for i, side in zip(rest, sides) if side == 1],
                'test': [i for i, side in zip(order, fold_of_image) if side == fold + 1],
            }
        )
    return found


def check_chains(study: Study, roots: Mapping[str, str], folds: Mapping[str, Folds]) -> None:
    """Refuse a task whose test images the networks that it starts from may have been trained on.

    Args:
        study (Study): The study.
        roots (Mapping[str, str]): Folder of each task's data.
        folds (Mapping[str, Folds]): Folds of the tasks that have some.

    Raises:
        StudyError: A task and its source read one data set, and their folds differ.
    """
    for task in study.tasks.values():
        source = task.source
        if source is None or not {task.key, source} & set(folds):
            continue
        if not overlap(roots[task.key], roots[source]):
            continue
        pair = [folds.get(key) for key in (task.key, source)]
        # Classification names images with their class, the other kinds without.
        stems = len({study.tasks[key].kind == 'classification' for key in (task.key, source)}) > 1
        mine, other = ({} if found is None else found.by_name(stems) for found in pair)
        differing = [name for name in mine if other.get(name, mine[name]) != mine[name]]
        if not mine or not other or differing:
            why = f', e.g. of {min(differing)}' if differing else ''
            raise StudyError(
                f'task {task.key} starts from {source}, both read {roots[task.key]}, and their '
                f'folds differ{why}: its networks would have been trained on images that it '
                'tests; take other data for one of them, or leave splits out of both'
            )


def overlap(first: str, second: str) -> bool:
    """Whether two folders are one, or one is within the other."""
    one, other = os.path.realpath(first), os.path.realpath(second)
    return os.path.commonpath([one, other]) in (one, other)
