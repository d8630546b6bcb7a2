"""Real pictures on which a file is compared with its model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..predict import Predictor
from ..predict.inputs import find_pictures
from ..predict.preparation import test_dataset
from ..runner.config_files import one_line

__all__ = ['pictures_to_check']

NUMBER = 8


def pictures_to_check(
    predictor: Predictor, inputs: Sequence[str], number: int = NUMBER
) -> tuple[list[Path], str]:
    """Some pictures, evenly spread over those that are there.

    Args:
        predictor (Predictor): Its config has a test set.
        inputs (Sequence[str]): Files, folders and patterns; empty for the test set of the config.
        number (int): How many at most.

    Returns:
        tuple[list[Path], str]: The pictures, and a sentence where there are none.

    Raises:
        InputError: An input does not exist or has no pictures.
    """
    if inputs:
        return spread(find_pictures(inputs), number), ''
    try:
        paths = pictures_of(predictor)
    except Exception as error:  # a data set of the user's raises anything
        reason = one_line(error)
    else:
        if paths:
            return spread(paths, number), ''
        reason = 'it has none'
    return [], (
        f'the pictures of the test set cannot be had ({reason}): file and model are compared on '
        'noise alone; --images names pictures'
    )


def pictures_of(predictor: Predictor) -> list[Path]:
    """Files of the test set of a config."""
    from mmengine.registry import DATASETS, DefaultScope

    settings = copy.deepcopy(test_dataset(predictor.cfg))
    settings.update(pipeline=[], test_mode=True, lazy_init=False)
    with DefaultScope.overwrite_default_scope(predictor.cfg.get('default_scope')):
        dataset: Any = DATASETS.build(settings)
    found = [Path(dataset.get_data_info(i)['img_path']) for i in range(len(dataset))]
    return [path for path in found if path.is_file()]


def spread(paths: list[Path], number: int) -> list[Path]:
    """So many of them, from the first to the last."""
    if len(paths) <= number:
        return paths
    return [paths[i * (len(paths) - 1) // (number - 1)] for i in range(number)]
