"""The model of a runner as it was built."""

from __future__ import annotations

from typing import Any

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

__all__ = ['model_of']


def model_of(runner: Runner) -> Any:
    """The model of a runner, without its wrapper for several GPUs.

    Args:
        runner (Runner): The runner.
    """
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
