"""A checkpoint that was read to check it is not read again to go on from it."""

from __future__ import annotations

import re
from pathlib import Path

from mmengine.runner.checkpoint import CheckpointLoader

__all__ = ['hand_over']


def hand_over(path: Path, content: dict) -> None:
    """Let mmengine's runner take a checkpoint from memory the next time that it loads it.

    Args:
        path (Path): The file, as the runner will name it.
        content (dict): What :func:`~mkbackbones.checkpoints.runner_loader.load_for_runner` read
            from it. It is let go of when it is taken.
    """
    prefix = f'{re.escape(str(path))}$'

    def from_memory(filename: str, map_location: object = None) -> dict:
        del CheckpointLoader._schemes[prefix]
        return content

    CheckpointLoader.register_scheme(prefixes=prefix, loader=from_memory, force=True)
