"""What tests of the fused path share."""

import pytest

from mkbackbones.kernels import support

from .small import DTYPE, INTERPRETED


@pytest.fixture
def switch(monkeypatch):
    """Turns the kernels on and off, in the interpreter too."""
    on = [True]
    serve = (lambda x: DTYPE) if INTERPRETED else support.fused_dtype
    monkeypatch.setattr(support, 'fused_dtype', lambda x: serve(x) if on[0] else None)
    return on
