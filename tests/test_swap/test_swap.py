"""swap_backbone on the configs that mmdet and mmseg ship."""

import pytest
import torch
from mmengine.config import Config

from mkbackbones.swap import SwapError, backbone_features, swap_backbone
from mkbackbones.swap.check import without_gradient

from . import zoo
from .shipped import DINOV3, SWIN, SWIN_V2, VIT, shipped_config, train_step

DETECTION = [
    'atss/atss_r50_fpn_1x_coco.py',
    'cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py',
    'dino/dino-4scale_r50_8xb2-12e_coco.py',
    'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    'libra_rcnn/libra-faster-rcnn_r50_fpn_1x_coco.py',
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
    'retinanet/retinanet_r50_fpn_1x_coco.py',
    'swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
    'swin/retinanet_swin-t-p4-w7_fpn_1x_coco.py',
    'yolof/yolof_r50-c5_8xb8-1x_coco.py',
]
SEGMENTATION = [
    'deeplabv3plus/deeplabv3plus_r50-d8_4xb2-40k_cityscapes-512x1024.py',
    'knet/knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512.py',
    'fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py',
    'pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py',
    'swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py',
    'sem_fpn/fpn_r50_4xb2-80k_cityscapes-512x1024.py',
]


def small(cfg):
    """Queries that fit a small image, which no preprocessor pads to a large one (11 GB)."""
    if cfg.model.get('num_queries'):
        cfg.model.num_queries = min(cfg.model.num_queries, 20)
    if cfg.model.get('dn_cfg'):
        cfg.model.dn_cfg.group_cfg.num_dn_queries = 10
    for step in (cfg.model.get('data_preprocessor') or {}).get('batch_augments') or ():
        if step.get('type') == 'BatchFixedSizePad':
            step.size = (64, 64)
    if (cfg.model.get('data_preprocessor') or {}).get('size'):
        cfg.model.data_preprocessor.size = (128, 128)
    return cfg


@pytest.mark.parametrize('name', DETECTION)
def test_mmdet_configs_train(name):
    pytest.importorskip('mmdet')
    check_step(swap_backbone(small(shipped_config('mmdet', name)), SWIN).cfg, SWIN)


@pytest.mark.parametrize('name', SEGMENTATION)
def test_mmseg_configs_train(name):
    pytest.importorskip('mmseg')
    check_step(swap_backbone(small(shipped_config('mmseg', name)), SWIN).cfg, SWIN)


@pytest.mark.parametrize(
    ('library', 'name'),
    [('mmdet', DETECTION[2]), ('mmdet', DETECTION[7]), ('mmseg', SEGMENTATION[3])],
)
def test_a_plain_vit_trains_in_their_place(library, name):
    pytest.importorskip(library)
    check_step(swap_backbone(small(shipped_config(library, name)), VIT).cfg, VIT)


@pytest.mark.parametrize(
    ('library', 'name'),
    [('mmdet', DETECTION[3]), ('mmdet', DETECTION[8]), ('mmseg', SEGMENTATION[4])],
)
def test_swin_v2_trains_in_their_place(library, name):
    pytest.importorskip(library)
    check_step(swap_backbone(small(shipped_config(library, name)), SWIN_V2).cfg, SWIN_V2)


@pytest.mark.parametrize(
    ('library', 'name'),
    [('mmdet', DETECTION[2]), ('mmdet', DETECTION[7]), ('mmseg', SEGMENTATION[3])],
)
def test_dinov3_trains_in_their_place(library, name):
    pytest.importorskip(library)
    check_step(swap_backbone(small(shipped_config(library, name)), DINOV3).cfg, DINOV3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('library', 'name'),
    [('mmdet', name) for name in DETECTION] + [('mmseg', name) for name in SEGMENTATION],
)
def test_a_plain_vit_trains_in_any_of_them(library, name):
    pytest.importorskip(library)
    check_step(swap_backbone(small(shipped_config(library, name)), VIT).cfg, VIT)


