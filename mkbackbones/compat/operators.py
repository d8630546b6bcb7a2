"""Operators of our own for ``torch.compile``, on which the Triton kernels are built."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch.library import CustomOpDef

__all__ = ['custom_op', 'why_no_operators']


def why_no_operators() -> str:
    """Why this PyTorch has no operators of our own, in words; empty where it has them."""
    if hasattr(torch.library, 'custom_op'):
        return ''
    return f'torch {torch.__version__} lacks torch.library.custom_op, which torch 2.4 has'


def custom_op(name: str) -> Callable[[Callable], CustomOpDef]:
    """Make a function an operator that changes none of its arguments.

    Args:
        name (str): Its name, ``mkbackbones::name``.

    Raises:
        ImportError: If this PyTorch has none.
    """
    if reason := why_no_operators():
        raise ImportError(f'the Triton kernels cannot be imported: {reason}')
    return torch.library.custom_op(name, mutates_args=())
