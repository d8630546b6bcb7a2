"""What differs between releases of PyTorch, timm and Triton, in one place.

Public entries that newer releases have are in :mod:`~mkbackbones.compat.modes`,
:mod:`~mkbackbones.compat.modules`, :mod:`~mkbackbones.compat.operators`,
:mod:`~mkbackbones.compat.graphs`, :mod:`~mkbackbones.compat.programs` and
:mod:`~mkbackbones.compat.blocks`; private ones, which any
release may drop, in :mod:`~mkbackbones.compat.private`. What is there is looked for, not concluded
from version numbers: a release that was patched, or is built from a branch, counts as what it is.

Nothing else in the package asks for a version.
"""
