"""The loss of attention is its formula, in every backbone, and so are its gradients."""

import math

import pytest
import torch
import torch.nn.functional as F
from timm.layers import apply_rot_embed_cat
from torch import nn

from mkbackbones import ManifoldDINOv3, ManifoldSwin, ManifoldSwinV2, ManifoldViT
from mkbackbones.attention.qkv import head_views
from mkbackbones.backbones.swin_block import SwinBlock
from mkbackbones.backbones.vit_block import ViTBlock
from mkbackbones.engine.distill import add_distillation
from mkbackbones.engine.teacher import TeacherError
from mkbackbones.fused.exact import unit_departure

SWIN = dict(arch=dict(embed_dims=8, depths=(2, 2), num_heads=(1, 2)), out_indices=1, window_size=4)
VIT = dict(arch=dict(embed_dims=16, depth=2, num_heads=2), patch_size=8)
BACKBONES = {
    'swin': (ManifoldSwin, SWIN),
    'swin_v2': (ManifoldSwinV2, SWIN),
    'vit': (ManifoldViT, VIT),
    'windowed_vit': (ManifoldViT, dict(VIT, window_size=3, global_blocks=[1])),
    'dinov3': (ManifoldDINOv3, dict(VIT, arch=dict(VIT['arch'], swiglu=False))),
}


class Model(nn.Module):
    """A model that is its backbone, with weights that count."""

    def __init__(self, name, key_cfg=None, seed=0):
        super().__init__()
        kind, arguments = BACKBONES[name]
        torch.manual_seed(seed)
        self.backbone = kind(**arguments, key_cfg=key_cfg, drop_path_rate=0.0).double()
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3)

    def extract_feat(self, inputs):
        return self.backbone(inputs)

    def forward(self, inputs):
        self.extract_feat(inputs)
        return {}


def position_bias(attention):
    """Of Swin, token by token."""
    side = attention.window_size
    places = [(row, column) for row in range(side) for column in range(side)]
    table = attention.relative_position_bias_table
    rows = [
        [(a[0] - b[0] + side - 1) * (2 * side - 1) + a[1] - b[1] + side - 1 for b in places]
        for a in places
    ]
    return table[torch.tensor(rows)].permute(2, 0, 1)


def shift_mask(grid, side):
    """-100 between tokens of a window that lay a window or more apart before the shift."""
    shift = side // 2
    rows, columns = (side * math.ceil(length / side) for length in grid)
    windows = []
    for top in range(0, rows, side):
        for left in range(0, columns, side):
            was = [
                ((top + i + shift) % rows, (left + j + shift) % columns)
                for i in range(side)
                for j in range(side)
            ]
            apart = [[max(abs(a[0] - b[0]), abs(a[1] - b[1])) >= side for b in was] for a in was]
            windows.append(torch.tensor(apart) * -100.0)
    return torch.stack(windows)


def literal(name, attention, qkv, shifted, grid, kwargs):
    """Attention (windows, h, N, N) as the papers write it, from what the layer ``qkv`` gave."""
    if getattr(attention, 'q_bias', None) is not None:
        qkv = qkv + torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])
    q, k, _ = head_views(qkv, attention.num_heads)
    scale = q.shape[-1] ** -0.5
    bias = 0.0
    if name == 'swin':
        bias = position_bias(attention)
    if name == 'swin_v2':
        q, k, bias = F.normalize(q, dim=-1), F.normalize(k, dim=-1), attention.position_bias()
        scale = attention.logit_scale.clamp(max=math.log(100)).exp()
    if name == 'dinov3':
        prefix = q.shape[2] - kwargs['rope'].shape[-2]
        q, k = (
            torch.cat(
                [
                    t[:, :, :prefix],
                    apply_rot_embed_cat(t[:, :, prefix:], kwargs['rope'], half=True),
                ],
                2,
            )
            for t in (q, k)
        )
    logits = q @ k.mT * scale + bias
    if shifted:
        mask = shift_mask(grid, 4)
        logits = (logits.unflatten(0, (-1, len(mask))) + mask[:, None]).flatten(0, 1)
    return logits.softmax(-1)


