"""Which parts of a backbone run on the Triton kernels: decided once for each forward pass.

Plain PyTorch is the reference. A part takes the kernels only where they compute the same: on the
devices and types of :func:`~mkbackbones.kernels.support.fused_dtype`, and where its modules are
exactly those that the kernels were written for (:mod:`~mkbackbones.fused.exact`).
"""

from .decision import Decision, Plan
from .exact import Cached, departure, known

__all__ = ['Cached', 'Decision', 'Plan', 'departure', 'known']
