"""Learning rate and weight decay of every parameter, and training with them."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn

import mkbackbones
from mkbackbones.backbones import ManifoldSwin, ManifoldViT

from ..test_backbones.common import tiny_dinov3, tiny_swin, tiny_swin_v2, tiny_vit
from .tiny import MANIFOLD_SWIN, STOCK_SWIN, detection_config, segmentation_config, train

LR, WD, RATE, KEY_MULT = 1e-3, 0.05, 0.5, 3.0
SPATIAL = dict(type='SpatialK', num_charts=2)


class Model(nn.Module):
    """A backbone with what comes after it."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.neck = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.GroupNorm(1, 4))
        self.head = nn.Linear(4, 2)


def settings(model, lr=LR, wd=WD, **options):
    """The (lr / base lr, weight decay / base weight decay) of each parameter, by name."""
    cfg = dict(
        optimizer=dict(type='AdamW', lr=lr, weight_decay=wd),
        constructor='mkbackbones.LayerDecayConstructor',
        paramwise_cfg=dict(decay_rate=RATE, **options),
    )
    groups = build_optim_wrapper(model, cfg).optimizer.param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    assert len({(g['lr'], g['weight_decay']) for g in groups}) == len(groups)
    return {
        names[id(p)]: (g['lr'] / lr, g['weight_decay'] / wd) for g in groups for p in g['params']
    }


def expected(depth_of, model):
    """From a table of layer depths: names to (multiplier of lr, of weight decay)."""
    result = {}
    for name, parameter in model.named_parameters():
        depth, num = depth_of(name)
        lr = RATE ** (num - 1 - depth)
        if '.qkv.key.' in name and '.key.base.' not in name:
            lr *= KEY_MULT
        inside = name.startswith('backbone.')
        plain = parameter.ndim == 1 or name.endswith(
            ('.bias', '.gamma', 'pos_embed', '_token', 'bias_table', 'logit_scale')
        )
        plain = plain or '.cpb_mlp.' in name
        result[name] = (lr, 0.0 if inside and plain else 1.0)
    return result


def swin_depth(name):
    """Two stages of two blocks: 1, 2 and 3, 4."""
    for start, depth in (
        ('backbone.patch_embed.', 0),
        ('backbone.layers.0.blocks.0.', 1),
        ('backbone.layers.0.blocks.1.', 2),
        ('backbone.layers.0.downsample.', 2),
        ('backbone.norm0.', 2),
        ('backbone.layers.1.blocks.0.', 3),
        ('backbone.layers.1.blocks.1.', 4),
        ('backbone.norm1.', 4),
        ('neck.', 5),
        ('head.', 5),
    ):
        if name.startswith(start):
            return depth, 6
    raise AssertionError(name)


def vit_depth(name):
    """Four blocks: 1 to 4."""
    for i in range(4):
        if name.startswith(f'backbone.blocks.{i}.'):
            return i + 1, 6
    for start, depth in (
        ('backbone.norm.', 4),
        ('backbone.patch_embed.', 0),
        ('backbone.pos_embed', 0),
        ('backbone.cls_token', 0),
        ('backbone.reg_token', 0),
        ('neck.', 5),
        ('head.', 5),
    ):
        if name.startswith(start):
            return depth, 6
    raise AssertionError(name)


def assert_settings(found, wanted):
    assert found.keys() == wanted.keys()
    for name, values in found.items():
        assert values == pytest.approx(wanted[name]), name


@pytest.mark.parametrize('key_cfg', [None, SPATIAL, dict(type='VanillaK', base=False)])
@pytest.mark.parametrize(
    ('build', 'depth_of'),
    [
        (tiny_swin, swin_depth),
        (tiny_swin_v2, swin_depth),
        (lambda **args: tiny_vit(num_register_tokens=2, init_values=0.1, **args), vit_depth),
        (tiny_vit, vit_depth),
        (tiny_dinov3, vit_depth),
    ],
    ids=['swin', 'swin-v2', 'vit-registers', 'vit', 'dinov3'],
)
def test_every_parameter(build, depth_of, key_cfg):
    model = Model(build(key_cfg=key_cfg))
    assert_settings(settings(model, key_lr_mult=KEY_MULT), expected(depth_of, model))


