"""What reads the maps, and what stands between: each gets what it can use, or the swap refuses."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mkbackbones.swap import SwapError, swap_backbone

from .shipped import SWIN, VIT

pytest.importorskip('mmseg')
RESNET = dict(type='ResNetV1c', depth=18)
#: A plain ViT that takes images of one size only.
MAE = dict(
    type='MAE', img_size=(64, 64), patch_size=16, embed_dims=32, num_layers=4, num_heads=2,
    out_indices=[0, 1, 2, 3],
)  # fmt: skip
FOUR_BLOCKS = {'mkbackbones.ManifoldViT': dict(depth=4)}
BISENET = dict(
    type='BiSeNetV1', context_channels=(128, 256, 512), spatial_channels=(64, 64, 64, 128),
    out_channels=256, out_indices=(0, 1, 2),
    backbone_cfg=dict(type='ResNet', depth=18, num_stages=4, out_indices=(0, 1, 2, 3)),
)  # fmt: skip


def head(channels, index, **more):
    kind = more.pop('type', 'FCNHead')
    return dict(type=kind, in_channels=channels, in_index=index, channels=8, num_classes=2, **more)


def segmentor(backbone, decode_head, auxiliary_head=None, neck=None):
    model = dict(type='EncoderDecoder', backbone=backbone, decode_head=decode_head)
    model |= dict(auxiliary_head=auxiliary_head) if auxiliary_head else {}
    model |= dict(neck=neck) if neck else {}
    return Config(dict(default_scope='mmseg', model=model))


def swapped(cfg, backbone):
    """The swapped config's model, after a backward pass through all its heads."""
    swap = swap_backbone(cfg, backbone)
    with DefaultScope.overwrite_default_scope('mmseg'):
        torch.manual_seed(0)
        model = MODELS.build(swap.cfg.model).train()
    feats = model.extract_feat(torch.randn(2, 3, 64, 96))
    heads = [model.decode_head]
    if model.with_auxiliary_head:
        found = model.auxiliary_head
        heads += found if isinstance(found, torch.nn.ModuleList) else [found]
    outs = [head(feats) for head in heads]
    flat = [o for out in outs for o in (out if isinstance(out, tuple) else [out])]  # EncNet's two
    sum(out.sum() for out in flat).backward()
    lost = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not lost, 'distributed training rejects parameters without a gradient'
    return swap.cfg.model


@pytest.mark.parametrize('backbone', [SWIN, VIT])
@pytest.mark.parametrize(
    'cfg',
    [
        segmentor(RESNET, head(512, 3)),
        segmentor(RESNET, head(256, 2), head(64, 0)),
        segmentor(RESNET, head(512, -1), [head(128, 1), head(256, -2)]),
        segmentor(RESNET, dict(type='FCNHead', in_channels=512, channels=8, num_classes=2)),
        segmentor(
            {**RESNET, 'dilations': (1, 1, 2, 4), 'strides': (1, 2, 1, 1)},
            head(512, 3, type='DepthwiseSeparableASPPHead', c1_in_channels=64, c1_channels=4),
        ),
        segmentor(
            RESNET,
            head(512, 3, type='DepthwiseSeparableASPPHead', c1_in_channels=64, c1_channels=4),
        ),
        segmentor(RESNET, head([128, 256, 512], (1, 2, 3), type='EncHead', num_codes=4)),
        segmentor(MAE, head([32] * 4, [0, 1, 2, 3], type='UPerHead'), head(32, 2)),
        segmentor(BISENET, head(256, 0), [head(128, 1), head(128, 2)]),
    ],
    ids=['last', 'two', 'list', 'unsaid', 'dilated', 'gap', 'enc', 'mae', 'bisenet'],
)
def test_every_parameter_gets_a_gradient(cfg, backbone):
    if 'embed_dims' in cfg.model.backbone:  # a block for each output of the old one
        backbone = {
            **backbone,
            'arch': {**backbone['arch'], **FOUR_BLOCKS.get(backbone['type'], {})},
        }
    swapped(cfg, backbone)


def test_a_shallower_vit_returns_blocks_at_the_same_share_of_its_depth():
    cfg = segmentor({**MAE, 'num_layers': 8, 'out_indices': [1, 3, 5, 7]}, head(32, 3), head(32, 1))
    four = {**VIT, 'arch': dict(embed_dims=32, depth=4, num_heads=2)}
    model = swapped(cfg, four)
    assert model.backbone.out_indices == (1, 3)
    two = swap_backbone(cfg, VIT).cfg.model.backbone
    assert two.out_indices == (0, 1)


