"""The backbone of a model run from recordings, heads and losses left as they are."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..arguments import check, integer
from ..backbones.base import Backbone
from ..recorded import RecordedForward
from ..registry import HOOKS
from .compile_backbone import CompileBackboneHook


@HOOKS.register_module()
class RecordBackboneHook(Hook):
    """Run the backbone from CUDA graphs, one for each shape of images that comes often.

    ``custom_hooks=[dict(type='mkbackbones.RecordBackboneHook')]``. In half precision on a GPU, the
    CPU starts a recorded pass at once instead of kernel by kernel. Shapes that are rare, and
    whatever recordings do not serve (see :class:`mkbackbones.recorded.RecordedForward`), run as
    without this hook, and the log says why. Results and random numbers are the same.

    Args:
        after (int): Passes of a shape before it is recorded, which takes the time of a few.
        most (int): Recordings that are kept.

    Raises:
        ValueError: An argument is out of range, the model's backbone is none of mkbackbones, or it
            is compiled, too.
    """

    def __init__(self, after: int = 3, most: int = 16) -> None:
        check('after', after, integer(1, 10**9))
        check('most', most, integer(1, 10**4))
        self.after = after
        self.most = most
        self.backbone: Backbone | None = None

    def before_run(self, runner: Runner) -> None:
        """Put the recorded pass in."""
        model: Any = runner.model.module if is_model_wrapper(runner.model) else runner.model
        backbone = getattr(model, 'backbone', None)
        if not isinstance(backbone, Backbone):
            raise ValueError(
                f'RecordBackboneHook records backbones of mkbackbones; {type(model).__name__}'
                f'.backbone is a {type(backbone).__name__}'
            )
        if any(isinstance(hook, CompileBackboneHook) for hook in runner.hooks):
            raise ValueError(
                'RecordBackboneHook and CompileBackboneHook both run the backbone; keep one of '
                'them in custom_hooks'
            )
        self.backbone = backbone
        backbone.forward = RecordedForward(backbone, self.after, self.most)  # type: ignore[method-assign]

    def after_run(self, runner: Runner) -> None:
        if self.backbone is not None:
            del self.backbone.forward
            self.backbone = None
