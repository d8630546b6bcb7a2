"""Whether the Triton kernels serve a tensor, and how to switch them off."""

import os
from functools import cache

import torch
from mmengine.logging import print_log
from torch import Tensor

from ..compat.modes import autocast_dtype, is_autocast_enabled, is_compiling, is_exporting
from ..compat.operators import why_no_operators
from ..compat.private import can_watch, global_hooks

#: Set to 0 to run everything as plain PyTorch.
SWITCH = 'MKBACKBONES_TRITON'

try:
    import triton
except Exception as error:  # a broken installation raises more than ImportError
    triton = None
    missing = f'Triton is not available ({type(error).__name__})'
else:
    missing = why_no_operators()


@cache
def report(reason: str) -> None:
    """Say once why the kernels are not used."""
    print_log(f'The backbones run without their Triton kernels: {reason}', logger='current')


def why_not(index: int) -> str:
    """What speaks against the kernels on a GPU; empty where nothing does."""
    if os.environ.get(SWITCH, '1') == '0':
        return f'{SWITCH}=0'
    if not missing and (torch.version.hip or torch.cuda.get_device_capability(index) < (8, 0)):
        return f'they are not tried on {torch.cuda.get_device_name(index)}'
    return missing


@cache
def enabled(index: int) -> bool:
    """Whether the kernels may be used on a GPU; says so once where they may not."""
    reason = why_not(index)
    if reason:
        report(reason)
    return not reason


def fused_dtype(x: Tensor) -> torch.dtype | None:
    """The half precision in which the kernels would work on ``x``, None for plain PyTorch.

    They serve half precision on NVIDIA GPUs since Ampere, under autocast or with half-precision
    parameters. Full precision, the CPU and exports (``torch.export``, ONNX, TorchScript) take plain
    PyTorch, which is the reference that the kernels are checked against; so does everything while
    global module hooks (``register_module_forward_hook`` and the like) want to see each call.
    """
    if not x.is_cuda or torch.jit.is_tracing() or is_exporting():
        return None
    dtype = autocast_dtype('cuda') if is_autocast_enabled('cuda') else x.dtype
    if dtype not in (torch.bfloat16, torch.float16) or not enabled(x.device.index):
        return None
    if is_compiling():
        return dtype
    if not can_watch():
        return None
    if any(global_hooks()):
        report('global module hooks listen to every module')
        return None
    return dtype
