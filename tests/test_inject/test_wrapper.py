"""ManifoldKeyBackbone: a config puts manifold keys into a backbone of another library."""

import copy
import io

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from mkbackbones import apply_manifold_key, fold_manifold_keys
from mkbackbones.attention.inject import manifold_layers
from mkbackbones.attention.qkv import ManifoldQKV

from ..test_backbones.common import SWIN, tiny_swin
from ..test_backbones.test_parity import mmdet_weights
from ..test_engine.tiny import (
    MANIFOLD_SWIN,
    STOCK_SWIN,
    detection_config,
    faster_rcnn,
    segmentation_config,
    train,
    write_images,
)
from .trees import KEY_CFGS, disturb_keys, key_id, max_error

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

SPATIAL = dict(type='SpatialK', num_charts=2)
TINY_SWIN = dict(
    type='SwinTransformer', embed_dims=16, depths=(2, 2), num_heads=(2, 4), strides=(4, 2),
    out_indices=(0, 1), window_size=4,
)  # fmt: skip
TINY_VIT = dict(
    type='VisionTransformer', img_size=64, embed_dims=16, num_layers=2, num_heads=2,
    out_indices=(0, 1), patch_bias=True,
)  # fmt: skip
INNER = {'mmdet': TINY_SWIN, 'mmseg-swin': TINY_SWIN, 'mmseg-vit': TINY_VIT}
every_inner = pytest.mark.parametrize('name', INNER)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('wrapper') / 'images')


def wrapped(backbone, key_cfg=SPATIAL):
    return dict(
        type='mkbackbones.ManifoldKeyBackbone', backbone=copy.deepcopy(backbone), key_cfg=key_cfg
    )


def build(scope, cfg, seed=0, init=False):
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope(scope):
        model = MMENGINE_MODELS.build(ConfigDict(cfg))
        if init:
            model.init_weights()
    model.train(False)
    return model


def pair(name, key_cfg=SPATIAL, init=False, **args):
    """The stock backbone and the one with keys, from one seed."""
    scope, inner = name.split('-')[0], dict(INNER[name], **args)
    return build(scope, inner, init=init), build(scope, wrapped(inner, key_cfg), init=init)


@every_inner
def test_it_is_the_inner_backbone(name):
    stock, model = pair(name)
    assert isinstance(model, type(stock))
    assert manifold_layers(model)
    own = {n for n, _ in model.named_parameters() if '.qv.' not in n and '.key.' not in n}
    stock_names = {n for n, _ in stock.named_parameters()}
    assert own < stock_names
    assert all('qkv' in n or 'in_proj' in n for n in stock_names - own)
    assert model.train() is model and model.training
    assert model.eval() is model and not model.training
    x = torch.randn(1, 3, 61, 37)
    with torch.no_grad():
        outs = model(x)
        assert isinstance(outs, tuple)
        assert max_error(outs, stock(x)) < 2e-6
    model.load_state_dict(stock.state_dict(), strict=True)


def test_other_scopes():
    with DefaultScope.overwrite_default_scope('mmseg'):
        cfg = dict(TINY_SWIN, type='mmdet.SwinTransformer')
        model = MMENGINE_MODELS.build(wrapped(cfg))
    assert type(model).__mro__[2].__module__.startswith('mmdet')
    cfg = dict(MANIFOLD_SWIN, type='mkbackbones.ManifoldSwin')
    assert manifold_layers(build('mmdet', wrapped(cfg)))


def test_a_timm_backbone_of_mmseg():
    if not hasattr(VisionTransformer, 'forward_intermediates'):
        pytest.skip('ViTs of this timm give no features')
    cfg = dict(
        type='TIMMBackbone', model_name='vit_tiny_patch16_224', pretrained=False, img_size=64,
        embed_dim=32, depth=3, num_heads=2, dynamic_img_size=True, out_indices=(1, 2),
    )  # fmt: skip
    stock, model = build('mmseg', cfg), build('mmseg', wrapped(cfg))
    x = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        assert max_error(model(x), stock(x)) < 1e-6
    assert isinstance(model(x), tuple)


@every_inner
@pytest.mark.parametrize('key_cfg', KEY_CFGS, ids=key_id)
def test_init_weights_is_that_of_the_stock_arm(name, key_cfg):
    stock, model = pair(name, key_cfg, init=True)
    after_model = torch.rand(3)
    build(name.split('-')[0], INNER[name], init=True)
    assert torch.equal(torch.rand(3), after_model)
    x = torch.randn(1, 3, 61, 37)
    with torch.no_grad():
        assert max_error(model(x), stock(x)) < 2e-5
    untouched = [m.key.gamma for m in model.modules() if hasattr(getattr(m, 'key', 0), 'gamma')]
    assert all((gamma > 0).all() for gamma in untouched)