@pytest.mark.slow
@pytest.mark.parametrize('backbone', [SWIN, VIT], ids=['swin', 'vit'])
@pytest.mark.parametrize(
    ('library', 'name'),
    [('mmdet', name) for name in zoo.DETECTION] + [('mmseg', name) for name in zoo.SEGMENTATION],
)
def test_the_zoo_trains_with_either(library, name, backbone):
    pytest.importorskip(library)
    check_step(swap_backbone(small(shipped_config(library, name)), backbone).cfg, backbone)


def test_a_step_of_a_swapped_swin_is_the_same_each_time():
    """Nothing is left to chance: no stochastic depth, one seed."""
    pytest.importorskip('mmdet')
    name = 'swin/retinanet_swin-t-p4-w7_fpn_1x_coco.py'

    def gradients():
        model = train_step(swap_backbone(shipped_config('mmdet', name), SWIN).cfg)
        return {n: p.grad for n, p in model.named_parameters()}

    first, second = gradients(), gradients()
    assert first.keys() == second.keys()
    for parameter, gradient in first.items():
        torch.testing.assert_close(gradient, second[parameter], msg=parameter)


def check_step(cfg, backbone):
    """Every parameter of the whole model gets a gradient: distributed training asks for it."""
    model = train_step(cfg)
    assert type(model.backbone).__name__ == backbone['type'].removeprefix('mkbackbones.')
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    # Key biases get none: softmax ignores what is the same for all keys.
    lost = [n for n, p in trained.items() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not lost, 'distributed training rejects parameters without a gradient'


def test_the_given_config_is_left_as_it_is():
    pytest.importorskip('mmdet')
    cfg = shipped_config('mmdet', 'retinanet/retinanet_r50_fpn_1x_coco.py')
    before = cfg.dump()
    swap_backbone(cfg, SWIN)
    assert cfg.dump() == before


def test_every_change_is_told():
    pytest.importorskip('mmdet')
    cfg = shipped_config('mmdet', 'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py')
    swap = swap_backbone(cfg, SWIN)
    changes = '\n'.join(swap.changes)
    assert 'model.backbone: ResNet -> mkbackbones.ManifoldSwin' in changes
    assert 'model.neck.in_channels: [256, 512, 1024, 2048] -> [32, 64, 128]' in changes
    assert swap.cfg.model.backbone.out_indices == (1, 2, 3), 'the FPN starts at its second input'
    assert swap.cfg.model.neck.start_level == 0
    # The caffe ResNet wants BGR with a standard deviation of 1; ImageNet's Swin does not.
    assert 'model.data_preprocessor' in changes
    preprocessor = swap.cfg.model.data_preprocessor
    assert preprocessor.bgr_to_rgb and preprocessor.std == [58.395, 57.12, 57.375]
    assert swap.cfg.custom_imports['imports'] == ['mkbackbones']
    assert swap.cfg.custom_hooks == [dict(type='mkbackbones.RecordBackboneHook')]
    assert "custom_hooks: + 'mkbackbones.RecordBackboneHook'" in changes
    again = swap_backbone(swap.cfg, VIT)
    assert again.cfg.custom_hooks == swap.cfg.custom_hooks
    advice = '\n'.join(swap.advice)
    assert 'SGD' in advice and 'init_cfg' in advice


def test_mmseg_weights_of_the_old_backbone_are_dropped():
    pytest.importorskip('mmseg')
    name = 'pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py'
    swap = swap_backbone(shipped_config('mmseg', name), SWIN)
    assert swap.cfg.model.pretrained is None
    assert swap.cfg.model.backbone.out_indices == (2, 3), 'only two maps are read'
    assert swap.cfg.model.decode_head.in_index == 1
    assert swap.cfg.model.auxiliary_head.in_index == 0
    assert any('strides' in line for line in swap.advice), 'the old backbone was dilated'


def test_a_plain_vit_gets_the_strides_that_the_heads_want():
    pytest.importorskip('mmdet')
    cfg = shipped_config('mmdet', 'retinanet/retinanet_r50_fpn_1x_coco.py')
    neck = swap_backbone(cfg, VIT).cfg.model.neck
    assert neck.type == 'mkbackbones.SimpleFeaturePyramid'
    assert (neck.start_level, neck.num_outs, neck.in_channels) == (1, 5, 32)


def test_given_out_indices_are_kept():
    pytest.importorskip('mmdet')
    cfg = shipped_config('mmdet', 'retinanet/retinanet_r50_fpn_1x_coco.py')
    swap = swap_backbone(cfg, {**SWIN, 'out_indices': (0, 1, 2, 3)})
    assert swap.cfg.model.neck.in_channels == [16, 32, 64, 128]
    with pytest.raises(SwapError, match=r'4 outputs and the new one 2.*out_indices with 4'):
        swap_backbone(cfg, {**SWIN, 'out_indices': (2, 3)})


def test_measuring_draws_no_random_numbers():
    state = torch.get_rng_state()
    features = backbone_features(SWIN, 'mmengine')
    assert features.channels == (16, 32, 64, 128) and features.strides == (4, 8, 16, 32)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ('library', 'name', 'word'),
    [
        ('mmdet', 'faster_rcnn/faster-rcnn_r50-caffe-c4_ms-1x_coco.py', 'shared_head'),
        ('mmdet', 'detectors/cascade-rcnn_r50-rfp_1x_coco.py', 'second backbone'),
        ('mmseg', 'ocrnet/ocrnet_r101-d8_4xb2-40k_cityscapes-512x1024.py', 'in_index'),
        ('mmseg', 'fastfcn/fastfcn_r50-d32_jpu_psp_4xb2-80k_cityscapes-512x1024.py', 'JPU'),
    ],
)
def test_what_is_not_understood_is_refused(library, name, word):
    pytest.importorskip(library)
    with pytest.raises(SwapError, match=word):
        swap_backbone(shipped_config(library, name), SWIN)