def attention_of(name, model, x):
    """Literal attention of each block."""
    found, calls, grids = [], {}, {}

    def keep(layer, args, kwargs, block):
        calls[layer] = kwargs

    for block in list(model.modules()):
        if isinstance(getattr(block, 'attn', None), nn.Module):
            attention = block.attn
            shifted = bool(getattr(block, 'shift', 0))

            def look(layer, args, output, attention=attention, shifted=shifted, block=block):
                found.append(
                    literal(name, attention, output, shifted, grids[block], calls[attention])
                )

            block.register_forward_pre_hook(lambda b, args: grids.update({b: args[0].shape[1:3]}))
            attention.register_forward_pre_hook(
                lambda a, args, kwargs: calls.update({a: kwargs}), with_kwargs=True
            )
            attention.qkv.register_forward_hook(look)
    model.backbone(x)
    return found


@pytest.mark.parametrize('name', BACKBONES)
def test_it_is_its_formula(name):
    key_cfg = dict(type='VanillaK', num_charts=2)
    x = torch.randn(2, 3, 52, 40, dtype=torch.float64)
    losses = []
    for heard in (True, False):
        student, teacher = Model(name), Model(name, key_cfg, 1).eval().requires_grad_(False)
        if heard:
            add_distillation(student, teacher, 0.0, attention=0.5)
            loss = student(x)['loss_distill_attention']
        else:
            pairs = zip(attention_of(name, student, x), attention_of(name, teacher, x), strict=True)
            terms = [(p * (p.log() - q.log())).sum(-1).mean() for q, p in pairs]
            loss = 0.5 * sum(terms) / len(terms)
        loss.backward()
        grads = {n: p.grad for n, p in student.named_parameters() if p.grad is not None}
        losses.append((loss, grads))
    (found, grads), (wanted, wanted_grads) = losses
    assert float(wanted) > 1e-3
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(grads, wanted_grads)
    *_, last = [p.chunk(3) for n, p in grads.items() if n.endswith('qkv.weight')]
    assert all(part.abs().max() > 0 for part in last[:2])


@pytest.mark.parametrize('name', ['swin', 'vit'])
def test_a_few_steps_bring_attention_closer(name):
    student, teacher = Model(name), Model(name, seed=1).eval()
    x = torch.randn(2, 3, 52, 40, dtype=torch.float64)
    add_distillation(student, teacher, 0.0, attention=1.0)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        losses.append(student(x)['loss_distill_attention'])
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize('name', ['swin', 'vit'])
def test_blocks_that_are_listened_to_run_without_the_kernels(name):
    student, teacher = Model(name), Model(name, seed=1).eval()
    blocks = [
        module
        for model in (student, teacher)
        for module in model.modules()
        if isinstance(module, SwinBlock | ViTBlock)
    ]
    before = list(map(unit_departure, blocks))
    remove = add_distillation(student, teacher, 0.0, attention=1.0)
    assert {unit_departure(block) for block in blocks} == {"'attn' has a forward of its own"}
    remove()
    assert list(map(unit_departure, blocks)) == before


def test_a_layer_that_attends_otherwise_is_told():
    student, teacher = Model('vit'), Model('vit', seed=1).eval()
    for model in (student, teacher):
        model.backbone.blocks[1].attn.forward = lambda x: x
    add_distillation(student, teacher, 0.0, attention=1.0)
    with pytest.raises(TeacherError, match=r'blocks.1.attn, a Attention, cannot be listened to'):
        student(torch.randn(1, 3, 16, 16, dtype=torch.float64))


def test_layers_that_write_their_softmax_are_heard():
    pytest.importorskip('mmdet')
    from mmdet.models import SwinTransformer

    models, attention = [], []
    for seed in (0, 1):
        model = Model('swin', seed=seed)
        model.backbone = SwinTransformer(
            embed_dims=8, depths=(2, 2), num_heads=(1, 2), strides=(4, 2), out_indices=(1,),
            window_size=4, drop_path_rate=0.0,
        ).double()  # fmt: skip
        attention.append([])
        for module in model.modules():
            if isinstance(module, nn.Softmax):
                module.register_forward_hook(lambda m, args, out, to=attention[-1]: to.append(out))
        models.append(model)
    student, teacher = models
    add_distillation(student, teacher.eval(), 0.0, attention=1.0)
    loss = student(torch.randn(2, 3, 52, 40, dtype=torch.float64))['loss_distill_attention']
    terms = [(p * (p.log() - q.log())).sum(-1).mean() for q, p in zip(*attention, strict=True)]
    torch.testing.assert_close(loss, sum(terms) / 4)
    loss.backward()
    assert student.backbone.stages[1].blocks[1].attn.w_msa.qkv.weight.grad.abs().max() > 0
