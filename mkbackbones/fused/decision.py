"""The decision of one forward pass: which parts run on the kernels, and in what type."""

from functools import cache
from typing import TypeGuard

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..compat.modes import is_autocast_enabled, is_compiling
from ..kernels import support
from .exact import Cached, unit_departure


@cache
def report(kind: str, reason: str) -> None:
    """Say once, for a kind of modules and a reason, that it runs without the kernels."""
    print_log(f'{kind} runs without the Triton kernels: {reason}', logger='current')


class Plan:
    """What one forward pass runs on the kernels.

    Args:
        dtype (torch.dtype): The half precision.
        norm_dtype (torch.dtype): What norms outside of blocks give.
        departures (dict): What is known already of modules, see :meth:`serves`.
    """

    def __init__(
        self,
        dtype: torch.dtype,
        norm_dtype: torch.dtype,
        departures: dict[nn.Module, str | None],
    ) -> None:
        self.dtype = dtype
        self.norm_dtype = norm_dtype
        self.departures = departures

    def serves(self, unit: nn.Module) -> bool:
        """Whether a block, norm, embedding or merging runs on the kernels; says why not, once."""
        if is_compiling():
            return unit_departure(unit) is None
        if unit not in self.departures:
            reason = self.departures[unit] = unit_departure(unit)
            if reason is not None:
                report(type(unit).__name__, reason)
        return self.departures[unit] is None


class Decision:
    """Decides, pass by pass, for one backbone."""

    def __init__(self) -> None:
        self.cached = Cached()

    def __reduce__(self) -> tuple:
        return Decision, ()

    def plan(self, backbone: nn.Module, x: Tensor) -> Plan | None:
        """The plan of a pass over images ``x``; None for plain PyTorch throughout."""
        dtype = support.fused_dtype(x)
        if dtype is None:
            return None
        # As autocast has it: norms give float32.
        norm_dtype = torch.float32 if is_autocast_enabled(x.device.type) else dtype
        compiling = is_compiling()
        departures = {} if compiling else self.cached.ask(backbone, lambda root: {})
        return Plan(dtype, norm_dtype, departures)


def serves(plan: Plan | None, unit: nn.Module) -> TypeGuard[Plan]:
    """Whether a part runs on the kernels in a pass."""
    return plan is not None and plan.serves(unit)