def test_a_pyramid_makes_no_levels_that_nobody_reads():
    neck = swapped(segmentor(RESNET, head(512, 3), head(64, 0)), VIT).neck
    assert (neck.start_level, neck.num_outs, neck.skip_levels) == (0, 4, [1, 2])


@pytest.mark.parametrize(
    ('neck', 'channels'),
    [
        (dict(type='Feature2Pyramid', embed_dim=32, rescales=[4, 2, 1, 0.5]), 32),
        (dict(type='MultiLevelNeck', in_channels=[32] * 4, out_channels=16,
              scales=[4, 2, 1, 0.5]), 16),
    ],
)  # fmt: skip
def test_necks_that_rescale_do_not_rescale_a_hierarchical_backbone(neck, channels):
    backbone = {**MAE, 'norm_cfg': dict(type='LN')}
    neck = {**neck, 'norm_cfg': dict(type='BN')}
    cfg = segmentor(backbone, head([channels] * 4, [0, 1, 2, 3], type='UPerHead'), neck=neck)
    model = swapped(cfg, SWIN)
    with DefaultScope.overwrite_default_scope('mmseg'):
        built = MODELS.build(model)
    strides = [64 // feat.shape[-2] for feat in built.extract_feat(torch.zeros(1, 3, 64, 64))]
    assert strides == [4, 8, 16, 32]


def test_our_own_pyramid_becomes_an_fpn():
    old = {**VIT, 'pretrain_img_size': 64}
    neck = dict(type='mkbackbones.SimpleFeaturePyramid', in_channels=32, out_channels=8, num_outs=4)
    cfg = segmentor(old, head([8] * 4, [0, 1, 2, 3], type='UPerHead'), neck=neck)
    model = swapped(cfg, SWIN)
    assert model.neck.type == 'FPN' and model.neck.in_channels == [16, 32, 64, 128]


def test_branches_are_not_stages():
    """BiSeNet's first output is the fused one: its head reads the last stage, as with a ResNet."""
    cfg = segmentor(BISENET, head(256, 0), [head(128, 1), head(128, 2)])
    model = swapped(cfg, SWIN)
    assert model.backbone.out_indices == (2, 3)
    assert model.decode_head.in_index == 1 and model.decode_head.in_channels == 128
    assert [h.in_index for h in model.auxiliary_head] == [0, 0]


@pytest.mark.parametrize(
    ('model', 'words'),
    [
        (
            dict(backbone=RESNET, decode_head=dict(type='MyHead', widths=[1, 2])),
            ['no part of model is known to read', 'decode_head', 'out_indices'],
        ),
        (
            dict(backbone=RESNET, decode_head=dict(type='MyHead', my_channels=[64, 128, 256, 512])),
            ['model.decode_head.my_channels', 'by hand'],
        ),
        (
            dict(
                backbone={**RESNET, 'out_indices': (1, 2, 3)},
                encoder=dict(type='MyEncoder', input_dims=[128, 256, 512]),
                decode_head=dict(type='MyHead', in_channels=256, in_index=1),
            ),
            ['model.encoder.input_dims', 'by hand'],
        ),
        (
            dict(backbone={**RESNET, 'in_channels': 1}, decode_head=head(512, 3)),
            ['in_channels=1', 'of 3', "color_type='color'"],
        ),
        (dict(backbone=dict(depth=18)), ['model.backbone has no type']),
        (
            dict(backbone=RESNET, decode_head=head(512, 7)),
            ['model.decode_head.in_index is 7', '4 outputs, 0 to 3'],
        ),
        (
            dict(backbone=BISENET, decode_head=head([256, 128], [0, 1], type='UPerHead')),
            ['BiSeNetV1', 'not stages', 'reads 2'],
        ),
        (
            dict(backbone=RESNET, decode_head=head(512, 3, num_convs=0, concat_input=False)
                 | dict(channels=512)),
            ['does not run with the new backbone', 'FCNHead'],
        ),
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused(model, words):
    cfg = Config(dict(default_scope='mmseg', model=dict(type='EncoderDecoder', **model)))
    with pytest.raises(SwapError) as error:
        swap_backbone(cfg, SWIN)
    for word in words:
        assert word in str(error.value)


def test_with_given_outputs_a_part_of_ones_own_may_read_them():
    cfg = segmentor(RESNET, dict(type='MyHead', widths=[1, 2]))
    backbone = {**SWIN, 'out_indices': (0, 1, 2, 3)}
    swap = swap_backbone(cfg, backbone)
    assert swap.cfg.model.backbone.out_indices == (0, 1, 2, 3)
    assert any('could not be tried' in line for line in swap.advice)
