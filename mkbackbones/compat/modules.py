"""Modules and the memory of their tensors: loading hooks, weak references, attention unfused."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

# A weak reference of Python's to a storage refers to the Python object, of which there may be
# several for one memory, and crashes the interpreter in torch 2.1; this one refers to the memory.
from torch.multiprocessing.reductions import StorageWeakRef

__all__ = ['StorageWeakRef', 'add_load_hook', 'unfused_attention']


def add_load_hook(module: nn.Module, hook: Callable[..., None]) -> Any:
    """Register a pre-hook of ``load_state_dict``, which runs before those registered later.

    Args:
        module (nn.Module): The module.
        hook (Callable): ``hook(module, state_dict, prefix, local_metadata, strict, missing_keys,
            unexpected_keys, error_msgs)``; ``prefix`` is that of the module in ``state_dict``.

    Returns:
        RemovableHandle: Its ``remove()`` takes the hook away.
    """
    public = getattr(module, 'register_load_state_dict_pre_hook', None)
    if public is not None:
        return public(hook)
    # The private twin leaves the module out unless it is asked to give it. It keeps a weak
    # reference to the module, and copies and pickles of the module get one to themselves.
    return module._register_load_state_dict_pre_hook(hook, with_module=True)


def unfused_attention() -> AbstractContextManager:
    """A context in which ``scaled_dot_product_attention`` is its matrix products."""
    try:
        from torch.nn.attention import SDPBackend, sdpa_kernel
    except ImportError:
        return torch.backends.cuda.sdp_kernel(  # the CPU heeds it, too
            enable_flash=False, enable_mem_efficient=False, enable_math=True
        )
    return sdpa_kernel(SDPBackend.MATH)
