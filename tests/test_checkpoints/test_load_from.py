"""Loading through mmengine: whole detectors and segmentors, init_cfg, resume."""

import logging

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint

from mkbackbones.checkpoints import CheckpointError
from mkbackbones.checkpoints import load_checkpoint as mkbackbones_load
from mkbackbones.registry import MODELS

from .peers import (
    SWIN,
    difference,
    manifold_swin,
    manifold_vit,
    mm_swin,
    mmseg_vit,
    randomise,
    timm_vit,
)

SWAPPED = dict(
    type='mkbackbones.ManifoldSwin',
    arch=dict(SWIN),
    out_indices=(0, 1, 2),
    window_size=4,
    drop_path_rate=0.0,
)
MM_BACKBONE = dict(
    type='SwinTransformer', **SWIN, strides=(4, 2, 2), out_indices=(0, 1, 2), window_size=4
)
KEYS = [None, dict(type='SpatialK', num_charts=2), dict(type='VanillaK', act_cfg=None, base=False)]


def key_name(cfg):
    return 'stock' if cfg is None else cfg['type']


def detector(backbone):
    """A Mask R-CNN with few channels, as configs/_base_/models of mmdet has it."""
    roi = dict(out_channels=8, featmap_strides=[4, 8, 16])
    boxes = dict(type='DeltaXYWHBBoxCoder')
    model = dict(
        type='MaskRCNN',
        data_preprocessor=dict(type='DetDataPreprocessor'),
        backbone=backbone,
        neck=dict(type='FPN', in_channels=[16, 32, 64], out_channels=8, num_outs=3),
        rpn_head=dict(
            type='RPNHead',
            in_channels=8,
            feat_channels=8,
            anchor_generator=dict(
                type='AnchorGenerator', scales=[8], ratios=[1.0], strides=[4, 8, 16]
            ),
            bbox_coder=boxes,
        ),
        roi_head=dict(
            type='StandardRoIHead',
            bbox_roi_extractor=dict(
                type='SingleRoIExtractor', roi_layer=dict(type='RoIAlign', output_size=7), **roi
            ),
            bbox_head=dict(
                type='Shared2FCBBoxHead',
                in_channels=8,
                fc_out_channels=8,
                num_classes=2,
                bbox_coder=boxes,
            ),
            mask_roi_extractor=dict(
                type='SingleRoIExtractor', roi_layer=dict(type='RoIAlign', output_size=14), **roi
            ),
            mask_head=dict(
                type='FCNMaskHead', in_channels=8, conv_out_channels=8, num_classes=2, num_convs=1
            ),
        ),
        train_cfg=dict(rpn=None, rcnn=None),
        test_cfg=dict(rpn=None, rcnn=None),
    )
    return build(model, 'mmdet')


def segmentor(backbone):
    """An UPerNet with few channels."""
    model = dict(
        type='EncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor'),
        backbone=backbone,
        decode_head=dict(
            type='UPerHead',
            in_channels=[16, 32, 64],
            in_index=[0, 1, 2],
            channels=8,
            num_classes=2,
            norm_cfg=dict(type='BN'),
        ),
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
    )
    return build(model, 'mmseg')


def build(model, scope):
    pytest.importorskip(f'{scope}.models')
    with DefaultScope.overwrite_default_scope(scope):
        return randomise(MODELS.build(ConfigDict(model)))


@pytest.fixture
def lines(monkeypatch):
    """Everything that is logged."""
    found = []

    class Keep(logging.Handler):
        def emit(self, record):
            found.append((record.levelname, record.getMessage()))

    # Alone: mmengine writes what it initialises into log files, where earlier tests have left any.
    monkeypatch.setattr(MMLogger.get_current_instance(), 'handlers', [Keep()])
    return found


@pytest.mark.parametrize('key_cfg', KEYS, ids=key_name)
@pytest.mark.parametrize('make', [detector, segmentor])
def test_whole_trained_model(make, key_cfg, tmp_path, lines):
    """What the runner's load_from calls, on a model whose backbone was swapped."""
    trained = make(MM_BACKBONE)
    file = tmp_path / 'epoch_12.pth'
    torch.save({'meta': {}, 'state_dict': trained.state_dict()}, file)
    swapped = make({**SWAPPED, 'key_cfg': key_cfg})
    for p in swapped.parameters():
        p.data.add_(1)
    for name, p in swapped.named_parameters():
        if name.endswith('out_scale'):
            p.data.zero_()
    lines.clear()
    load_checkpoint(swapped, str(file), map_location='cpu')
    assert not [text for level, text in lines if level != 'INFO']
    rest = {n: v for n, v in trained.state_dict().items() if not n.startswith('backbone.')}
    assert all(torch.equal(swapped.state_dict()[n], v) for n, v in rest.items())
    x = torch.randn(1, 3, 61, 90)
    assert difference(swapped.backbone, trained.backbone, x) < 1e-4
    with torch.no_grad():
        for a, b in zip(swapped.extract_feat(x), trained.extract_feat(x), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-3)


