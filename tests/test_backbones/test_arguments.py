"""Every argument takes what it should, and tells anything else in one sentence."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from mkbackbones.backbones import ManifoldDINOv3, ManifoldSwin, ManifoldSwinV2, ManifoldViT
from mkbackbones.backbones.dinov3 import DINOV3_RULES
from mkbackbones.backbones.swin import SWIN_RULES
from mkbackbones.backbones.swin_v2 import SWIN_V2_RULES
from mkbackbones.backbones.vit import VIT_RULES
from mkbackbones.engine import LayerDecayConstructor
from mkbackbones.keys import build_key
from mkbackbones.keys.build import find_key, key_arguments
from mkbackbones.necks import SimpleFeaturePyramid
from mkbackbones.necks.simple_feature_pyramid import RULES
from mkbackbones.registry import MODELS

SWIN = dict(arch=dict(embed_dims=8, depths=(1, 1), num_heads=(1, 2)), out_indices=(0, 1))
VIT = dict(arch=dict(embed_dims=8, depth=2, num_heads=2), pretrain_img_size=32)
DINOV3 = dict(arch=dict(VIT['arch'], swiglu=False))
#: What a JSON or Python config can hold. Integers between 40 and 10 ** 6 would be large models.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-40, 40),
    st.sampled_from([10**6, 10**30, -(10**30)]),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(['4', 'tiny', '1121', 'SpatialK', 'GELU', 'type']),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(['type', 'a', 'blocks', 'stages', 'num_charts', 'act_cfg']), inner
        ),
    ),
    max_leaves=5,
)
many = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def works_or_tells(build, run):
    """Build and run, or be told in a sentence."""
    try:
        module = build()
    except ValueError as error:
        told = str(error)
        assert told and '\n' not in told and len(told) < 600
        return
    run(module)


def run_backbone(backbone):
    outs = backbone.eval()(torch.randn(1, 3, 32, 32))
    assert outs and all(out.isfinite().all() for out in outs)


@many
@given(st.sampled_from([name for name in SWIN_RULES if name != 'arch']), VALUES)
def test_swin(name, value):
    works_or_tells(lambda: ManifoldSwin(**{**SWIN, name: value}), run_backbone)


@many
@given(st.sampled_from([name for name in SWIN_V2_RULES if name != 'arch']), VALUES)
def test_swin_v2(name, value):
    works_or_tells(lambda: ManifoldSwinV2(**{**SWIN, name: value}), run_backbone)


@many
@given(st.sampled_from([name for name in VIT_RULES if name != 'arch']), VALUES)
def test_vit(name, value):
    works_or_tells(lambda: ManifoldViT(**{**VIT, name: value}), run_backbone)


@many
@given(st.sampled_from([name for name in DINOV3_RULES if name != 'arch']), VALUES)
def test_dinov3(name, value):
    works_or_tells(lambda: ManifoldDINOv3(**{**DINOV3, name: value}), run_backbone)


@many
@given(
    st.sampled_from([(ManifoldSwin, SWIN), (ManifoldViT, VIT), (ManifoldDINOv3, DINOV3)]),
    st.sampled_from(['embed_dims', 'depth', 'depths', 'num_heads', 'swiglu', None]),
    VALUES,
)
def test_arch(backbone, entry, value):
    cls, args = backbone
    arch = value if entry is None else {**args['arch'], entry: value}
    if arch in ('tiny', 'small', 'base', 'large'):
        return
    works_or_tells(lambda: cls(**{**args, 'arch': arch}), run_backbone)


@many
@given(st.sampled_from(list(RULES)), VALUES)
def test_pyramid(name, value):
    arguments = {'in_channels': 8, 'out_channels': 4, name: value}
    works_or_tells(
        lambda: SimpleFeaturePyramid(**arguments),
        lambda neck: [
            neck((torch.zeros(1, c, 4, 4),))
            for c in [arguments['in_channels']]
            if isinstance(c, int)
        ],
    )


KINDS = ['VanillaK', 'SimpleK', 'KUA', 'SpatialK', 'LinearK', 'MLPK']


@many
@given(st.sampled_from(KINDS), st.data(), VALUES)
def test_keys(kind, data, value):
    name = data.draw(st.sampled_from([*sorted(key_arguments(find_key(kind))), 'type']))
    cfg = dict(type=kind, match=dict(type='KUA')) if kind == 'MLPK' else dict(type=kind)
    works_or_tells(
        lambda: build_key({**cfg, name: value}, embed_dims=8),
        lambda key: key(torch.randn(1, 4, 8), (2, 2)),
    )


@many
@given(st.sampled_from(['backbone', 'key_cfg']), VALUES)
def test_wrapper(name, value):
    inner = dict(type='mkbackbones.ManifoldSwin', **SWIN)
    cfg = dict(backbone=inner, key_cfg=dict(type='KUA', num_charts=2))
    works_or_tells(
        lambda: MODELS.build({'type': 'mkbackbones.ManifoldKeyBackbone', **cfg, name: value}),
        run_backbone,
    )


@many
@given(
    st.sampled_from(
        ['decay_rate', 'key_lr_mult', 'norm_decay_mult', 'bias_decay_mult', 'lr', 'wd']
    ),
    VALUES,
)
def test_layer_decay(name, value):
    optimizer = dict(type='AdamW', lr=1e-3, weight_decay=0.05)
    options = dict(decay_rate=0.8)
    if name in ('lr', 'wd'):
        optimizer[{'lr': 'lr', 'wd': 'weight_decay'}[name]] = value
    else:
        options[name] = value
    model = nn.ModuleDict(dict(backbone=ManifoldSwin(**SWIN)))
    works_or_tells(
        lambda: LayerDecayConstructor(dict(type='OptimWrapper', optimizer=optimizer), options)(
            model
        ),
        lambda wrapper: wrapper.optimizer.step(),
    )


@pytest.mark.parametrize(
    ('build', 'words'),
    [
        (lambda: ManifoldSwin(**SWIN, key_cfg=5), ['key_cfg=5', "dict(type='SpatialK'"]),
        (
            lambda: ManifoldSwin(arch=dict(embed_dims=8, depths='1121', num_heads=(1, 1, 1, 1))),
            ["arch.depths='1121'", 'a list'],
        ),
        (lambda: ManifoldSwin(**SWIN, mlp_ratio='4'), ["mlp_ratio='4'", 'a number']),
        (lambda: ManifoldSwin(**SWIN, mlp_ratio=0.01), ['mlp_ratio=0.01', 'no hidden channels']),
        (lambda: ManifoldViT(**VIT, qkv_bias=1), ['qkv_bias=1', 'True or False']),
        (lambda: ManifoldViT(**VIT, init_cfg='vit.pth'), ['init_cfg', 'a dict with a type']),
        (
            lambda: ManifoldSwin(embed_dims=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24]),
            ['no argument embed_dims, depths, num_heads', "arch='tiny'", '_delete_=True'],
        ),
        (lambda: ManifoldViT(windw_size=7), ['windw_size', "did you mean 'window_size'"]),
        (
            lambda: build_key(dict(type='KUA', gamma_init=float('inf')), 8),
            ['gamma_init=inf', 'positive'],
        ),
        (
            lambda: build_key(dict(type='KUA', gamma_init=(0.5, float('nan'))), 8),
            ['nan', 'positive'],
        ),
        (
            lambda: build_key(dict(type='KUA', act_cfg=dict(type='GELU', approximate='yes')), 8),
            ['act_cfg=', 'approximate'],
        ),
        (
            lambda: build_key(dict(type='KUA', act_cfg=dict(type='Softplus', beta=0)), 8),
            ['infinite or undefined'],
        ),
        (
            lambda: SimpleFeaturePyramid(8, start_level=1, num_outs=2, skip_levels=[1]),
            ['skip_levels=[1]', 'choose from []'],
        ),
    ],
)
def test_wrong_values_are_told(build, words):
    with pytest.raises(ValueError) as error:
        build()
    for word in words:
        assert word in str(error.value)


def looped():
    loop = dict(type='MLPK')
    loop['match'] = loop
    return loop


@pytest.mark.parametrize(
    'build',
    [
        lambda: build_key(looped(), 8),
        lambda: ManifoldSwin(**SWIN, key_cfg=looped()),
        lambda: ManifoldSwin(**SWIN, init_cfg=looped()),
        lambda: ManifoldSwin(arch=looped()),
        lambda: ManifoldViT(**VIT, out_indices=(loop := [], loop.append(loop))[0]),
        lambda: SimpleFeaturePyramid(8, init_cfg=looped()),
    ],
)
def test_what_contains_itself_is_told(build):
    with pytest.raises(ValueError, match='contains itself'):
        build()


def test_what_is_nested_without_end_is_told_at_once():
    deep, shared = {}, [1]
    for _ in range(3000):
        deep = dict(type='KUA', a=deep)
    for _ in range(60):  # as many paths as 2 ** 60, as many lists as 60
        shared = [shared, shared]
    with pytest.raises(ValueError, match='64 levels deep'):
        build_key(deep, 8)
    with pytest.raises(ValueError, match='arch='):
        ManifoldSwin(arch=shared)


@pytest.mark.parametrize('backbone', [lambda: ManifoldSwin(**SWIN), lambda: ManifoldViT(**VIT)])
def test_a_single_image_is_told_to_be_a_batch(backbone):
    with pytest.raises(
        ValueError, match=r'3 axes; a single image becomes a batch with image\[None\]'
    ):
        backbone()(torch.zeros(3, 32, 32))


def test_levels_that_nobody_reads_are_left_out():
    neck = SimpleFeaturePyramid(8, 4, num_outs=4, skip_levels=[1, 2])
    outs = neck((torch.zeros(1, 8, 4, 4),))
    assert [tuple(out.shape[1:]) for out in outs] == [(4, 16, 16), (4, 2, 2)]
