"""A family of backbones and a key from outside of the package: built, read, written, folded."""

import pytest
import torch
from mmengine.registry import MODELS as ROOT_MODELS
from timm.models.vision_transformer import Attention
from torch import nn

from mkbackbones.attention.inject import set_block_keys
from mkbackbones.backbones.base import Backbone, resolve_arch
from mkbackbones.checkpoints import (
    CheckpointError,
    Family,
    load_checkpoint,
    read_weights,
    register_family,
    to_naming,
)
from mkbackbones.checkpoints.families import FAMILIES
from mkbackbones.checkpoints.families.base import replace
from mkbackbones.checkpoints.fold import fold_checkpoint
from mkbackbones.checkpoints.namings import Naming
from mkbackbones.keys.base import Key
from mkbackbones.keys.build import keys_per_block
from mkbackbones.profiling.build import build_backbone
from mkbackbones.profiling.spec import parse_spec
from mkbackbones.registry import KEYS, MODELS

from .peers import manifold_swin, manifold_vit


class ToyFamily(Family):
    """Attention on patches with a learnt scale for each channel; toylib stores its inverse."""

    name = 'toy'
    title = 'Toy'
    embedding = 'stem.weight'
    namings = {
        'own': Naming(
            'own',
            (('stem', 'stem'), ('mixers.{}', 'mixers.{}'), ('scale', 'scale'), ('norm', 'norm')),
            anchor=r'stem\.weight',
        ),
        'toylib': Naming(
            'toylib',
            (('embed', 'stem'), ('h.{}.attn', 'mixers.{}'), ('width', 'scale'), ('ln_f', 'norm')),
            anchor=r'embed\.weight',
        ),
    }
    signs = (('toylib', r'h\.\d+\.attn\.'), ('own', r'mixers\.\d+\.'))

    def read(self, weights, naming):
        if naming is self.namings['toylib'] and 'scale' in weights.state:
            weights.state['scale'] = 1 / weights.state['scale']

    def fit(self, state, model, report):
        name = 'stem.weight'
        sides = model.stem.weight.shape[2:]
        replace(state, name, nn.functional.interpolate(state[name], sides, mode='area'), report)

    def write(self, state, library, entries):
        return dict(state, scale=1 / state['scale']) if library == 'toylib' else state


TOY = ToyFamily()


class ToyBackbone(Backbone):
    family = TOY
    archs = {'nano': dict(embed_dims=8, depth=2, num_heads=2)}

    def __init__(
        self,
        arch='nano',
        key_cfg=None,
        patch=4,
        drop_path_rate=0.0,
        with_cp=False,
        init_cfg=None,
    ):
        super().__init__(init_cfg=init_cfg)
        cfg = resolve_arch('ToyBackbone', arch, self.archs, ('embed_dims', 'depth', 'num_heads'))
        dims, depth = cfg['embed_dims'], cfg['depth']
        self.stem = nn.Conv2d(3, dims, patch, patch)
        self.mixers = nn.ModuleList(
            Attention(dims, cfg['num_heads'], qkv_bias=True) for _ in range(depth)
        )
        self.scale = nn.Parameter(torch.ones(dims))
        self.norm = nn.LayerNorm(dims)
        self.out_channels = [dims]
        set_block_keys(self.mixers, keys_per_block(key_cfg, (depth,)))

    def frozen_modules(self):
        return []

    def extract(self, x, plan):
        x = self.stem(x)
        grid = x.shape[2:]
        x = x.flatten(2).transpose(1, 2)
        for mixer in self.mixers:
            x = x + mixer(x)
        return (self.norm(x * self.scale).transpose(1, 2).unflatten(2, grid),)


class ToyK(Key):
    """A stock key with a gain for each of its channels."""

    def __init__(self, embed_dims, out_dims=None, bias=True, gain=1.0):
        super().__init__(embed_dims, out_dims, bias)
        self.proj = nn.Linear(self.embed_dims, self.out_dims, bias=bias)
        self.gain = nn.Parameter(torch.full((self.out_dims,), gain))

    def forward(self, x, grid=None, num_prefix_tokens=0):
        return self.gain * self.proj(x)

    def linear_map(self):
        return self.gain[:, None] * self.proj.weight, self.gain * self.proj.bias