def test_some_values_by_hand():
    model = Model(tiny_swin(key_cfg=SPATIAL))
    found = settings(model, key_lr_mult=KEY_MULT)
    attention = 'backbone.layers.0.blocks.1.attn'
    for name, values in {
        'backbone.patch_embed.proj.weight': (RATE**5, 1),
        'backbone.patch_embed.proj.bias': (RATE**5, 0),
        f'{attention}.relative_position_bias_table': (RATE**3, 0),
        f'{attention}.qkv.qv.weight': (RATE**3, 1),
        f'{attention}.qkv.key.base.weight': (RATE**3, 1),
        f'{attention}.qkv.key.weight': (RATE**3 * KEY_MULT, 1),
        f'{attention}.qkv.key.bias': (RATE**3 * KEY_MULT, 0),
        f'{attention}.qkv.key.gamma': (RATE**3 * KEY_MULT, 0),
        f'{attention}.qkv.key.out_scale': (RATE**3 * KEY_MULT, 0),
        f'{attention}.qkv.key.spatial_weight': (RATE**3 * KEY_MULT, 1),
        'backbone.norm1.weight': (RATE, 0),
        'neck.1.weight': (1, 1),
        'head.weight': (1, 1),
        'head.bias': (1, 1),
    }.items():
        assert found[name] == pytest.approx(values), name


def test_norms_and_biases_outside_the_backbone():
    found = settings(Model(tiny_vit()), norm_decay_mult=0.0, bias_decay_mult=0.5)
    outside = {n: decay for n, (_, decay) in found.items() if not n.startswith('backbone.')}
    assert outside == pytest.approx(
        {
            'neck.0.weight': 1, 'neck.0.bias': 0.5, 'neck.1.weight': 0, 'neck.1.bias': 0,
            'neck.2.weight': 0, 'neck.2.bias': 0, 'head.weight': 1, 'head.bias': 0.5,
        }
    )  # fmt: skip


def test_controls():
    """The MLP is matched to charts and learns like them; a decoupled linear key is a stock key."""
    found = settings(
        tiny_vit(
            key_cfg=[
                dict(type='MLPK', match=dict(type='KUA'), blocks=[0]),
                dict(type='LinearK', blocks=[1]),
            ]
        ),
        key_lr_mult=KEY_MULT,
    )
    assert found['blocks.0.attn.qkv.key.fc1.weight'][0] == pytest.approx(RATE**4 * KEY_MULT)
    assert found['blocks.0.attn.qkv.key.base.weight'][0] == pytest.approx(RATE**4)
    assert found['blocks.1.attn.qkv.key.proj.weight'][0] == pytest.approx(RATE**3)


def test_frozen_parameters_are_left_out():
    model = Model(tiny_swin(frozen_stages=1))
    found = settings(model)
    assert found.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
    assert not any(name.startswith('backbone.layers.0.blocks') for name in found)


def test_depth_counts_the_blocks_that_exist():
    model = Model(tiny_vit(out_indices=1))  # blocks 2 and 3 are not built
    found = settings(model)
    assert found['backbone.blocks.1.attn.proj.weight'][0] == pytest.approx(RATE)
    assert model.backbone.get_layer_depth('backbone.pos_embed') == (0, 4)
    assert model.backbone.get_layer_depth('head.weight') == (3, 4)
    assert model.backbone.get_layer_depth('blocks.0.norm1.weight', prefix='') == (1, 4)


def test_several_backbones():
    """A student and a teacher, each with its own depth."""
    model = nn.ModuleDict(dict(student=Model(tiny_swin()), teacher=Model(tiny_vit(out_indices=0))))
    found = settings(model)
    assert found['student.backbone.patch_embed.proj.weight'][0] == pytest.approx(RATE**5)
    assert found['teacher.backbone.patch_embed.proj.weight'][0] == pytest.approx(RATE**2)
    assert found['teacher.head.weight'][0] == 1


def test_a_model_wrapped_for_several_gpus():
    model = Model(tiny_vit())
    cfg = dict(
        optimizer=dict(type='SGD', lr=LR),
        constructor='mkbackbones.LayerDecayConstructor',
        paramwise_cfg=dict(decay_rate=RATE),
    )
    wrapper = build_optim_wrapper(nn.DataParallel(model), cfg)
    assert min(g['lr'] for g in wrapper.param_groups) == pytest.approx(LR * RATE**5)
    assert wrapper.get_lr()['base_lr'] == [LR]


