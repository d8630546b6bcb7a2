"""The data sets of a study's tasks, each built once, however many tasks have it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from ...runner.config_files import one_line
from ..define.spec import StudyError
from ..define.tasks import Task
from .split_checks import count_classes

if TYPE_CHECKING:
    from ..define.tasks import TaskKind

__all__ = ['DataSets', 'build_data_sets']


class DataSets:
    """Data sets, and how many images of each class are in them, by their configs.

    Tasks that differ in their options alone, such as the learning rate, have the same data.
    """

    def __init__(self) -> None:
        self.built: dict[str, Any] = {}
        self.counts: dict[tuple[int, str], Sequence[int] | None] = {}

    def of(self, task: Task, cfg: Config) -> dict[str, Any]:
        """The data sets of a task by split; see :func:`build_data_sets`."""
        scope = cfg.get('default_scope', 'mmengine')

        def build(dataset: Any) -> Any:
            known = f'{scope} {dataset!r}'
            if known not in self.built:
                self.built[known] = DATASETS.build(dataset)
            return self.built[known]

        return build_data_sets(task, cfg, build)

    def count_classes(self, dataset: Any, kind: TaskKind) -> Sequence[int] | None:
        """Images with each class, of a data set that is kept here; see :func:`count_classes`."""
        known = id(dataset), kind
        if known not in self.counts:
            self.counts[known] = count_classes(dataset, kind)
        return self.counts[known]


def build_data_sets(
    task: Task, cfg: Config, build: Callable[[Any], Any] = DATASETS.build
) -> dict[str, Any]:
    """The data sets of a task by split.

    Args:
        task (Task): The task.
        cfg (Config): Its config.
        build (Callable): Builds one of its config.

    Raises:
        StudyError: One cannot be read or is empty.
    """

    found = {}
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        for split in ('train', 'val', 'test'):
            loader = cfg[f'{split}_dataloader']
            try:
                found[split] = build(loader.dataset)
                empty = not len(found[split])
            except Exception as error:  # a data set may raise anything
                raise StudyError(
                    f'task {task.key}: the {split} split cannot be read: {one_line(error)}'
                ) from error
            if empty:
                raise StudyError(f'task {task.key}: the {split} split has no images')
    return found
