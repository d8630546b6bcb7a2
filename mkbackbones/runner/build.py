"""Build the runner of a config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .config_values import settle_loaders

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner

__all__ = ['build_runner']


def build_runner(cfg: Config, trusted: bool = False) -> Runner:
    """Build the runner that ``cfg`` describes; all that it loads goes through our reader.

    Args:
        cfg (Config): Config of mmdet, mmseg, mmpretrain or mmengine.
        trusted (bool): Load checkpoints that hold more than data, which can run code.
    """
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner

    from ..checkpoints.runner_loader import use_safe_loader

    use_safe_loader(trusted)
    settle_loaders(cfg)
    found: Any = cfg  # the registry takes a Config, too
    return RUNNERS.build(found) if 'runner_type' in cfg else Runner.from_cfg(cfg)
