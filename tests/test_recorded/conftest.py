"""Recordings of the plain path on a CPU too; none of another test."""

import pytest

from mkbackbones.recorded import RecordedForward

from .common import CUDA, Graphs


@pytest.fixture(autouse=True)
def everywhere(monkeypatch):
    """Recordings of the plain path on a CPU too; none of another test."""
    Graphs.made.clear()
    if not CUDA:
        monkeypatch.setattr(RecordedForward, 'is_on_kernels', lambda self, x: True)
