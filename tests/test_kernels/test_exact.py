"""The kernels serve the modules they were written for; anything else is called, as without them.

Every module of a block is listened to, replaced, wrapped and parametrised in turn. In full
precision, on a GPU too: numbers then tell a module that was changed from rounding.
"""

import copy
from functools import partial

import pytest
import torch
from timm.layers import DropPath
from timm.models.vision_transformer import Attention
from torch import nn
from torch.nn.utils import parametrizations, parametrize, weight_norm

from mkbackbones.backbones import ManifoldSwin, ManifoldViT
from mkbackbones.backbones.vit_block import ViTBlock
from mkbackbones.fused import decision
from mkbackbones.kernels import support
from mkbackbones.keys import SimpleK, SpatialK

from ..lacking import needs_operators
from .small import DEVICE, error, filled
from .small import run as run_in

pytest.importorskip('triton', reason='the kernels need Triton')
pytestmark = needs_operators

#: Relative error, by norm, between the two paths in float32.
TOLERANCE = 1e-4

KEYS = [
    None,
    dict(type='SpatialK', num_charts=2),
    dict(type='VanillaK', num_charts=2, base=False),
    dict(type='KUA', num_charts=2),
    dict(type='LinearK', temperature=True),
    dict(type='MLPK', match=dict(type='SimpleK', num_charts=2)),
    dict(type='VanillaK', num_charts=2, act_cfg=None),
]


def swin(key_cfg):
    arch = dict(embed_dims=16, depths=(2, 1), num_heads=(1, 2))
    return ManifoldSwin(arch, key_cfg, (0, 1), window_size=3, drop_path_rate=0.0)


def vit(key_cfg, **kwargs):
    arch = dict(embed_dims=32, depth=2, num_heads=2)
    kwargs = dict(init_values=0.5, out_indices=(0, 1), **kwargs)
    return ManifoldViT(arch, key_cfg, pretrain_img_size=32, drop_path_rate=0.0, **kwargs)


#: Images, the block that is tampered with (in Swin a shifted one), and what else is decided on.
CASES = {
    'swin': (swin, 12, 'layers.0.blocks.1', ['patch_embed', 'layers.0.downsample', 'norm0']),
    'vit': (vit, 32, 'blocks.0', ['patch_embed', 'norm']),
}
#: Each key with one of them; the interpreter takes ten seconds for each pair.
LONGER = [('swin', KEYS[0]), ('vit', KEYS[2])]
every_pair = pytest.mark.parametrize(
    'case, key_cfg',
    [('swin', KEYS[2])]
    + [('vit', cfg) for cfg in KEYS if cfg != KEYS[2]]
    + [pytest.param(*pair, marks=pytest.mark.slow) for pair in LONGER],
    ids=lambda value: 'stock' if value is None else str(value),
)


@pytest.fixture
def switch(monkeypatch):
    """Turns the kernels on and off, in float32 without autocast."""
    on = [True]
    monkeypatch.setattr(support, 'fused_dtype', lambda x: torch.float32 if on[0] else None)
    return on


def run(model, x):
    return run_in(model, x, torch.float32)


def build(case, key_cfg=None):
    torch.manual_seed(0)
    make, size, *_ = CASES[case]
    model = make(key_cfg)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.3)  # no module may hide behind small weights
    return filled(model), torch.randn(1, 3, size, size, device=DEVICE)


def units(case):
    _, _, block, others = CASES[case]
    return [block, *others]


def modules_of(case, model):
    """Each module that the kernels may bypass, by name, with the part that is decided on."""
    return [
        (f'{unit}.{name}' if name else unit, unit)
        for unit in units(case)
        for name, _ in model.get_submodule(unit).named_modules()
    ]


def served(model, x, unit):
    plan = model.decision.plan(model, x)
    return plan is not None and plan.serves(model.get_submodule(unit))


def is_called(case, name):
    """Blocks and mergings are called on the fused path: who listens to them changes nothing."""
    return name in (CASES[case][2], 'layers.0.downsample')


class Louder(nn.Module):
    """What an adapter does: something of its own around a module."""

    p = 0.0  # PyTorch's attention asks the dropout for it

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *args):
        return louder(self.module(*args))


def louder(out):
    return out + out.square()  # a factor alone is lost in the next norm


class Parametrisation(nn.Module):
    """A parametrisation that is not the identity."""

    def forward(self, weight):
        return louder(weight)


