"""Fixtures: the devices at hand, and mmcv's own Python code on top of our operators."""

import sys

import pytest
import torch


@pytest.fixture(params=['cpu', 'cuda'] if torch.cuda.is_available() else ['cpu'])
def device(request):
    return request.param


@pytest.fixture
def mmcv_ops(monkeypatch):
    """``mmcv.ops``, running on our operators even where mmcv has compiled ones."""
    pytest.importorskip('mmcv')
    import mkbackbones.ops

    mkbackbones.ops.install()
    import mmcv.ops

    from mkbackbones.ops import extension

    for name, module in list(sys.modules.items()):
        if name.startswith('mmcv.ops.') and hasattr(module, 'ext_module'):
            monkeypatch.setattr(module, 'ext_module', extension)
    return mmcv.ops
