"""``torch.compile``, where this PyTorch's compiles the backbones."""

import torch

from .private import find

__all__ = ['allow_many_graphs', 'mark_step', 'why_not_compiled']

#: What compiled backbones use; torch 2.4 has all of it.
NEEDED = (
    'torch.compiler.is_compiling',
    'torch.compiler.cudagraph_mark_step_begin',
    'torch.library.custom_op',
)


def why_not_compiled() -> str:
    """Why this PyTorch does not compile the backbones, in words; empty where it does."""
    for path in NEEDED:
        if find(path) is None:
            return f'torch {torch.__version__} lacks {path}, which torch 2.4 has'
    return ''


def mark_step() -> None:
    """Tell recorded CUDA graphs that a new step begins."""
    torch.compiler.cudagraph_mark_step_begin()


def allow_many_graphs() -> None:
    """Let each instance of a class compile: they do not count as recompilations of each other."""
    import torch._dynamo

    torch._dynamo.config.cache_size_limit = 1024
    torch._dynamo.config.accumulated_cache_size_limit = 4096
