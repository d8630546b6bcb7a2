"""Passes of a backbone recorded as CUDA graphs, by the shape of the images.

A recorded pass starts all its kernels at once. Without, the CPU starts them one by one, and walks
autograd's graph backwards, which on most hosts takes longer than the GPU does.
"""

from .forward import RecordedForward

__all__ = ['RecordedForward']
