"""Mixed precision on a CPU, which mmengine's AmpOptimWrapper refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """An optimiser wrapper that runs the forward pass under CPU autocast in bfloat16.

    It takes the arguments of mmengine's OptimWrapper. There is no loss scaling: bfloat16 has the
    range of float32.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter autocast in addition to the wrapper's own context."""
        with super().optim_context(model), torch.autocast('cpu', dtype=torch.bfloat16):
            yield
