"""A look at pictures that are cut into tiles, as ``test --tile`` looks at them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from mmengine.config import Config

from ...predict.evaluation import seen_whole
from ...predict.passes import Passes, scope_of
from ...predict.preparation import Preparation, Split
from ...predict.tiles import Tiling

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

__all__ = ['Tiles', 'tiles_of']


@dataclass(frozen=True)
class Tiles:
    """How a run looks at the pictures of one split.

    Args:
        cfg (Config): The run's config.
        tiling (Tiling): How larger pictures are cut.
        split (str): The split, whose own pipeline prepares tiles.
    """

    cfg: Config
    tiling: Tiling
    split: Split = 'test'

    def samples(self, model: Any, loader: DataLoader) -> Iterator[tuple[Any, float]]:
        """Samples with what all tiles of their pictures show together.

        Args:
            model (nn.Module): A model of mmengine, in evaluation mode.
            loader (DataLoader): Its data set and batch size count; tiles are made here.

        Yields:
            tuple[Any, float]: A sample on the CPU, and the time of the model for its tiles in
            seconds.
        """
        dataset: Any = loader.dataset
        whole = getattr(dataset, 'dataset', dataset)  # of a Subset
        kind, library = self.cfg.study.kind, self.cfg.get('default_scope')
        with scope_of(library):
            preparation = Preparation(self.cfg, split=self.split)
        timed = Timed(model)
        passes = Passes(
            timed,
            'segmentation' if kind == 'segmentation' else 'detection',
            whole.metainfo['classes'],
            preparation,
            library,
            loader.batch_size or 1,
            self.tiling,
        )
        masks, done = kind == 'instance-segmentation', 0
        for sample, found in seen_whole(passes, dataset, masks):
            end = done + len(self.tiling.windows(found.width, found.height))
            yield sample, sum(timed.seconds[done:end])
            done = end


class Timed:
    """A model that notes its time.

    Args:
        model (nn.Module): The model.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        #: Of each picture or tile in the order of their coming, in seconds.
        self.seconds: list[float] = []

    def test_step(self, data: dict[str, Any]) -> list[Any]:
        """What the model says."""
        start = time.perf_counter()
        found = list(self.model.test_step(data))
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds += [(time.perf_counter() - start) / len(found)] * len(found)
        return found


def tiles_of(cfg: Config, split: Split) -> Tiles | None:
    """How a run looks at pictures; None: as its loader gives them.

    Args:
        cfg (Config): The run's config, as it was written.
        split (str): The split.
    """
    tile = cfg.study.get('tile')
    return None if tile is None else Tiles(cfg, Tiling(tile['size'], tile['overlap']), split)