def put(model, name, module):
    parent, _, child = name.rpartition('.')
    setattr(model.get_submodule(parent), child, module)


@every_pair
def test_every_module_is_served_until_it_is_touched(case, key_cfg, switch):
    """Each kind of hook on each module, and forward itself; then all is as before."""
    model, x = build(case, key_cfg)
    legacy = nn.Module.register_backward_hook
    kinds = [
        nn.Module.register_forward_hook,
        nn.Module.register_forward_pre_hook,
        nn.Module.register_full_backward_hook,
        nn.Module.register_full_backward_pre_hook,
        legacy,
    ]
    assert all(served(model, x, unit) for unit in units(case))
    for name, unit in modules_of(case, model):
        module = model.get_submodule(name)
        for register in kinds:
            handle = register(module, lambda *args: None)
            wanted = is_called(case, name) and register is not legacy
            assert served(model, x, unit) == wanted, (name, register)
            handle.remove()
            module._is_full_backward_hook = None
            assert served(model, x, unit), (name, register)
        module.forward = partial(module.forward)
        assert not served(model, x, unit), name
        others = [other for other in units(case) if other != unit]
        assert all(served(model, x, other) for other in others), name
        del module.forward
        assert served(model, x, unit), name


@every_pair
def test_every_module_is_heard(case, key_cfg, switch):
    """Hooks run as often as on the plain path, forward and backward, and see plain numbers."""
    model, x = build(case, key_cfg)
    seen = []
    for name, _ in modules_of(case, model):
        module = model.get_submodule(name)
        handles = [
            module.register_forward_pre_hook(lambda module, args: seen.append(args[0])),
            module.register_forward_hook(lambda module, args, out: seen.append(out)),
            module.register_full_backward_hook(lambda module, grads, outs: seen.append(outs[0])),
        ]
        found = []
        for switch[0] in (True, False):
            seen.clear()
            outs, grads = run(model, x)
            found.append([*outs, grads, *seen])
        for handle in handles:
            handle.remove()
        fused, plain = found
        assert len(fused) == len(plain), name
        assert len(seen) == 3 or name.endswith('attn_drop'), name  # PyTorch's attention drops
        assert max(error(a, b) for a, b in zip(fused, plain)) < TOLERANCE, name


def tamper_replace(model, name):
    put(model, name, Louder(model.get_submodule(name)))


def tamper_forward(model, name):
    module = model.get_submodule(name)
    module.forward = Louder(copy.copy(module)).forward


def tamper_class(model, name):
    module = model.get_submodule(name)
    kind = type(module)

    def forward(self, *args):
        return louder(kind.forward(self, *args))

    module.__class__ = type(f'Loud{kind.__name__}', (kind,), dict(forward=forward))


def tamper_parametrise(model, name):
    parametrize.register_parametrization(model.get_submodule(name), 'weight', Parametrisation())


def tamper_old_weight_norm(model, name):
    stretch(weight_norm(model.get_submodule(name)).weight_g)


def tamper_new_weight_norm(model, name):
    module = parametrizations.weight_norm(model.get_submodule(name))
    stretch(module.parametrizations.weight.original0)


def stretch(lengths):
    """Rows of another length each: one factor for all is lost in the next norm."""
    lengths.add_(torch.linspace(0, 1, lengths.numel(), device=DEVICE).view_as(lengths))


def tamper_kind_of_weight(model, name):
    """As quantised weights are put in: a tensor of another class, which computes by itself."""
    module = model.get_submodule(name)
    weight = louder(module.weight.detach()).as_subclass(type('Quantised', (torch.Tensor,), {}))
    module._parameters['weight'] = weight


TAMPERS = [tamper_replace, tamper_forward, tamper_class]
WEIGHT_TAMPERS = [
    tamper_parametrise,
    tamper_old_weight_norm,
    tamper_new_weight_norm,
    tamper_kind_of_weight,
]


