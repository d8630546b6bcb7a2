"""The formulas of the keys, written out slowly: expand, grouped conv1d, aggregate."""

import torch
import torch.nn.functional as F

ACTIVATIONS = {None: lambda z: z, 'GELU': F.gelu, 'Tanh': torch.tanh}


def literal_key(variant, params, x, num_charts, act, grid=None, num_prefix=0):
    """``k = kappa(x)`` for tokens x (B, N, C) from named parameters, without any shortcut."""
    batch, num_tokens, channels = x.shape
    u = torch.stack([params['gamma'][h] * x for h in range(num_charts)], dim=2)  # B, N, H, C
    u = u.reshape(batch, num_tokens, num_charts * channels).transpose(1, 2)  # B, H C, N
    weight = params['weight']  # H, d, C
    width = weight.shape[1]
    z = F.conv1d(
        u,
        weight.reshape(num_charts * width, channels, 1),
        params['bias'].reshape(-1),
        groups=num_charts,
    )
    if variant == 'SpatialK':
        z = literal_depthwise(z, params['spatial_weight'], grid, num_prefix)
    z = ACTIVATIONS[act](z).transpose(1, 2).reshape(batch, num_tokens, num_charts, width)
    k = aggregate(variant, params, x, z)
    if 'out_scale' in params:
        base = x @ params['base.weight'].T
        if 'base.bias' in params:
            base = base + params['base.bias']
        k = base + params['out_scale'] * k
    return k


def aggregate(variant, params, x, z):
    charts = z.unbind(2)
    if variant == 'VanillaK':
        return torch.cat(charts, -1) @ params['proj.weight'].T + params['proj.bias']
    if variant == 'KUA':
        logits = x @ params['gate.weight'].T + params['gate.bias']
        p = logits.exp() / logits.exp().sum(-1, keepdim=True)
        return sum(p[..., h : h + 1] * chart for h, chart in enumerate(charts))
    return sum(charts) / len(charts)


def literal_depthwise(z, kernel, grid, num_prefix):
    """Zero-padded depthwise correlation of tokens z (B, H d, N), one tap at a time."""
    height, width = grid
    side = kernel.shape[-1]
    half = side // 2
    out = z.clone()
    for row in range(height):
        for column in range(width):
            total = 0
            for i in range(side):
                for j in range(side):
                    r, c = row + i - half, column + j - half
                    if 0 <= r < height and 0 <= c < width:
                        tap = z[:, :, num_prefix + r * width + c]
                        total = total + kernel[:, 0, i, j] * tap
            column_index = num_prefix + row * width + column
            out = torch.cat(
                [out[..., :column_index], total.unsqueeze(-1), out[..., column_index + 1 :]], -1
            )
    return out
