"""Whole backbones on the Triton kernels against plain PyTorch, values and gradients.

On a GPU in bfloat16 and float16; without one through Triton's interpreter in float32 and float16,
and ViTs in bfloat16, which its ``tl.dot`` does not take.
"""

import pytest
import torch

from mkbackbones.kernels import support

from ..lacking import needs_operators
from .small import (
    DEVICE,
    DTYPE,
    INTERPRETED,
    TOLERANCE,
    TOLERANCES,
    error,
    filled,
    run,
    small_dinov3,
    small_swin,
    small_swin_v2,
    small_vit,
)

pytest.importorskip('triton', reason='the kernels need Triton')
pytestmark = needs_operators

KEYS = [
    None,
    dict(type='SimpleK', num_charts=2),
    dict(type='SimpleK', num_charts=2, base=False, act_cfg=dict(type='SiLU')),
    dict(type='KUA', num_charts=2),
    dict(type='SpatialK', num_charts=2),
    dict(type='SpatialK', num_charts=2, kernel_size=5, act_cfg=None),
    dict(type='VanillaK', num_charts=2, chart_channels=16),
    dict(type='VanillaK', num_charts=2, base=False, act_cfg=dict(type='ReLU')),
    dict(type='SimpleK', num_charts=2, base=False, chart_scale=True),
    dict(type='SpatialK', num_charts=3, chart_scale=True),
]


@pytest.mark.parametrize('build, size', [(small_swin, (17, 25)), (small_vit, (48, 64))])
@pytest.mark.parametrize('key_cfg', KEYS, ids=str)
def test_backbone(switch, build, size, key_cfg):
    torch.manual_seed(0)
    model = filled(build(key_cfg))
    x = torch.randn(2, 3, *size, device=DEVICE)
    outs, grads = run(model, x)
    switch[0] = False
    wanted, wanted_grads = run(model, x, torch.float32)
    assert max(error(a, b) for a, b in zip(outs, wanted)) < TOLERANCE
    assert error(grads, wanted_grads) < 3 * TOLERANCE


@pytest.mark.parametrize('build, size', [(small_swin_v2, (29, 25)), (small_dinov3, (48, 64))])
@pytest.mark.parametrize('key_cfg', [None, KEYS[3], KEYS[4], KEYS[6]], ids=str)
def test_keys_of_plain_blocks(switch, build, size, key_cfg):
    """Blocks of Swin V2 and DINOv3 run plain; keys, embedding and output norms on the kernels."""
    torch.manual_seed(0)
    model = filled(build(key_cfg))
    x = torch.randn(2, 3, *size, device=DEVICE)
    outs, grads = run(model, x)
    switch[0] = False
    plain, plain_grads = run(model, x)
    wanted, wanted_grads = run(model, x, torch.float32)
    # Norms behind small branches enlarge what is rounded, also without the kernels.
    for found, without, exact in zip(
        (*outs, grads), (*plain, plain_grads), (*wanted, wanted_grads)
    ):
        assert error(found, exact) < max(1.5 * error(without, exact), TOLERANCE)


#: Whole models in the types that test_backbone leaves out.
OTHERS = [(small_vit, (48, 64), torch.float16), (small_swin, (13, 17), torch.float16)]
OTHERS += [(small_vit, (48, 64), torch.bfloat16)] if INTERPRETED else []


@pytest.mark.parametrize(
    'build, size, half, key_cfg',
    [
        # Each key with one of them; the interpreter takes a second for each pair.
        pytest.param(*other, key, marks=[pytest.mark.slow] if (i + k) % len(OTHERS) else [])
        for k, key in enumerate(KEYS)
        for i, other in enumerate(OTHERS)
    ],
    # Not by where functions lie, which is elsewhere in each process of a run.
    ids=lambda value: getattr(value, '__name__', str(value)),
)
def test_other_half_precisions(switch, monkeypatch, build, size, half, key_cfg):
    serve = (lambda x: half) if INTERPRETED else support.fused_dtype
    monkeypatch.setattr(support, 'fused_dtype', lambda x: serve(x) if switch[0] else None)
    torch.manual_seed(0)
    model = filled(build(key_cfg))
    x = torch.randn(2, 3, *size, device=DEVICE)
    outs, grads = run(model, x, half)
    switch[0] = False
    wanted, wanted_grads = run(model, x, torch.float32)
    assert max(error(a, b) for a, b in zip(outs, wanted)) < TOLERANCES[half]
    assert error(grads, wanted_grads) < 3 * TOLERANCES[half]
    with torch.no_grad(), torch.autocast(DEVICE, half):
        switch[0] = True
        assert max(error(a, b) for a, b in zip(model(x), wanted)) < TOLERANCES[half]