def test_charts_keep_their_own_initial_values():
    """The inner backbone resets every Linear it finds; those of the keys are not its own."""
    key_cfg = dict(type='MLPK', match=dict(type='KUA', num_charts=2), act_cfg=None)
    for name in ('mmdet', 'mmseg-vit'):
        _, before = pair(name, key_cfg)
        _, after = pair(name, key_cfg, init=True)
        for layer in manifold_layers(after):
            for kind in ('fc1.weight', 'fc2.weight', 'out_scale'):
                a, b = (m.get_submodule(layer).key.get_parameter(kind) for m in (before, after))
                assert torch.equal(a, b)


def pretrained(tmp_path, weights, name='weights.pth', key='state_dict'):
    path = tmp_path / name
    torch.save({key: weights} if key else weights, path)
    return dict(type='Pretrained', checkpoint=str(path))


@pytest.mark.parametrize('key_cfg', KEY_CFGS, ids=key_id)
def test_pretrained_weights_of_the_inner_backbone_land_in_the_keys(key_cfg, tmp_path):
    x = torch.randn(1, 3, 61, 37)
    for name in INNER:
        trained = build(name.split('-')[0], INNER[name], seed=9, init=True)
        prefix = 'backbone.' if name == 'mmdet' else ''
        weights = {prefix + n: v for n, v in trained.state_dict().items()}
        init_cfg = pretrained(tmp_path, weights, f'{name}.pth')
        _, model = pair(name, key_cfg, init=True, init_cfg=init_cfg)
        with torch.no_grad():
            assert max_error(model(x), trained(x)) < 2e-5, name


def test_pretrained_weights_in_a_wrapped_manifold_swin(tmp_path):
    """Our own backbone inside, which translates what it reads."""
    torch.manual_seed(9)
    trained = tiny_swin().eval()
    for weights in (trained.state_dict(), mmdet_weights(trained)):
        cfg = dict(
            type='mkbackbones.ManifoldSwin', arch=SWIN, out_indices=(0, 1), window_size=4,
            init_cfg=pretrained(tmp_path, weights),
        )  # fmt: skip
        model = build('mmdet', wrapped(cfg), init=True)
        x = torch.randn(1, 3, 61, 37)
        with torch.no_grad():
            assert max_error(model(x), trained(x)) < 1e-5


def test_official_weights_converted_by_mmdet(tmp_path):
    torch.manual_seed(0)
    official = tiny_swin().eval()
    init_cfg = pretrained(tmp_path, official.state_dict(), key='model')
    _, model = pair('mmdet', init=True, init_cfg=init_cfg, convert_weights=True)
    for i in range(2):  # the output norms are not in official files
        getattr(official, f'norm{i}').load_state_dict(getattr(model, f'norm{i}').state_dict())
    x = torch.randn(1, 3, 61, 37)
    with torch.no_grad():
        assert max_error(model(x), official(x)) < 1e-5
    assert mmdet_weights(official).keys() >= {'stages.0.blocks.0.attn.w_msa.proj.weight'}


@every_inner
def test_pretrained_weights_with_manifold_keys_go_into_the_keys(name, tmp_path):
    _, trained = pair(name, init=True)
    disturb_keys(trained)
    prefix = 'backbone.' if name == 'mmdet' else ''
    weights = {prefix + n: v for n, v in trained.state_dict().items()}
    _, model = pair(name, init=True, init_cfg=pretrained(tmp_path, weights))
    for (n, a), b in zip(trained.state_dict().items(), model.state_dict().values(), strict=True):
        assert torch.equal(a, b), n
    with pytest.raises(RuntimeError, match=r'key\.spatial_weight'):
        pair(name, dict(type='KUA', num_charts=2), init=True,
             init_cfg=pretrained(tmp_path, weights))  # fmt: skip


def test_a_whole_detector_is_initialised(images, tmp_path):
    """mmengine keeps a record of every parameter's initialisation and checks it."""
    for scope, backbone in (('mmdet', STOCK_SWIN), ('mmdet', dict(MANIFOLD_SWIN))):
        stock = build(scope, faster_rcnn(dict(backbone)), init=True)
        model = build(scope, faster_rcnn(wrapped(backbone)), init=True)
        shared = stock.state_dict()
        for name, value in model.state_dict().items():
            assert '.qkv.' in name or torch.equal(value, shared[name]), name
        x = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            assert max_error(model.backbone(x), stock.backbone(x)) == 0