@every_pair
@torch.no_grad()
def test_every_module_may_be_another(case, key_cfg, switch):
    """Numbers are those of the plain path, which follow what was done to the module."""
    stock, x = build(case, key_cfg)
    before = stock(x)
    for name, unit in modules_of(case, stock):
        module = stock.get_submodule(name)
        tampers = [] if is_called(case, name) or name == unit == 'patch_embed' else TAMPERS
        if isinstance(module._parameters.get('weight'), torch.Tensor):
            tampers = [*tampers, *WEIGHT_TAMPERS]
        for tamper in tampers:
            model = copy.deepcopy(stock)
            assert served(model, x, unit)  # what is found out now must not outlive the change
            tamper(model, name)
            # Kernels are a key's own affair: one that has none is called, its block is served.
            another_key = name.endswith('.key') and tamper is tamper_class
            another_key |= name.endswith('.key.act') and tamper in (tamper_replace, tamper_class)
            assert served(model, x, unit) == another_key, (name, tamper)
            if tamper not in (tamper_replace, tamper_parametrise) and not another_key:
                continue  # the block runs plain, as with these two
            outs = model(x)
            switch[0] = False
            wanted = model(x)
            switch[0] = True
            assert max(error(a, b) for a, b in zip(outs, wanted)) < TOLERANCE, (name, tamper)
            changed = max(error(a, b) for a, b in zip(outs, before)) > 2 * TOLERANCE
            assert changed or name.endswith('attn_drop'), (name, tamper)


@pytest.mark.parametrize(
    'arguments, training',
    [
        (dict(qk_norm=True), False),
        (dict(attn_drop=0.1), True),
        (dict(proj_drop=0.1), True),
        (dict(act_layer=partial(nn.GELU, approximate='tanh')), False),
        (dict(act_layer=nn.Tanh), False),
        (dict(scale_attn_norm=True), False),
        (dict(scale_mlp_norm=True), False),
        (dict(norm_layer=partial(nn.LayerNorm, bias=False)), False),
        (dict(norm_layer=getattr(nn, 'RMSNorm', None)), False),
        (dict(attn_layer=type('MyAttention', (Attention,), {})), False),
    ],
    ids=str,
)
def test_timm_arguments_that_the_kernels_do_not_know(arguments, training, switch):
    model, x = build('vit')
    torch.manual_seed(0)
    model.blocks[0] = ViTBlock(32, 2, **dict(dict(norm_layer=nn.LayerNorm), **arguments))
    model.to(DEVICE).train(training)
    assert not served(model, x, 'blocks.0')
    assert served(model, x, 'blocks.1')
    found = []
    for switch[0] in (True, False):
        torch.manual_seed(0)
        found.append(model(x))
    assert max(error(a, b) for a, b in zip(*found)) < TOLERANCE


def test_dropout_counts_while_it_is_active(switch):
    model, x = build('vit')
    dropout = model.blocks[0].mlp.drop1
    assert served(model, x, 'blocks.0')
    dropout.p = 0.5
    assert not served(model, x, 'blocks.0')
    model.eval()
    assert served(model, x, 'blocks.0')


def test_another_stochastic_depth(switch):
    model, x = build('vit')
    model.blocks[0].drop_path1 = DropPath(0.5)
    assert served(model, x, 'blocks.0')
    model.blocks[0].drop_path1.scale_by_keep = False
    assert not served(model, x, 'blocks.0')
    model.blocks[0].drop_path1 = nn.Dropout(0.5)
    assert not served(model, x, 'blocks.0')


class Halved(nn.Module):
    """A merging of one's own, with the arguments that a merging needs."""

    def forward(self, x):
        return torch.cat([x[:, ::2, ::2], x[:, ::2, ::2]], dim=-1)


class Stage(nn.Module):
    """A stage of one's own."""

    def __init__(self, stage):
        super().__init__()
        self.blocks, self.downsample = stage.blocks, stage.downsample

    def forward(self, x, with_cp):
        return louder(x)


@pytest.mark.parametrize('name', ['layers.0.blocks.1', 'layers.0.downsample', 'layers.0'])
def test_replaced_parts_are_called(name, switch):
    model, x = build('swin')
    if name == 'layers.0':
        put(model, name, Stage(model.layers[0]))
    elif name == 'layers.0.downsample':
        put(model, name, Halved())
    else:
        tamper_replace(model, name)
    found = []
    for switch[0] in (True, False):
        found.append(model(x))
    assert max(error(a, b) for a, b in zip(*found)) < TOLERANCE


def test_one_line_a_kind_and_reason(switch, monkeypatch):
    said = []
    monkeypatch.setattr(decision, 'print_log', lambda message, **kwargs: said.append(message))
    decision.report.cache_clear()
    model, x = build('vit')
    for block in model.blocks:
        block.mlp.register_forward_hook(lambda *args: None)
    for _ in range(2):
        model(x)
    model.blocks[0].attn.register_forward_hook(lambda *args: None)
    model(x)
    decision.report.cache_clear()
    assert len(said) == 2
    assert 'ViTBlock' in said[0] and "'mlp' has hooks" in said[0]
    assert "'attn' has hooks" in said[1]


