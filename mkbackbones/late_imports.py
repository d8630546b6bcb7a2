"""Libraries that mmengine imports on the chance that somebody uses them: only if somebody does.

mmengine imports transformers for one optimiser, Adafactor. Where transformers and what belongs to
it are installed, that is 9 of the 12 seconds that a command or a worker takes to start (measured on
a GPU host).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine.config import Config

__all__ = ['NotYet', 'put_off', 'register_optimizer']

ASKING = 'mmengine.optim.optimizer.builder'
PUT_OFF = 'transformers'


class NotYet:
    """An import finder to which transformers is not installed while mmengine asks for it."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Leave every import to the other finders, but that one."""
        spec = getattr(sys.modules.get(ASKING), '__spec__', None)
        if name == PUT_OFF and getattr(spec, '_initializing', False):
            raise ModuleNotFoundError(f'{PUT_OFF} is imported when a config asks for it')


def put_off() -> None:
    """Let mmengine start without transformers; for processes that are ours alone."""
    if not any(isinstance(finder, NotYet) for finder in sys.meta_path):
        sys.meta_path.insert(0, NotYet())


def register_optimizer(cfg: Config) -> None:
    """Register the optimiser that was put off, if a config names it.

    Args:
        cfg (Config): With ``optim_wrapper.optimizer``, or without.
    """
    from mmengine.optim.optimizer import builder

    optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer') or {}
    register = getattr(builder, 'register_transformers_optimizers', None)
    if optimizer.get('type') == 'Adafactor' and register and 'Adafactor' not in builder.OPTIMIZERS:
        register()