@pytest.mark.parametrize('library', ['mmdet', 'mmseg-swin', 'mmseg-vit'])
def test_a_trained_stock_model_loads_through_load_from(library, images, tmp_path):
    """Train the stock model, swap the backbone in the config, load, compare, train on."""
    if library == 'mmdet':
        config, inner, args = detection_config, STOCK_SWIN, {}
    else:
        inner = STOCK_SWIN if library == 'mmseg-swin' else dict(TINY_VIT, drop_path_rate=0.2)
        config, args = segmentation_config, dict(channels=64 if inner is STOCK_SWIN else 16)
    stock = train(config(images, tmp_path / 'stock', dict(inner), max_iters=2, **args))
    path = tmp_path / 'stock/iter_2.pth'
    swapped = config(
        images, tmp_path / 'manifold', wrapped(inner), max_iters=1, load_from=str(path), **args,
        **{'optim_wrapper.optimizer.lr': 0.0},
    )  # fmt: skip
    loaded = train(swapped)
    direct = build(library.split('-')[0], swapped.model)
    load_checkpoint(direct, str(path), map_location='cpu', strict=True)
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        stock.model.train(False)
        wanted = stock.model.extract_feat(x)
        for model in (loaded.model, direct):
            model.train(False)
            assert max_error(model.extract_feat(x), wanted) < 1e-5
    assert manifold_layers(loaded.model)


@every_inner
def test_copies_and_pickles(name):
    _, model = pair(name)
    disturb_keys(model)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    x = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        for twin in (copy.deepcopy(model), torch.load(buffer, weights_only=False)):
            assert type(twin) is type(model)
            assert max_error(twin(x), model(x)) == 0


def test_copies_where_objects_have_no_state_of_their_own(monkeypatch):
    """As they have none before Python 3.11."""

    def missing(self):
        raise AttributeError('__getstate__')

    _, model = pair(next(iter(INNER)))
    monkeypatch.setattr(type(model).__bases__[-1], '__getstate__', property(missing), raising=False)
    x = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        assert max_error(copy.deepcopy(model)(x), model(x)) == 0


@every_inner
def test_a_folded_backbone_loads_into_the_stock_one(name):
    stock, model = pair(name, dict(type='VanillaK', num_charts=2, act_cfg=None))
    disturb_keys(model)
    x = torch.randn(1, 3, 61, 37)
    with torch.no_grad():
        before = model(x)
        assert fold_manifold_keys(model) == []
        stock.load_state_dict(model.state_dict(), strict=True)
        assert max_error(stock(x), before) < 1e-5


def test_timms_dinov3_by_way_of_mmseg():
    """Charts find the patch grid behind five prefix tokens, and rotations stay timm's."""
    inner = dict(
        type='TIMMBackbone', model_name='vit_small_patch16_dinov3', pretrained=False,
        embed_dim=32, depth=2, num_heads=2, out_indices=(1,), init_values=0.5,
    )  # fmt: skip
    stock = build('mmseg', inner).eval()
    model = build('mmseg', wrapped(inner)).eval()
    x = torch.randn(1, 3, 48, 80)
    with torch.no_grad():
        assert max_error(model(x), stock(x)) < 1e-5
    qkv = model.get_submodule(manifold_layers(model)[0])
    assert (qkv.grid, qkv.num_prefix_tokens) == ((3, 5), 5)


@pytest.mark.parametrize(
    ('backbone', 'words'),
    [
        ('SwinTransformer', ["backbone='SwinTransformer' is no config"]),
        (dict(embed_dims=3), ['is no config']),
        (dict(type='SwinTransformr'), ["scope 'mmdet'", "did you mean 'SwinTransformer'"]),
        (dict(type='mmdet.Swin'), ["'mmdet.Swin' is not registered"]),
        (dict(type='ResNet', depth=18), ["nn.Linear called 'qkv'", 'Conv2d']),
        (dict(MANIFOLD_SWIN, key_cfg=SPATIAL), ['has manifold keys already']),
    ],
)
def test_wrong_backbones(backbone, words):
    with pytest.raises(ValueError) as error:
        build('mmdet', wrapped(backbone))
    for word in words:
        assert word in str(error.value)


def test_a_detector_as_a_whole():
    """apply_manifold_key on a built detector; FPN and heads have no attention."""
    model = build('mmdet', faster_rcnn(dict(STOCK_SWIN)))
    apply_manifold_key(model, dict(**SPATIAL, stages=[2, 3]))
    names = manifold_layers(model)
    assert [n.split('.')[2] for n in names] == ['2', '2', '3']
    assert all(isinstance(model.get_submodule(n), ManifoldQKV) for n in names)
    assert not any(isinstance(m, nn.MultiheadAttention) for m in model.modules())
