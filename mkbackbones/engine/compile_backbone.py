"""The backbone of a model compiled for training, heads and losses left as they are."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from ..compat.graphs import mark_step, why_not_compiled
from ..registry import HOOKS
from .unwrapped import model_of


@HOOKS.register_module()
class CompileBackboneHook(Hook):
    """Train with a compiled backbone.

    ``custom_hooks=[dict(type='mkbackbones.CompileBackboneHook')]``. Only the backbone is compiled:
    heads and their losses depend on the data and do not compile well. Validation, tests and
    exports run uncompiled; state dicts do not change. Where compilation fails, for want of a
    compiler or of a newer PyTorch say, training goes on uncompiled and the log says why, once.

    Random numbers (stochastic depth) are drawn in another order than without this hook.

    Args:
        cuda_graphs (bool): Also record the kernels and start them all at once, which pays where
            the CPU is slower than the GPU. For training at one image size and batch size: each
            further one is recorded anew and takes memory of its own.
    """

    def __init__(self, cuda_graphs: bool = False) -> None:
        self.cuda_graphs = cuda_graphs
        self.backbone: nn.Module | None = None

    def before_train(self, runner: Runner) -> None:
        """Put the compiled backbone in.

        Raises:
            ValueError: If the model has no backbone, or gradients are accumulated over several
                recorded steps, each of which overwrites the gradients of the one before.
        """
        model = model_of(runner)
        backbone = getattr(model, 'backbone', None)
        if not isinstance(backbone, nn.Module):
            raise ValueError(
                f'CompileBackboneHook compiles model.backbone; {type(model).__name__} has none'
            )
        counts = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        if self.cuda_graphs and counts > 1:
            raise ValueError(
                f'cuda_graphs=True does not go with accumulative_counts={counts}; use 1, or '
                'cuda_graphs=False'
            )
        if reason := why_not_compiled():
            log_uncompiled(backbone, reason)
            return
        self.backbone = backbone
        backbone.forward = CompiledForward(backbone, self.cuda_graphs)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | tuple | list | None = None
    ) -> None:
        if self.cuda_graphs and self.backbone is not None:
            mark_step()

    def after_train(self, runner: Runner) -> None:
        if self.backbone is not None:
            del self.backbone.forward
            self.backbone = None


def log_uncompiled(module: nn.Module, reason: str) -> None:
    """Say that training goes on without compilation, and why."""
    name = type(module).__name__
    print_log(f'{name} is trained uncompiled: {reason}', logger='current', level=logging.WARNING)


def compile_options(cuda_graphs: bool) -> dict[str, Any]:
    """Arguments of ``torch.compile``: for any sizes, or for one recorded at a time."""
    return dict(mode='reduce-overhead', dynamic=False) if cuda_graphs else {}


class CompiledForward:
    """A module's ``forward``: compiled in training, as it is in evaluation and without gradients.

    Args:
        module (nn.Module): The module.
        cuda_graphs (bool): Whether to record CUDA graphs, one for each input size.
    """

    def __init__(self, module: nn.Module, cuda_graphs: bool) -> None:
        self.module = module
        self.plain: Callable = module.forward
        self.compiled: Callable | None = torch.compile(self.plain, **compile_options(cuda_graphs))

    def __call__(self, *args: Any, **kwargs: Any) -> Sequence[Tensor]:
        if self.compiled is None or not (self.module.training and torch.is_grad_enabled()):
            return self.plain(*args, **kwargs)
        try:
            return self.compiled(*args, **kwargs)
        except TorchDynamoException as error:
            self.compiled = None
            reason = ' '.join(str(error).split())[:300]
            log_uncompiled(self.module, f'{type(error).__name__}: {reason}')
            return self.plain(*args, **kwargs)