def test_strict_loading_through_torch():
    """No loader of ours: the module's own load_state_dict, with a strict comparison."""
    peer = mm_swin('mmdet')
    ours = manifold_swin(key_cfg=dict(type='KUA', num_charts=2))
    ours.load_state_dict(peer.state_dict(), strict=True)
    assert difference(ours, peer, torch.randn(1, 3, 50, 70)) < 1e-4
    vit = manifold_vit()
    vit.load_state_dict(mmseg_vit().state_dict(), strict=True)
    vit.load_state_dict(timm_vit().state_dict(), strict=True)  # head dropped, with a report
    broken = peer.state_dict()
    broken['stages.0.odd'] = torch.zeros(1)
    del broken['norm0.weight']
    with pytest.raises(RuntimeError) as caught:
        ours.load_state_dict(broken, strict=True)
    assert 'stages.0.odd' in str(caught.value) and 'norm0.weight' in str(caught.value)


def test_an_unreadable_state_dict_is_left_to_the_loader(lines):
    ours = manifold_swin()
    with pytest.raises(RuntimeError, match=r'layer1\.conv'):
        ours.load_state_dict({'layer1.conv.weight': torch.zeros(1)})
    assert lines[-1][0] == 'WARNING' and 'no ViT or Swin' in lines[-1][1]
    result = ours.load_state_dict({'norm0.weight': torch.ones(16)}, strict=False)
    assert 'norm0.weight' not in result.missing_keys and not result.unexpected_keys


@pytest.mark.parametrize('build', [manifold_swin, manifold_vit])
@pytest.mark.parametrize(
    'key_cfg', [*KEYS, dict(type='KUA', base=False, num_charts=2)], ids=key_name
)
def test_our_own_checkpoint_is_untouched(build, key_cfg, lines):
    first = build(key_cfg=key_cfg)
    for p in first.parameters():
        torch.nn.init.normal_(p)
    second = build(key_cfg=key_cfg)
    state = first.state_dict()
    lines.clear()
    assert str(second.load_state_dict(state, strict=True)) == '<All keys matched successfully>'
    assert all(torch.equal(second.state_dict()[name], value) for name, value in state.items())
    assert lines == []


def test_initial_weights_by_config(tmp_path, lines):
    peer = mm_swin('mmdet')
    state = {f'backbone.{name}': value for name, value in peer.state_dict().items()}
    state['neck.conv.weight'] = torch.zeros(1)
    torch.save({'state_dict': state}, tmp_path / 'detector.pth')
    x = torch.randn(1, 3, 64, 64)
    for args in ({}, dict(prefix='backbone.'), dict(prefix='backbone', map_location='cpu')):
        cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'detector.pth'), **args)
        ours = MODELS.build({**SWAPPED, 'init_cfg': cfg}).eval()
        lines.clear()
        ours.init_weights()
        assert any('neck.*' in text for _, text in lines)
        assert difference(ours, peer, x) < 1e-4
        assert ours.init_cfg == cfg and ours.is_init
        assert any('load from' in text for _, text in lines if 'norm0.weight' in text)
        model = detector({**SWAPPED, 'init_cfg': cfg})
        model.init_weights()
        assert difference(model.backbone, peer, x) < 1e-4


def test_one_report_for_one_loading(tmp_path, lines):
    torch.save(mm_swin('mmdet').state_dict(), tmp_path / 'swin.pth')
    for key_cfg in KEYS:
        lines.clear()
        mkbackbones_load(manifold_swin(key_cfg=key_cfg), tmp_path / 'swin.pth')
        assert len([text for _, text in lines if 'of ManifoldSwin' in text]) == 1


def test_wrong_initial_weights_are_an_error(tmp_path):
    torch.save(timm_vit().state_dict(), tmp_path / 'vit.pth')
    torch.save({'norm0.weight': torch.zeros(3)}, tmp_path / 'odd.pth')

    def init(**cfg):
        MODELS.build({**SWAPPED, 'init_cfg': dict(type='Pretrained', **cfg)}).init_weights()

    with pytest.raises(CheckpointError, match='is a ViT'):
        init(checkpoint=str(tmp_path / 'vit.pth'))
    with pytest.raises(CheckpointError, match='no ViT or Swin'):
        init(checkpoint=str(tmp_path / 'odd.pth'))
    with pytest.raises(FileNotFoundError):
        init(checkpoint='nowhere.pth')
    with pytest.raises(TypeError, match='ckeckpoint'):
        init(checkpoint=str(tmp_path / 'vit.pth'), ckeckpoint='')


def test_strict_initial_weights(tmp_path):
    state = mm_swin('mmdet').state_dict()
    del state['stages.0.blocks.0.norm1.weight']
    torch.save(state, tmp_path / 'swin.pth')
    cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'swin.pth'))
    MODELS.build({**SWAPPED, 'init_cfg': cfg}).init_weights()
    with pytest.raises(CheckpointError, match=r'layers\.0\.blocks\.0\.norm1\.weight'):
        MODELS.build({**SWAPPED, 'init_cfg': {**cfg, 'strict': True}}).init_weights()


def test_keys_that_cannot_start_from_stock_weights_are_named(lines):
    ours = manifold_swin(
        key_cfg=[
            dict(type='KUA', base=False, num_charts=2, blocks=[1]),
            dict(type='SimpleK', num_charts=2, blocks=[2]),
        ]
    )
    ours.layers[1].blocks[0].attn.qkv.key.out_scale.data.fill_(1)
    ours.load_state_dict(mm_swin('mmdet').state_dict(), strict=True)
    table = lines[-1][1]
    assert 'layers.0.blocks.1.attn.qkv.key' in table and 'without a base chart' in table
    assert 'layers.1.blocks.0.attn.qkv.key' in table and 'output scale is not zero' in table
