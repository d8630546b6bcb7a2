"""What tests of the fused path share: where they run, and small backbones."""

import os

import torch
from torch import nn

from mkbackbones.backbones import ManifoldDINOv3, ManifoldSwin, ManifoldSwinV2, ManifoldViT

INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
DEVICE = 'cpu' if INTERPRETED else 'cuda'
DTYPE = torch.float32 if INTERPRETED else torch.bfloat16
#: Relative error, by norm, of operands in a type.
TOLERANCES = {torch.float32: 1e-5, torch.float16: 3e-3, torch.bfloat16: 1e-2}
TOLERANCE = TOLERANCES[DTYPE]


def error(a, b):
    return float((a.float() - b.float()).norm() / (b.float().norm() + 1e-6))


def small_swin(key_cfg, **kwargs):
    arch = dict(embed_dims=16, depths=(2, 1), num_heads=(1, 2))
    return ManifoldSwin(
        arch, key_cfg, (0, 1), window_size=3, drop_path_rate=kwargs.pop('drop', 0.0), **kwargs
    )


def small_swin_v2(key_cfg, **kwargs):
    arch = dict(embed_dims=16, depths=(2, 1), num_heads=(1, 2))
    model = ManifoldSwinV2(
        arch, key_cfg, (0, 1), window_size=3, drop_path_rate=kwargs.pop('drop', 0.0), **kwargs
    )
    for block in (block for stage in model.layers for block in stage.blocks):
        # Zero at first: the block would be the identity.
        nn.init.constant_(block.norm1.weight, 0.3)
        nn.init.constant_(block.norm2.weight, 0.3)
    return model


def small_vit(key_cfg, **kwargs):
    arch = dict(embed_dims=32, depth=2, num_heads=2)
    return ManifoldViT(
        arch, key_cfg, pretrain_img_size=64, drop_path_rate=kwargs.pop('drop', 0.0), **kwargs
    )


def small_dinov3(key_cfg, **kwargs):
    arch = dict(embed_dims=32, depth=2, num_heads=2, swiglu=True)
    # Layer scale starts near zero: the blocks would be nearly the identity.
    defaults = dict(init_values=0.5, drop_path_rate=kwargs.pop('drop', 0.0))
    return ManifoldDINOv3(arch, key_cfg, **defaults, **kwargs)


def filled(model):
    """With charts that count, on the device."""
    for name, parameter in model.named_parameters():
        if 'out_scale' in name or 'spatial' in name:
            nn.init.normal_(parameter, std=0.5)
    return model.to(DEVICE)


def run(model, x, amp=DTYPE):
    """Outputs, and the gradients of all parameters as one vector."""
    torch.manual_seed(1)
    with torch.autocast(DEVICE, amp, enabled=amp != torch.float32):
        outs = model(x)
    ramps = [torch.linspace(-1, 1, o.numel(), device=DEVICE).view_as(o) for o in outs]
    loss = sum((o.float() * ramp).mean() for o, ramp in zip(outs, ramps))
    model.zero_grad()
    factor = 1024 if amp == torch.float16 else 1  # as scalers do: small gradients have few bits
    (loss * factor).backward()
    assert all(p.grad is not None for p in model.parameters())
    return outs, torch.cat([p.grad.flatten() for p in model.parameters()]) / factor