@pytest.mark.parametrize(
    ('paramwise_cfg', 'optimizer', 'words'),
    [
        (dict(layer_decay_rate=0.8), {}, ["'layer_decay_rate' is unknown", "mean 'decay_rate'"]),
        (dict(decay_rate=0.8, custom_keys={}), {}, ["'custom_keys'", '_delete_=True']),
        (None, {}, ['needs decay_rate']),
        (dict(decay_rate=0), {}, ['decay_rate=0 is not allowed']),
        (dict(decay_rate=1.1), {}, ['decay_rate=1.1']),
        (dict(decay_rate='0.8'), {}, ["decay_rate='0.8'"]),
        (dict(decay_rate=0.8, key_lr_mult=-1), {}, ['key_lr_mult=-1']),
        (dict(decay_rate=0.8), dict(lr=None), ['needs the lr']),
    ],
)
def test_wrong_options(paramwise_cfg, optimizer, words):
    optimizer = dict(dict(type='AdamW', lr=LR), **optimizer)
    with pytest.raises(ValueError) as error:
        build_optim_wrapper(
            tiny_vit(),
            dict(
                optimizer=optimizer,
                constructor='mkbackbones.LayerDecayConstructor',
                paramwise_cfg=paramwise_cfg,
            ),
        )
    for word in words:
        assert word in str(error.value)


def test_a_backbone_that_does_not_say_its_depth():
    backbone = nn.Conv2d(1, 1, 1)
    with pytest.raises(ValueError, match=r'get_layer_depth\(name, prefix\), which Conv2d has not'):
        settings(Model(backbone))


OPTIM = {
    'optim_wrapper.constructor': 'mkbackbones.LayerDecayConstructor',
    'optim_wrapper.paramwise_cfg': dict(decay_rate=0.7, key_lr_mult=2.0, norm_decay_mult=0.0),
}
VIT = dict(
    type='mkbackbones.ManifoldViT', arch=dict(embed_dims=16, depth=2, num_heads=2),
    pretrain_img_size=64, key_cfg=SPATIAL,
)  # fmt: skip


def test_trains_in_mmdet(images, tmp_path):
    pytest.importorskip('mmdet')
    backbone = dict(MANIFOLD_SWIN, key_cfg=SPATIAL)
    runner = train(detection_config(images, tmp_path, backbone, **OPTIM))
    assert isinstance(runner.model.backbone, ManifoldSwin)
    assert len(runner.losses) == 2
    lrs = sorted({g['lr'] for g in runner.optim_wrapper.param_groups})
    # The embedding, five blocks, each of these with charts at twice the rate, and the rest.
    layers = [0.7**i for i in (6, 5, 4, 3, 2, 1)]
    wanted = [*layers, *(2 * mult for mult in layers[1:]), 1.0]
    assert lrs == pytest.approx(sorted(1e-3 * mult for mult in wanted))


def test_trains_in_mmseg(images, tmp_path):
    pytest.importorskip('mmseg')
    runner = train(segmentation_config(images, tmp_path, VIT, channels=16, **OPTIM))
    assert isinstance(runner.model.backbone, ManifoldViT)
    assert len(runner.losses) == 2 and runner.losses[0] != runner.losses[1]


def test_wrapped_backbones(images, tmp_path):
    """The wrapper is as deep as the backbone inside; where that does not say, the error does."""
    pytest.importorskip('mmdet')
    inner = dict(MANIFOLD_SWIN)
    wrapped = dict(type='mkbackbones.ManifoldKeyBackbone', backbone=inner, key_cfg=SPATIAL)
    runner = train(detection_config(images, tmp_path, wrapped, max_iters=1, **OPTIM))
    assert runner.model.backbone.get_layer_depth('backbone.norm3.weight') == (5, 7)
    with DefaultScope.overwrite_default_scope('mmdet'):
        backbone = mkbackbones.registry.MODELS.build(dict(wrapped, backbone=dict(STOCK_SWIN)))
    with pytest.raises(ValueError, match='which ManifoldKeySwinTransformer has not'):
        settings(Model(backbone))


def test_a_step_moves_what_it_should():
    """Plain SGD: the step of a parameter is its gradient times its own learning rate."""
    torch.manual_seed(0)
    model = tiny_vit(key_cfg=SPATIAL)
    cfg = dict(
        optimizer=dict(type='SGD', lr=LR),
        constructor='mkbackbones.LayerDecayConstructor',
        paramwise_cfg=dict(decay_rate=RATE),
    )
    optimizer = build_optim_wrapper(model, cfg).optimizer
    sum(out.sum() for out in model(torch.randn(1, 3, 32, 32))).backward()
    parameter = model.blocks[1].mlp.fc1.weight
    before, gradient = parameter.detach().clone(), parameter.grad.clone()
    optimizer.step()
    wanted = before - LR * RATE**3 * gradient
    torch.testing.assert_close(parameter.detach(), wanted, rtol=0, atol=1e-7)