@pytest.mark.parametrize('build', [small_swin, small_vit])
@pytest.mark.parametrize('key_cfg', [None, dict(type='VanillaK', num_charts=2)], ids=str)
def test_steps_see_the_parameters_of_now(switch, build, key_cfg):
    """From the second pass on, half-precision copies are made before the layers run."""
    torch.manual_seed(0)
    model = filled(build(key_cfg))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    x = torch.randn(1, 3, 16, 32, device=DEVICE)
    for _ in range(3):
        switch[0] = False
        wanted, wanted_grads = run(model, x, torch.float32)
        switch[0] = True
        outs, grads = run(model, x)
        assert max(error(a, b) for a, b in zip(outs, wanted)) < TOLERANCE
        assert error(grads, wanted_grads) < 3 * TOLERANCE
        optimizer.step()
    assert model.halves.known
    outs, _ = run(model, x)
    with torch.no_grad(), torch.autocast(DEVICE, DTYPE, enabled=not INTERPRETED):
        assert max(error(a, b) for a, b in zip(model(x), outs)) < TOLERANCE


@pytest.mark.parametrize('build', [small_swin, small_vit])
def test_checkpointing(switch, build):
    torch.manual_seed(0)
    model = filled(build(dict(type='SpatialK', num_charts=2), drop=0.5))
    x = torch.randn(2, 3, 16, 32, device=DEVICE)
    outs, grads = run(model, x)
    model.with_cp = True
    again, grads_again = run(model, x)
    assert max(error(a, b) for a, b in zip(again, outs)) == 0
    assert error(grads_again, grads) < TOLERANCE


def test_frozen_parameters_get_no_gradient(switch):
    model = filled(small_swin(dict(type='SimpleK', num_charts=2)))
    frozen = [model.layers[0].blocks[0].attn.qkv.key.base, model.layers[0].blocks[0].mlp.fc1]
    for module in frozen:
        module.requires_grad_(False)
    sum(o.sum() for o in model(torch.randn(1, 3, 16, 16, device=DEVICE))).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_hooks_of_linears_run(switch):
    model = filled(small_vit(None))
    seen = []
    model.blocks[0].mlp.fc1.register_forward_hook(lambda *args: seen.append(args))
    model(torch.randn(1, 3, 64, 64, device=DEVICE))
    assert len(seen) == 1


@pytest.mark.parametrize('build', [small_swin, small_vit])
def test_hooks_of_blocks_get_tokens(switch, build):
    """Who listens to a block sees what they see on the plain path, and changes nothing."""
    torch.manual_seed(0)
    model = filled(build(dict(type='SimpleK', num_charts=2)))
    x = torch.randn(2, 3, 32, 32, device=DEVICE)
    outs, grads = run(model, x)
    blocks = model.blocks if build is small_vit else model.layers[0].blocks
    seen = []
    blocks[0].register_forward_hook(lambda module, args, out: seen.append(out))
    again, grads_again = run(model, x)
    assert isinstance(seen[0], torch.Tensor)
    assert max(error(a, b) for a, b in zip(again, outs)) < TOLERANCE
    assert error(grads_again, grads) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize('build, key', [(small_swin, 'KUA'), (small_vit, 'VanillaK')])
def test_compiles_once_for_all_sizes(switch, build, key):
    torch.manual_seed(0)
    model = filled(build(dict(type=key, num_charts=2)))
    compiled = torch.compile(
        model, backend='aot_eager' if INTERPRETED else 'inductor', fullgraph=True, dynamic=True
    )
    x = torch.randn(2, 3, 32, 48, device=DEVICE)
    outs, grads = run(model, x)
    again, grads_again = run(compiled, x)
    assert max(error(a, b) for a, b in zip(again, outs)) < TOLERANCE
    assert error(grads_again, grads) < 3 * TOLERANCE
    with torch._dynamo.config.patch(error_on_recompile=True):
        run(compiled, torch.randn(2, 3, 48, 64, device=DEVICE))