def test_a_config_without_a_backbone():
    with pytest.raises(SwapError, match='has no model'):
        swap_backbone(Config({}), SWIN)
    with pytest.raises(SwapError, match=r'model \(X\) has no backbone; its parts: type, head'):
        swap_backbone(Config(dict(model=dict(type='X', head=1))), SWIN)


@pytest.mark.parametrize('backbone', [5, {}, dict(arch='tiny'), 'ManifoldSwin'])
def test_a_new_backbone_that_is_no_config(backbone):
    with pytest.raises(SwapError, match='a dict with a type'):
        swap_backbone(Config(dict(model=dict(backbone=dict(SWIN)))), backbone)
    loop = dict(SWIN)
    loop['key_cfg'] = loop
    with pytest.raises(SwapError, match='contains itself'):
        swap_backbone(Config(dict(model=dict(backbone=dict(SWIN)))), loop)


def test_what_the_config_called_its_key_goes_with_it():
    cfg = swap_backbone(shipped_config('mmseg', SEGMENTATION[2]), SWIN).cfg
    cfg.key_cfg = cfg.model.backbone.key_cfg
    same = swap_backbone(cfg, SWIN)
    assert same.cfg.key_cfg == SWIN['key_cfg']
    other = swap_backbone(cfg, dict(SWIN, key_cfg=dict(type='KUA', num_charts=2)))
    assert 'key_cfg' not in other.cfg and 'key_cfg' in cfg
    assert any(line.startswith('key_cfg: left out') for line in other.changes)


def test_a_backbone_that_cannot_be_built():
    cfg = Config(dict(model=dict(backbone=dict(SWIN))))
    with pytest.raises(SwapError, match=r'ManifoldSwin cannot be built: .*choose from'):
        swap_backbone(cfg, {**SWIN, 'key_cfg': dict(type='SpatialKey')})


def test_a_model_whose_outputs_need_no_gradient_names_what_gets_none():
    class Frozen(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = torch.nn.Conv2d(3, 4, 3).requires_grad_(False)
            self.neck = torch.nn.Linear(4, 4)

        def extract_feat(self, images):
            return (self.backbone(images),)

    assert without_gradient(Frozen(), 16, 'mmdet') == ['neck.weight', 'neck.bias']
