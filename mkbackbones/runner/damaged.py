"""Which picture of a data set cannot be read, where a decoder does not say."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .preflight import datasets_of

if TYPE_CHECKING:
    from mmengine.config import Config

__all__ = ['damaged_picture', 'is_of_decoder']


def is_of_decoder(error: BaseException) -> bool:
    """Whether an error is what decoders raise of an empty or damaged file, without its name."""
    kind = type(error)
    if kind.__module__.partition('.')[0] in ('cv2', 'PIL'):
        return True
    # mmseg's loader of class maps, where OpenCV gives nothing.
    return isinstance(error, AttributeError) and "'NoneType' object" in str(error)


def damaged_picture(cfg: Config) -> Path | None:
    """The first picture or class map of a config's data that cannot be decoded.

    It reads all of them up to that one, so ask after something has gone wrong.

    Args:
        cfg (Config): A config of mmdet, mmseg or ours.
    """
    for path in pictures_of(cfg):
        if not is_whole(path):
            return path
    return None


def pictures_of(cfg: Config) -> Iterator[Path]:
    """Pictures and class maps of all splits; those of a data set that cannot be built are left."""
    from mmengine.registry import DATASETS, DefaultScope

    for stage in ('train', 'val', 'test'):
        for settings in datasets_of(cfg, f'{stage}_dataloader'):
            settings = copy.deepcopy(dict(settings))
            settings.update(pipeline=[], lazy_init=False)
            try:
                with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
                    dataset: Any = DATASETS.build(settings)
                    about = [dataset.get_data_info(i) for i in range(len(dataset))]
            except Exception:  # a data set of the user's raises anything
                continue
            for one in about:
                for name in ('img_path', 'seg_map_path'):
                    if isinstance(one.get(name), str):
                        yield Path(one[name])


def is_whole(path: Path) -> bool:
    """Whether a picture can be decoded."""
    from .. import opencv as cv2

    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError:
        return False
    return len(content) > 0 and cv2.imdecode(content, cv2.IMREAD_UNCHANGED) is not None
