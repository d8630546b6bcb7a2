"""What tests of the fused path share."""

import pytest
import torch

from mkbackbones.kernels import support

from .small import DTYPE, INTERPRETED


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """What is compared with is float32, not TF32."""
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)


@pytest.fixture
def switch(monkeypatch):
    """Turns the kernels on and off, in the interpreter too."""
    on = [True]
    serve = (lambda x: DTYPE) if INTERPRETED else support.fused_dtype
    monkeypatch.setattr(support, 'fused_dtype', lambda x: serve(x) if on[0] else None)
    return on
