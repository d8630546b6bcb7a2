"""What a study with tiles needs of a config, and what its reader has to know."""

from __future__ import annotations

import contextlib
from typing import Any

from mmengine.config import Config
from PIL import Image

from ...predict.passes import scope_of
from ...predict.preparation import Preparation, Split
from ...predict.tiles import Tiling
from ..define.tasks import Task

__all__ = ['check_tiles', 'tiles_in_words', 'tiles_note']

#: Of more images the sizes are not looked at.
MOST_IMAGES = 5000


def check_tiles(task: Task, cfg: Config) -> None:
    """Raise InputError unless the pipelines of a task can prepare tiles."""
    if task.tile is None:
        return
    splits: tuple[Split, Split] = ('val', 'test')  # thresholds of false alarms are of the former
    with scope_of(cfg.get('default_scope')):
        for split in splits:
            Preparation(cfg, split=split)


def tiles_in_words(tiling: Tiling) -> str:
    """Size and overlap."""
    return f'{tiling.tile:,} pixels, of which neighbours share {tiling.overlap:,} or more'


def tiles_note(task: Task, dataset: Any) -> list[str]:
    """What tiles do to the test images of a task; nothing where there are none.

    Args:
        task (Task): The task.
        dataset (Dataset): Its test split.
    """
    if task.tile is None:
        return []
    count = None if task.folds else count_larger(dataset, task.tile.tile)
    if count == 0:
        return [
            f'task {task.key}: no test image is larger than a tile of {task.tile.tile:,} pixels, '
            'so that tiles change nothing'
        ]
    which = (
        'test images that are larger than a tile'
        if count is None
        else f'{count:,} of {len(dataset):,} test images are larger than a tile and'
    )
    verb = 'are ' if count is None else ''
    return [
        f'task {task.key}: {which} {verb}tested in tiles of {tiles_in_words(task.tile)}, and '
        'measured whole; the validation that picks weights sees images whole'
    ]


def count_larger(dataset: Any, size: int) -> int | None:
    """How many images have a side beyond so many pixels; None where that is not told quickly."""
    if len(dataset) > MOST_IMAGES:
        return None
    with contextlib.suppress(OSError, KeyError):
        return sum(max(size_of(dataset.get_data_info(i))) > size for i in range(len(dataset)))
    return None


def size_of(about: dict[str, Any]) -> tuple[int, int]:
    """Sides of an image in pixels, as its annotations or its file say."""
    if about.get('width') and about.get('height'):
        return about['width'], about['height']
    with Image.open(about['img_path']) as image:
        return image.size
