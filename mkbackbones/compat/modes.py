"""What PyTorch is doing at the moment: compiling, exporting, running in mixed precision."""

from collections.abc import Callable
from typing import Any

import torch

__all__ = ['autocast_dtype', 'is_autocast_enabled', 'is_compiling', 'is_exporting']

newer: Any = torch
#: Whether ``torch.compile`` is tracing. It knows the function by its identity, so this is the
#: release's own: the name under which PyTorch itself asks before there was a public one.
is_compiling: Callable[[], bool] = (
    newer.compiler.is_compiling
    if hasattr(torch.compiler, 'is_compiling')
    else torch._utils.is_compiling
)


def is_exporting() -> bool:
    """Whether ``torch.export`` or the ONNX exporter is running."""
    # The flag behind torch.compiler.is_exporting: Dynamo of torch 2.11 takes the function itself
    # for true whenever it compiles.
    return torch.onnx.is_in_onnx_export() or getattr(torch.compiler, '_is_exporting_flag', False)


def enabled_on(device_type: str) -> bool:
    """Whether autocast is on, of releases with one function for each type of device."""
    if device_type == 'cuda':
        return newer.is_autocast_enabled()
    return device_type == 'cpu' and newer.is_autocast_cpu_enabled()


def dtype_on(device_type: str) -> torch.dtype:
    """To which type autocast casts, of releases with one function for each type of device."""
    return (
        newer.get_autocast_gpu_dtype() if device_type == 'cuda' else newer.get_autocast_cpu_dtype()
    )


by_type = hasattr(torch, 'get_autocast_dtype')
#: Whether autocast is on for a type of device, e.g. ``cuda``.
is_autocast_enabled: Callable[[str], bool] = newer.is_autocast_enabled if by_type else enabled_on
#: The type to which autocast casts on a type of device.
autocast_dtype: Callable[[str], torch.dtype] = newer.get_autocast_dtype if by_type else dtype_on
