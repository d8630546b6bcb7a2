"""Private entries of PyTorch and Triton, each with what is done where a release lacks it.

Nothing else in the package names one. Each is looked up at first use; a missing one costs time or
the kernels, never the result, and is told once in the log.
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache, wraps
from importlib import import_module
from typing import Any, TypeVar

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from .modes import is_compiling

T = TypeVar('T')

#: Where PyTorch keeps a module's hooks.
HOOKS = ('_forward_hooks', '_forward_pre_hooks', '_backward_hooks', '_backward_pre_hooks')
#: Where it keeps what else says whether a module is what it was.
PARTS = ('_modules', '_parameters', '_is_full_backward_hook')
#: Where it keeps the hooks of all modules.
GLOBAL_HOOKS = tuple(f'torch.nn.modules.module._global{name}' for name in HOOKS)
#: Triton from which on compiled kernels can be started with all arguments of the kernel.
DIRECT_TRITON = (3, 6)


@cache
def report(missing: str, instead: str) -> None:
    """Say once that an entry is missing, and what is done instead."""
    print_log(f'{missing} is missing in this release: {instead}', logger='current')


@cache
def entry(path: str, instead: str) -> Any | None:
    """A private entry, e.g. ``torch._C.name``; None where there is none, which the log then says.

    Args:
        path (str): Where it is.
        instead (str): What is done without it.
    """
    found = find(path)
    if found is None:
        report(path, instead)
    return found


def find(path: str) -> Any | None:
    """What lies at a path of names that starts with a package; None where nothing does."""
    first, *names = path.split('.')
    found: Any = import_module(first)
    for name in names:
        found = getattr(found, name, None)
    return found


def copy_all(targets: list[Tensor], sources: list[Tensor]) -> None:
    """Copy each source into its target, whatever their types, in one call."""
    copy = entry('torch._foreach_copy_', 'tensors are copied one by one')
    if copy is not None:
        copy(targets, sources)
        return
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)


def views_of(memory: Tensor, tensors: list[Tensor]) -> Sequence[Tensor]:
    """Consecutive pieces of ``memory`` (n,) in the shapes of the given tensors."""
    views = entry('torch._C._nn.unflatten_dense_tensors', 'memory is cut up in Python')
    if views is not None:
        return views(memory, tensors)
    pieces = memory.split([tensor.numel() for tensor in tensors])
    return [piece.view(tensor.shape) for piece, tensor in zip(pieces, tensors)]


def evaluated(find: Callable[[nn.Module], T]) -> Callable[[nn.Module], T]:
    """``find(module)``, which torch.compile evaluates once, as a constant, instead of tracing it.

    Not all releases take a module as an argument there (2.14 does, 2.11 does not); all take the
    address of one, which lives as long as what is compiled.
    """

    @torch.compiler.assume_constant_result
    def find_at(address: int) -> T:
        return find(ctypes.cast(address, ctypes.py_object).value)

    @wraps(find)
    def ask(module: nn.Module) -> T:
        return find_at(id(module)) if is_compiling() else find(module)

    return ask


@cache
def counts_changes() -> bool:
    """Whether tensors count their changes in place."""
    if hasattr(torch.empty(0), '_version'):
        return True
    report('torch.Tensor._version', 'parameters are cast where they are used')
    return False


def versions(tensors: Sequence[Tensor]) -> list[int]:
    """How often each tensor was changed; only if :func:`counts_changes`."""
    return [tensor._version for tensor in tensors]


@cache
def can_watch() -> bool:
    """Whether it can be seen that modules have hooks or are not what they were."""
    instead = 'the backbones run without their kernels'
    own = nn.Module().__dict__
    missing = [name for name in (*HOOKS, *PARTS) if name not in own]
    if missing:
        report(f'torch.nn.Module.{missing[0]}', instead)
        return False
    return all(entry(path, instead) is not None for path in GLOBAL_HOOKS)


@cache
def global_hooks() -> list[Any]:
    """The dicts of the hooks of all modules; only if :func:`can_watch`."""
    return [entry(path, '') for path in GLOBAL_HOOKS]


def in_backward() -> bool:
    """Whether the autograd engine is running: a forward pass then is a recomputation."""
    instead = 'recomputed blocks take the grid of the last images'
    task = entry('torch._C._current_graph_task_id', instead)
    return task is not None and task() != -1


class DirectLaunch:
    """Starting a compiled Triton kernel without Triton's inspection of the arguments.

    Attributes:
        works (bool): Whether it can be done, as far as is known.
    """

    def __init__(self) -> None:
        import triton

        version = tuple(int(part) for part in triton.__version__.split('.')[:2])
        self.works = version >= DIRECT_TRITON
        if self.works and entry('triton.compiler.CompiledKernel.__getitem__', INSPECTED) is None:
            self.works = False

    def __call__(self, compiled: Any, grid: tuple[int, int, int], args: Sequence[Any]) -> bool:
        """Start a kernel with all its arguments, constants included; False if that cannot be."""
        try:
            compiled[grid](*args)
        except (AttributeError, TypeError) as error:
            report(f"a call of Triton's compiled kernels ({error})", INSPECTED)
            self.works = False
        return self.works


#: What is done without a :class:`DirectLaunch`.
INSPECTED = "kernels are started Triton's way, which keeps the CPU busier"
