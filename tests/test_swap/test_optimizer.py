"""What the swap does about the optimiser: every parameter keeps its multipliers, or it is told."""

import re

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope

from mkbackbones.swap import swap_backbone

from .shipped import SWIN, shipped_config

OLD = dict(
    type='SwinTransformer', embed_dims=16, depths=[1, 2, 1, 1], num_heads=[1, 2, 4, 4]
)  # fmt: skip


def detector(keys=None, **wrapper):
    pytest.importorskip('mmdet')
    cfg = dict(
        default_scope='mmdet',
        model=dict(
            type='RetinaNet',
            backbone=dict(OLD),
            neck=dict(type='FPN', in_channels=[16, 32, 64, 128], out_channels=16, num_outs=5),
            bbox_head=dict(type='RetinaHead', num_classes=2, in_channels=16, feat_channels=16),
        ),
        optim_wrapper=dict(
            type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05), **wrapper
        ),
    )
    if keys is not None:
        cfg['optim_wrapper']['paramwise_cfg'] = dict(custom_keys=keys)
    return Config(cfg)


def settings(cfg):
    """Multipliers of (learning rate, weight decay) by name, as the optimiser has them."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
        groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: (
            pytest.approx(g['lr'] / 1e-4),
            pytest.approx(g['weight_decay'] / 0.05),
        )
        for g in groups
        for p in g['params']
    }


def norm_keys(stages, mult):
    keys = {}
    for stage, depth in enumerate(stages):
        for block in range(depth):
            keys[f'backbone.stages.{stage}.blocks.{block}.norm'] = dict(mult)
        if stage < 3:
            keys[f'backbone.stages.{stage}.downsample.norm'] = dict(mult)
    return keys


@pytest.mark.parametrize('rest', [{}, {'absolute_pos_embed': dict(lr_mult=0.1, decay_mult=0.0)}])
def test_norms_that_were_named_one_by_one_are_spared_the_decay(rest):
    spared = dict(lr_mult=0.1, decay_mult=0.0)
    keys = {
        'backbone': dict(lr_mult=0.1, decay_mult=1.0),
        'backbone.patch_embed.norm': spared,
        'backbone.norm': spared,
        'relative_position_bias_table': spared,
        **norm_keys(OLD['depths'], spared),
        **rest,
    }
    swap = swap_backbone(detector(keys), SWIN)
    for name, (lr, decay) in settings(swap.cfg).items():
        inside = name.startswith('backbone.')
        assert lr == (0.1 if inside else 1), name
        plain = re.search(r'norm|bias_table|key\.gamma|key\.out_scale', name)
        assert decay == (0 if inside and plain else 1), name
    (line,) = [line for line in swap.changes if 'custom_keys' in line]
    assert 'backbone.stages.0.blocks.0.norm' in line and 'backbone.layers.0' in line


def test_rates_by_stage_go_to_the_stages_of_the_same_number():
    keys = {f'backbone.stages.{i}.': dict(lr_mult=0.1 * (i + 1)) for i in range(4)}
    found = settings(swap_backbone(detector(keys), SWIN).cfg)
    for name, (lr, _) in found.items():
        stage = re.match(r'backbone\.layers\.(\d)', name)
        assert lr == (0.1 * (int(stage[1]) + 1) if stage else 1), name


def test_keys_that_follow_no_rule_are_told():
    keys = {'backbone.stages.1.blocks.1.attn': dict(lr_mult=0.3)}
    swap = swap_backbone(detector(keys), SWIN)
    assert swap.cfg.optim_wrapper.paramwise_cfg.custom_keys == keys
    assert any('backbone.stages.1.blocks.1.attn' in line for line in swap.advice)


def test_keys_that_hold_for_any_backbone_stay():
    keys = {'norm': dict(decay_mult=0.0), 'backbone': dict(lr_mult=0.1)}
    swap = swap_backbone(detector(keys), SWIN)
    assert swap.cfg.optim_wrapper.paramwise_cfg.custom_keys == keys
    assert not any('custom_keys' in line for line in swap.changes + swap.advice)


@pytest.mark.parametrize('kind', ['layer_wise', 'stage_wise'])
def test_layer_decay_of_other_libraries_becomes_ours(kind):
    cfg = detector(
        constructor='LearningRateDecayOptimizerConstructor',
    )
    cfg.optim_wrapper.paramwise_cfg = dict(decay_rate=0.9, decay_type=kind, num_layers=6)
    swap = swap_backbone(cfg, SWIN)
    assert swap.cfg.optim_wrapper.constructor == 'mkbackbones.LayerDecayConstructor'
    found = settings(swap.cfg)
    assert found['backbone.patch_embed.proj.weight'][0] == 0.9**5  # four blocks
    assert found['bbox_head.retina_cls.bias'][1] == 0, 'as the old constructor had it'
    assert any('decay_rate=0.9' in line and '6 layers' in line for line in swap.advice)


def test_other_constructors_are_told():
    swap = swap_backbone(detector(constructor='MyConstructor'), SWIN)
    assert any('MyConstructor' in line for line in swap.advice)
    ours = swap_backbone(detector(constructor='mkbackbones.MergedGroupsConstructor'), SWIN)
    assert not any('Constructor' in line for line in ours.advice)


def test_a_learning_rate_for_another_backbone_is_told():
    cfg = detector()
    cfg.optim_wrapper.optimizer.lr = 4e-3
    assert any('lr=0.004' in line for line in swap_backbone(cfg, SWIN).advice)
    cfg.optim_wrapper.optimizer.lr = 1e-4
    assert not any('lr=' in line for line in swap_backbone(cfg, SWIN).advice)


def test_arguments_that_mean_the_same_go_along_and_others_are_told():
    cfg = detector()
    cfg.model.backbone.update(window_size=5, frozen_stages=1, with_cp=True, drop_path_rate=0.3)
    given = {key: value for key, value in SWIN.items() if key != 'drop_path_rate'}
    new = swap_backbone(cfg, given).cfg.model.backbone
    assert (new.window_size, new.frozen_stages, new.with_cp) == (5, 1, True)
    assert new.drop_path_rate == 0.3
    assert swap_backbone(cfg, SWIN).cfg.model.backbone.drop_path_rate == 0, 'what is given stays'
    resnet = shipped_config('mmdet', 'retinanet/retinanet_r50_fpn_1x_coco.py')
    swap = swap_backbone(resnet, SWIN)
    assert 'frozen_stages' not in swap.cfg.model.backbone
    assert any('frozen_stages=1' in line for line in swap.advice)


@pytest.mark.parametrize('same', [True, False])
def test_whether_the_old_weights_load_is_tried(same):
    cfg = detector()
    cfg.load_from = 'old.pth'
    depths = (1, 2, 1, 1) if same else (1, 3, 1, 1)
    arch = dict(embed_dims=16, depths=depths, num_heads=(1, 2, 4, 4))
    swap = swap_backbone(cfg, {**SWIN, 'arch': arch})
    (line,) = [line for line in swap.advice if 'load_from' in line]
    assert ('all entries' in line) == same
    assert not any('random weights' in line for line in swap.advice)


def test_weights_of_the_whole_old_model_are_not_loaded_into_another():
    cfg = detector()
    cfg.model.init_cfg = dict(type='Pretrained', checkpoint='whole.pth')
    cfg.model.neck.init_cfg = [
        dict(type='Xavier', layer='Conv2d'),
        dict(type='Pretrained', checkpoint='neck.pth'),
    ]
    cfg.model.bbox_head.init_cfg = dict(type='Pretrained', checkpoint='head.pth')
    narrow = dict(embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1))
    swap = swap_backbone(cfg, {**SWIN, 'arch': narrow})
    assert swap.cfg.model.init_cfg is None
    assert swap.cfg.model.neck.init_cfg == [dict(type='Xavier', layer='Conv2d')]
    assert swap.cfg.model.bbox_head.init_cfg.checkpoint == 'head.pth', 'its inputs are the same'
    assert [line for line in swap.changes if 'whole.pth' in line]


def test_window_sizes_of_v1_mean_nothing_to_v2():
    """Of what two families have in common by name, only what means the same goes along."""
    new = dict(type='mkbackbones.ManifoldSwinV2', arch=SWIN['arch'])
    cfg = shipped_config('mmdet', 'swin/retinanet_swin-t-p4-w7_fpn_1x_coco.py')
    cfg.model.backbone.update(window_size=5, with_cp=True)
    found = swap_backbone(cfg, new).cfg.model.backbone
    assert found.with_cp and 'window_size' not in found
    sizes = dict(window_size=5, pretrained_window_sizes=(4, 4, 4, 2))
    cfg.model.backbone = dict(new, out_indices=(1, 2, 3), **sizes)
    cfg.model.neck.in_channels = [32, 64, 128]
    found = swap_backbone(cfg, dict(new, key_cfg=dict(type='KUA', num_charts=2))).cfg.model.backbone
    assert found.window_size == 5 and tuple(found.pretrained_window_sizes) == (4, 4, 4, 2)