@pytest.fixture(autouse=True)
def outside():
    """Known as what a user's module registers, for as long as a test runs."""
    register_family(TOY)
    MODELS.register_module(module=ToyBackbone)
    KEYS.register_module(module=ToyK)
    yield
    del FAMILIES['toy']
    del MODELS.module_dict['ToyBackbone']
    del KEYS.module_dict['ToyK']


KEY_CFG = dict(type='ToyK', gain=0.5)


def toy(**args):
    return ROOT_MODELS.build(dict(type='mkbackbones.ToyBackbone', **args))


def trained(**args):
    torch.manual_seed(0)
    model = toy(**args)
    x = torch.randn(2, 3, 16, 24)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    (out,) = model.train()(x)
    (out * torch.randn_like(out)).sum().backward()
    optimizer.step()
    # The key's bias shifts all scores of a query alike.
    unmoved = {n for n, v in model.state_dict().items() if torch.equal(v, before[n])}
    assert all('bias' in name for name in unmoved)
    return model.eval(), x


def test_a_training_step_with_a_key_from_outside():
    model, _ = trained(key_cfg=KEY_CFG)
    assert isinstance(model.mixers[1].qkv.key, ToyK)


@pytest.mark.parametrize('library', ['own', 'toylib'])
def test_checkpoints_are_written_and_read(library, tmp_path):
    model, x = trained()
    written = to_naming(model.state_dict(), library)
    assert ('embed.weight' in written) == (library == 'toylib')
    torch.testing.assert_close(read_weights(written).state, dict(model.state_dict()))
    torch.save({'state_dict': {f'backbone.{n}': v for n, v in written.items()}}, tmp_path / 'a.pth')
    other = toy(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'a.pth')))
    other.init_weights()
    assert torch.allclose(other.eval()(x)[0], model(x)[0], atol=1e-6)
    resized = toy(patch=8)
    report = load_checkpoint(resized, written, strict=True)
    assert report.names('resampled') == ['stem.weight']


def test_a_stock_checkpoint_starts_a_key_from_outside():
    model, _ = trained()
    manifold = toy(key_cfg=KEY_CFG)
    report = load_checkpoint(manifold, to_naming(model.state_dict(), 'toylib'), strict=True)
    assert report.names('own init') == ['mixers.0.qkv.key', 'mixers.1.qkv.key']
    assert torch.equal(manifold.mixers[0].qkv.qv.weight[:8], model.mixers[0].qkv.weight[:8])


def test_a_key_from_outside_folds_into_the_librarys_weights():
    model, x = trained(key_cfg=KEY_CFG)
    with pytest.raises(CheckpointError, match='fold them first'):
        to_naming(model.state_dict(), 'toylib')
    cfg = dict(type='mkbackbones.ToyBackbone', key_cfg=KEY_CFG)
    result = fold_checkpoint(model.state_dict(), 'toylib', cfg)
    stock = toy()
    load_checkpoint(stock, result.state, strict=True)
    with torch.no_grad():
        assert torch.allclose(stock.eval()(x)[0], model(x)[0], atol=1e-5)


def test_families_are_told_apart():
    toy_state = toy().state_dict()
    for model in (manifold_swin(), manifold_vit()):
        assert read_weights(model.state_dict()).family is model.family
        with pytest.raises(CheckpointError, match='is a Toy; it does not fit Manifold'):
            load_checkpoint(model, toy_state)
        with pytest.raises(CheckpointError, match='does not fit ToyBackbone'):
            load_checkpoint(toy(), model.state_dict())
    with pytest.raises(CheckpointError, match='timm has no Toy; choose from own, toylib'):
        to_naming(toy_state, 'timm')


def test_a_name_is_given_once():
    class OtherFamily(ToyFamily):
        pass

    assert register_family(ToyFamily()) is TOY
    with pytest.raises(ValueError, match='OtherFamily another name'):
        register_family(OtherFamily())


def test_it_can_be_profiled():
    backbone = build_backbone(parse_spec('toy-n/ToyK'), (32, 32))
    assert isinstance(backbone.mixers[0].qkv.key, ToyK)
