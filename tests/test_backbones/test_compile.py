"""One compiled graph for every image size."""

import pytest
import torch

from mkbackbones.backbones import ManifoldDINOv3, ManifoldSwin, ManifoldSwinV2, ManifoldViT
from mkbackbones.backbones.positions import resample_positions

from ..lacking import needs_compiler

pytestmark = needs_compiler
# More than one window or patch a side: PyTorch compiles anew for sizes of one.
SIZES = ((72, 96), (64, 64), (97, 133))
VIT = dict(arch=dict(embed_dims=16, depth=2, num_heads=2), pretrain_img_size=64)
DINOV3 = dict(arch=dict(VIT['arch'], swiglu=True), init_values=0.5)
SWIN = dict(arch=dict(embed_dims=16, depths=(2, 2), num_heads=(1, 2)), out_indices=(0, 1))
KEY = dict(type='KUA', num_charts=2)


def train_step(forward, model, x):
    """Outputs and gradients of all parameters."""
    model.zero_grad()
    outs = forward(x)
    sum((out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum() for out in outs).backward()
    return [out.detach() for out in outs] + [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize(
    'build, options',
    [
        pytest.param(ManifoldViT, VIT, marks=pytest.mark.slow),
        (ManifoldViT, dict(VIT, key_cfg=KEY, window_size=3, num_register_tokens=2)),
        pytest.param(
            ManifoldDINOv3, dict(DINOV3, key_cfg=KEY, window_size=3), marks=pytest.mark.slow
        ),
        pytest.param(ManifoldSwin, dict(SWIN, key_cfg=KEY), marks=pytest.mark.slow),
        pytest.param(
            ManifoldSwinV2,
            dict(SWIN, key_cfg=KEY, window_size=7),
            marks=pytest.mark.slow,
        ),
    ],
    ids=['vit', 'vit-windows-registers-key', 'dinov3-windows-key', 'swin-key', 'swin-v2-key'],
)
def test_one_graph_serves_all_sizes(build, options):
    torch.manual_seed(0)
    model = build(drop_path_rate=0.0, **options)
    compiled = torch.compile(model, backend='aot_eager', fullgraph=True, dynamic=True)
    for number, size in enumerate(SIZES):
        x = torch.randn(2, 3, *size)
        with torch._dynamo.config.patch(error_on_recompile=number > 0):
            here = train_step(compiled, model, x)
        for a, b in zip(here, train_step(model, model, x)):
            assert torch.allclose(a, b, atol=1e-5 * max(b.abs().max().item(), 1))


@pytest.mark.parametrize('grid', [(4, 4), (3, 5), (4, 9), (11, 1)])
def test_positions_of_a_compiled_graph_are_timms(grid):
    torch.manual_seed(0)
    pos_embed = torch.randn(1, 1 + 16, 8)
    compiled = torch.compile(resample_positions, backend='eager', fullgraph=True)
    with torch.autocast('cpu', torch.bfloat16):
        here = compiled(pos_embed, grid, (4, 4), 1)
    torch.testing.assert_close(
        here, resample_positions(pos_embed, grid, (4, 4), 1), atol=1e-5, rtol=0
    )
