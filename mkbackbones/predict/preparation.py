"""The test pipeline of a config, from a picture to what the network takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..runner.config_files import one_line
from ..runner.errors import InputError
from ..runner.preflight import datasets_of
from .pictures import PictureError, decode

if TYPE_CHECKING:
    from mmengine.config import Config

__all__ = ['Preparation', 'Split', 'test_dataset']

Split = Literal['val', 'test']

#: Transforms that read what is known of a picture, of which there is nothing here.
_OF_TRUTH = 'Annotations'


def test_dataset(cfg: Config, split: Split = 'test') -> dict[str, Any]:
    """Config of the test set, or of another one, below its wrappers.

    Raises:
        InputError: There is none.
    """
    datasets = list(datasets_of(cfg, f'{split}_dataloader'))
    if not datasets:
        raise InputError(
            f'the config has no {split}_dataloader.dataset, whose pipeline would prepare the '
            'pictures'
        )
    return datasets[0]


class Preparation:
    """Reads pictures and prepares them, or parts of them.

    Args:
        cfg (Config): A config of mmdet, mmseg or ours; the default scope has to be its own.
        bit_depth (int): Used bits a channel of pictures that store 16.
        split (str): The split whose pipeline is meant.

    Raises:
        InputError: The config has no test pipeline, or one that does not begin by loading.
    """

    def __init__(self, cfg: Config, bit_depth: int = 16, split: Split = 'test') -> None:
        from mmcv.transforms import LoadImageFromFile
        from mmengine.registry import TRANSFORMS

        dataset = test_dataset(cfg, split)
        pipeline = dataset.get('pipeline') or []
        if not pipeline and dataset.get('transforms') is not None:
            raise InputError(
                f'the {split} set of the config is a folder of classes without a pipeline; predict '
                'is for detectors and segmentors'
            )
        kinds = [str(step.get('type')).rpartition('.')[2] for step in pipeline]
        if not kinds or not kinds[0].startswith('Load') or _OF_TRUTH in kinds[0]:
            raise InputError(
                f'{split}_dataloader.dataset.pipeline has to begin with a transform that loads the '
                f'picture, such as LoadImageFromFile; it is {", ".join(kinds) or "empty"}'
            )
        self._bit_depth = bit_depth
        self._load: Any
        self._load, *self._steps = [
            TRANSFORMS.build(step) for step, kind in zip(pipeline, kinds) if _OF_TRUTH not in kind
        ]
        # One of another kind (several files a picture, raw data) reads by itself.
        self._is_usual = type(self._load) is LoadImageFromFile
        #: How many channels the network takes.
        self.channels = _channels(cfg)

    def read(self, path: Path) -> np.ndarray:
        """Pixels of a file: (height, width[, channels]), BGR.

        Raises:
            PictureError: It cannot be read.
        """
        if self._is_usual:
            return decode(path, self._load, self._bit_depth)
        try:
            return self._load(dict(img_path=str(path), img_id=0))['img']
        except Exception as error:  # a transform of the user's raises anything
            raise PictureError(f'{path} cannot be read ({one_line(error)})') from error

    def prepare(self, pixels: np.ndarray, where: str) -> dict[str, Any]:
        """Run the rest of the pipeline.

        Args:
            pixels (np.ndarray): (height, width[, channels]), BGR.
            where (str): The picture, for messages and for transforms that ask for its path.

        Returns:
            dict[str, Any]: ``inputs`` (C, H, W) and ``data_samples``.

        Raises:
            PictureError: The network takes another number of channels, or a transform fails.
        """
        shape = pixels.shape[:2]
        item: Any = dict(
            img_path=where, img_id=0, img=pixels, img_shape=shape, ori_shape=shape, seg_fields=[]
        )
        try:
            for step in self._steps:
                item = step(item)
            channels = item['inputs'].shape[0]
        except Exception as error:  # transforms raise anything
            raise PictureError(f'{where} cannot be prepared ({one_line(error)})') from error
        if channels != self.channels:
            raise PictureError(
                f'{where} has {channels} channels where the network of the config takes '
                f'{self.channels}'
            )
        return item


def _channels(cfg: Config) -> int:
    """How many channels the network takes."""
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    mean = preprocessor.get('mean')
    if mean is not None and len(mean) > 1:
        return len(mean)
    return int((cfg.model.get('backbone') or {}).get('in_channels', 3))
