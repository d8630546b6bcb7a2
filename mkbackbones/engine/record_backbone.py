"""The backbone of a model run from recordings, heads and losses left as they are."""

from __future__ import annotations

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from ..arguments import check, integer, number
from ..backbones.base import Backbone
from ..recorded import RecordedForward
from ..registry import HOOKS
from .compile_backbone import CompileBackboneHook
from .unwrapped import model_of


@HOOKS.register_module()
class RecordBackboneHook(Hook):
    """Run the backbone from CUDA graphs, one for each shape of images that comes often.

    ``custom_hooks=[dict(type='mkbackbones.RecordBackboneHook')]``. In half precision on a GPU, the
    CPU starts a recorded pass at once instead of kernel by kernel. Shapes that are rare, and
    whatever recordings do not serve (see :class:`mkbackbones.recorded.RecordedForward`), run as
    without this hook, and the log says why. Results and random numbers are the same.

    It stands in the provided configs. A backbone that is none of mkbackbones, and one that
    :class:`CompileBackboneHook` compiles, is left alone; the log says so.

    Args:
        after (int): Passes of a shape before it is recorded, which takes the time of a few.
        most (int): Recordings that are kept.
        memory (float): What the process may hold with recordings and the rest of its steps of the
            GPU's memory, as far as other processes leave it: 0 to 1. Where it would be more, passes
            run as without.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, after: int = 3, most: int = 16, memory: float = 0.8) -> None:
        check('after', after, integer(1, 10**9))
        check('most', most, integer(1, 10**4))
        check('memory', memory, number(0, 1))
        self.after = after
        self.most = most
        self.memory = memory
        self.backbone: Backbone | None = None

    def before_run(self, runner: Runner) -> None:
        """Put the recorded pass in."""
        model = model_of(runner)
        backbone = getattr(model, 'backbone', None)
        name = f'{type(model).__name__}.backbone, a {type(backbone).__name__},'
        left = f'{name} runs without recordings: '
        if not isinstance(backbone, Backbone):
            told = left + 'RecordBackboneHook records backbones of mkbackbones'
            print_log(told, 'current', logging.INFO)
        elif any(isinstance(hook, CompileBackboneHook) for hook in runner.hooks):
            print_log(left + 'CompileBackboneHook runs it', 'current', logging.INFO)
        else:
            self.backbone = backbone
            forward = RecordedForward(backbone, self.after, self.most, self.memory)
            backbone.forward = forward  # type: ignore[method-assign]

    def after_run(self, runner: Runner) -> None:
        if self.backbone is not None:
            del self.backbone.forward
            self.backbone = None