@pytest.mark.parametrize('case', CASES)
def test_copies_decide_for_themselves(case, switch):
    model, x = build(case)
    block = CASES[case][2]
    model.get_submodule(block).mlp.register_forward_hook(lambda *args: None)
    assert not served(model, x, block)
    other = copy.deepcopy(model)
    other.get_submodule(block).mlp._forward_hooks.clear()
    assert served(other, x, block) and not served(model, x, block)


class Negated(SpatialK):
    """A key of one's own with the formula of another class below it."""

    def forward(self, x, grid=None, num_prefix_tokens=0):
        return -super().forward(x, grid, num_prefix_tokens)


class NegatedLinear(SimpleK):
    """As above, where the class it comes from can be read as one matrix."""

    def forward(self, x, grid=None, num_prefix_tokens=0):
        return -super().forward(x, grid, num_prefix_tokens)


@pytest.mark.parametrize('base', [True, False])
@pytest.mark.parametrize('kind, act', [(Negated, 'GELU'), (NegatedLinear, None)])
def test_a_forward_of_ones_own_class_is_called(kind, act, base, switch):
    act_cfg = None if act is None else dict(type=act)
    args = dict(num_charts=2, base=base, act_cfg=act_cfg)
    model, x = build('vit', dict(type=kind, **args))
    stock, _ = build('vit', dict(type=kind.__bases__[0], **args))
    stock.load_state_dict(model.state_dict())
    found = []
    for switch[0] in (True, False):
        found.append(model(x))
    assert max(error(a, b) for a, b in zip(*found)) < TOLERANCE
    assert max(error(a, b) for a, b in zip(found[0], stock(x))) > 2 * TOLERANCE


@pytest.mark.parametrize('case', CASES)
def test_a_block_that_broadcasts_context_runs_plain(case, switch, monkeypatch):
    """The others stay on the kernels, and the log says why this one does not."""
    said = []
    monkeypatch.setattr(decision, 'report', lambda kind, reason: said.append((kind, reason)))
    model, x = build(case, dict(type='KUA', num_charts=2))
    block, *others = units(case)
    assert served(model, x, block)
    model.get_submodule(block).context_broadcasting = True
    assert not served(model, x, block)
    assert all(served(model, x, other) for other in others)
    kind = type(model.get_submodule(block)).__name__
    assert said == [(kind, 'broadcasts context')]
    outs, grads = run(model, x)
    switch[0] = False
    wanted, wanted_grads = run(model, x)
    assert max(error(a, b) for a, b in zip(outs, wanted, strict=True)) < TOLERANCE
    assert error(grads, wanted_grads) < TOLERANCE
    model.get_submodule(block).context_broadcasting = False
    switch[0] = True
    assert served(model, x, block)


def test_memberships_are_observed_on_the_kernels_too(switch):
    """The same values and gradients as on the plain path, and no block leaves the kernels."""
    model, x = build('vit', dict(type='KUA', num_charts=2))
    key = model.get_submodule('blocks.0.attn.qkv.key')
    found = []
    for on in (True, False):
        switch[0] = on
        key.observed = []
        assert served(model, x, 'blocks.0') == on
        outs = model(x)
        (p,) = key.observed
        model.zero_grad()
        (p.square().sum() + sum(out.square().mean() for out in outs)).backward()
        found.append((p.detach(), key.gate.weight.grad, model.patch_embed.proj.weight.grad))
    for a, b in zip(*found, strict=True):
        assert error(a, b) < TOLERANCE


@pytest.mark.parametrize('case', CASES)
def test_tokens_are_observed_on_the_kernels_too(case, switch):
    """Once a pass, and no block leaves the kernels."""
    model, x = build(case, dict(type='KUA', num_charts=2))
    block = units(case)[0]
    qkv, seen = model.get_submodule(f'{block}.attn.qkv'), []
    qkv.observer = lambda layer, tokens: seen.append((layer, tokens.detach()))
    assert served(model, x, block)
    model(x)
    switch[0] = False
    model(x)
    assert [layer for layer, _ in seen] == [qkv, qkv]
    assert error(seen[0][1], seen[1][1]) < TOLERANCE
