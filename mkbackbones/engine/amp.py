"""Mixed precision in bfloat16 on whatever device the model is on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from ..registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """An optimiser wrapper that runs the forward pass under autocast in bfloat16.

    Unlike mmengine's ``AmpOptimWrapper`` it works on a CPU too, so one config serves a GPU host
    and a smoke test. There is no loss scaling: bfloat16 has the range of float32. For GPUs without
    bfloat16 take ``AmpOptimWrapper`` with ``dtype='float16'``. Arguments as in ``OptimWrapper``.

    The backward pass runs in the calling thread. PyTorch's own thread for it serves models on
    several devices; with one, it only costs the CPU its caches (docs/performance.md).
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter autocast on the model's device, in addition to the wrapper's own context."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Back-propagate; arguments as in ``OptimWrapper``."""
        with torch.autograd.set_multithreading_enabled(False):
            super().backward(loss, **kwargs)
