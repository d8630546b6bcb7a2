"""Swin V2's own attention and block: every key against timm's forward, and how a block starts."""

import logging
from contextlib import nullcontext

import pytest
import torch
from mmengine.logging import MMLogger
from timm.models.swin_transformer_v2 import WindowAttention

from mkbackbones.backbones import ManifoldSwinV2
from mkbackbones.backbones.windows import shifted_window_mask

from ..lacking import need_half_precision, reads_weights
from .common import KEY_CFGS, SWIN, key_name, tiny_swin_v2


def trained(model):
    """With charts that count, and tables as far apart as after training."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        with torch.no_grad():
            parameter.normal_(std=0.3, generator=generator)
    return model.eval()


@pytest.mark.parametrize('key_cfg', KEY_CFGS, ids=key_name)
@pytest.mark.parametrize('qkv_bias', [True, False])
@pytest.mark.parametrize('masked', [True, False])
def test_attention_with_any_key_is_timms(key_cfg, qkv_bias, masked):
    """timm's forward takes keys from ``qkv``, normalises them and forms the softmax in full."""
    if key_cfg is not None and 'timm-swin-v2' in reads_weights():
        pytest.skip('timm reads the weight of qkv')
    attention = trained(tiny_swin_v2(key_cfg=key_cfg, qkv_bias=qkv_bias)).layers[1].blocks[1].attn
    windows = torch.randn(2 * 6, 16, 32, generator=torch.Generator().manual_seed(1))
    mask = shifted_window_mask((8, 12), 4, 2, 'cpu') if masked else None
    with torch.no_grad():
        wanted = WindowAttention.forward(attention, windows, mask)
        torch.testing.assert_close(attention(windows, mask), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_padding_has_no_direction(dtype):
    """Zero tokens have keys of length 0: neither these nor their gradients may explode."""
    half = dtype != torch.float32
    if half:
        need_half_precision(dtype)
    model = tiny_swin_v2(key_cfg=dict(type='SpatialK', num_charts=2))
    for name, parameter in model.named_parameters():
        if name.endswith('out_scale'):
            torch.nn.init.ones_(parameter)
    with torch.autocast('cpu', dtype) if half else nullcontext():
        outs = model(torch.randn(1, 3, 36, 36))
    sum(out.float().square().mean() for out in outs).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() < 1e3, name
    with torch.no_grad():
        outs = model.to(dtype).eval()(torch.zeros(1, 3, 36, 36, dtype=dtype))
    assert all(out.isfinite().all() for out in outs)


def test_a_new_block_is_the_identity():
    block = ManifoldSwinV2(SWIN, out_indices=(0, 1)).layers[0].blocks[1].eval()
    x = torch.randn(1, 8, 8, 16)
    mask = shifted_window_mask((8, 8), 8, 4, 'cpu')
    assert torch.equal(block(x, mask), x)


def test_the_plain_path_is_told_once_and_not_each_step(monkeypatch):
    """Blocks that the Triton kernels do not know run plain, which is no news in every step."""
    from mkbackbones.fused import decision
    from mkbackbones.kernels import support

    monkeypatch.setattr(support, 'fused_dtype', lambda x: torch.bfloat16)
    # Norms, embedding and keys would need a GPU; blocks and merging are not theirs.
    known = {}
    monkeypatch.setattr(decision, 'unit_departure', lambda unit: known.get(unit, 'is unknown'))
    decision.report.cache_clear()
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        model = tiny_swin_v2().eval()
        wanted = None
        for _ in range(3):
            with torch.no_grad():
                outs = model(torch.ones(1, 3, 32, 32))
            wanted = wanted or outs
            assert all(torch.equal(a, b) for a, b in zip(outs, wanted))
    finally:
        logger.removeHandler(handler)
        decision.report.cache_clear()
    assert len(lines) == len(set(lines))
    assert sum('SwinV2Block' in line for line in lines) == 1
