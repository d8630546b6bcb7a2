"""What is done for older releases gives the same in today's: each is forced."""

import copy
import importlib.util
import inspect
import pickle
import sys
from contextlib import contextmanager

import pytest
import timm
import torch
import torch.nn.functional as F
from mmengine.config import Config
from timm.models.eva import EvaBlock
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mkbackbones.backbones import ManifoldDINOv3
from mkbackbones.compat import blocks, graphs, modes, modules, operators, programs
from mkbackbones.compat.pictures import SparseImageFolder
from mkbackbones.engine.compile_backbone import CompileBackboneHook
from mkbackbones.kernels import support


def fresh(module):
    """Another copy of a module, imported now."""
    spec = importlib.util.find_spec(module.__name__)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_autocast_by_one_function_a_device(monkeypatch):
    with monkeypatch.context() as patch:  # autocast itself asks by it
        patch.delattr(torch, 'get_autocast_dtype', raising=False)
        older = fresh(modes)
    if hasattr(torch, 'get_autocast_dtype'):
        assert older.is_autocast_enabled is older.enabled_on
    for dtype in (torch.bfloat16, torch.float16):
        try:
            context = torch.autocast('cpu', dtype=dtype)
        except RuntimeError:
            continue
        with context:
            assert older.is_autocast_enabled('cpu') and not older.is_autocast_enabled('cuda')
            assert older.autocast_dtype('cpu') == dtype
            assert modes.is_autocast_enabled('cpu') and modes.autocast_dtype('cpu') == dtype
    assert not older.is_autocast_enabled('cpu')
    assert not older.is_autocast_enabled('xpu')


def test_compiling_and_exporting_without_their_names(monkeypatch):
    for name in ('is_compiling', '_is_exporting_flag'):
        monkeypatch.delattr(torch.compiler, name, raising=False)
    if hasattr(torch._utils, 'is_compiling'):
        older = fresh(modes)
        assert older.is_compiling is torch._utils.is_compiling
        assert not older.is_exporting()
    assert not modes.is_compiling()


def test_compiling_is_not_exporting():
    def asked(x):
        return x, modes.is_exporting()

    assert not torch.compile(asked, backend='eager', fullgraph=True)(torch.ones(1))[1]


@pytest.mark.skipif(not hasattr(torch.compiler, '_is_exporting_flag'), reason='an older PyTorch')
def test_exporting_is_seen():
    class Asks(nn.Module):
        def forward(self, x):
            return x + 1 if modes.is_exporting() else x

    program = torch.export.export(Asks(), (torch.ones(1),), strict=False)
    assert program.module()(torch.ones(1)) == 2


class Private(nn.Module):
    """A module of a release with the private registration alone."""

    register_load_state_dict_pre_hook = None

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 1)


class Public(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 1)


def note_first(module, state_dict, prefix, *args):
    module.seen = [('first', prefix, len(args), sorted(state_dict))]
    if f'{prefix}old' in state_dict:
        state_dict[f'{prefix}linear.weight'] = state_dict.pop(f'{prefix}old')


def note_second(module, state_dict, prefix, *args):
    module.seen.append(('second', prefix, len(args), sorted(state_dict)))


CLONES = [lambda x: x, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]


@pytest.mark.parametrize('clone', CLONES, ids=['itself', 'copy', 'pickle'])
@pytest.mark.parametrize('kind', [Private, Public])
def test_loading_hooks(kind, clone):
    """Both forms get the module, its own prefix, and run in the order of registration."""
    inner = kind()
    modules.add_load_hook(inner, note_first)
    handle = modules.add_load_hook(inner, note_second)
    outer = clone(nn.Sequential(nn.Identity(), inner))
    outer.load_state_dict({'1.old': torch.full((1, 1), 7.0), '1.linear.bias': torch.zeros(1)})
    assert outer[1].linear.weight.item() == 7
    assert outer[1].seen == [
        ('first', '1.', 5, ['1.linear.bias', '1.old']),
        ('second', '1.', 5, ['1.linear.bias', '1.linear.weight']),
    ]
    handle.remove()
    inner.load_state_dict(nn.Sequential(nn.Identity(), kind())[1].state_dict())
    assert [entry[0] for entry in inner.seen] == ['first']


def test_a_storage_is_watched_and_not_kept():
    tensor = torch.ones(8)
    watch = modules.StorageWeakRef(tensor.untyped_storage())
    view = tensor[2:]
    del tensor
    assert not watch.expired()
    del view
    assert watch.expired()


@contextmanager
def older_kernel(enable_flash, enable_mem_efficient, enable_math):
    """``torch.backends.cuda.sdp_kernel`` as it was; today's asks the module that is hidden."""
    cuda = torch.backends.cuda
    before = cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled()

    def switch(flash, efficient, math):
        cuda.enable_flash_sdp(flash)
        cuda.enable_mem_efficient_sdp(efficient)
        cuda.enable_math_sdp(math)

    switch(enable_flash, enable_mem_efficient, enable_math)
    yield
    switch(*before)


@pytest.mark.parametrize('older', [False, True])
def test_attention_is_counted(monkeypatch, older):
    if older:
        monkeypatch.setitem(sys.modules, 'torch.nn.attention', None)
        monkeypatch.setattr(torch.backends.cuda, 'sdp_kernel', older_kernel)
    q = torch.randn(1, 2, 8, 4)
    counter = FlopCounterMode(display=False)
    with modules.unfused_attention(), counter:
        F.scaled_dot_product_attention(q, q, q)
    assert counter.get_total_flops() == 2 * 2 * (2 * 8 * 8 * 4)


def test_kernels_without_operators(monkeypatch):
    monkeypatch.delattr(torch.library, 'custom_op', raising=False)
    assert 'torch.library.custom_op' in operators.why_no_operators()
    with pytest.raises(ImportError, match=r'torch.library.custom_op, which torch 2\.4 has'):
        operators.custom_op('mkbackbones::nothing')
    if support.triton is not None:
        assert 'custom_op' in fresh(support).missing


class Runner:
    """What the hook asks of a runner."""

    def __init__(self):
        self.model = nn.Module()
        self.model.backbone = nn.Linear(2, 2)
        self.optim_wrapper = None


@pytest.mark.parametrize('cuda_graphs', [False, True])
@pytest.mark.parametrize('name', ['compiler.is_compiling', 'library.custom_op'])
def test_training_goes_on_uncompiled(monkeypatch, cuda_graphs, name):
    place, entry = name.split('.')
    monkeypatch.delattr(getattr(torch, place), entry, raising=False)
    said = []
    monkeypatch.setattr(
        'mkbackbones.engine.compile_backbone.print_log', lambda text, **kwargs: said.append(text)
    )
    hook, runner = CompileBackboneHook(cuda_graphs), Runner()
    hook.before_train(runner)
    hook.before_train_iter(runner, 0)
    assert 'forward' not in vars(runner.model.backbone)
    hook.after_train(runner)
    assert len(said) == 1 and f'lacks torch.{name}' in said[0] and 'Linear' in said[0]
    assert f'torch.{name}' in graphs.why_not_compiled()


def without_rotations(self, dim, num_heads, qkv_bias=True):
    """The arguments of an older block."""


@pytest.fixture
def older_timm(monkeypatch):
    monkeypatch.setattr(EvaBlock, '__init__', without_rotations)
    monkeypatch.setattr(timm, '__version__', '0.9.16')


SENTENCE = r'ManifoldDINOv3 needs timm 1\.0\.20 or later, this is timm 0\.9\.16'


def test_one_family_needs_a_newer_timm(older_timm):
    from mkbackbones.registry import MODELS

    assert 'rotate_half' not in inspect.signature(EvaBlock.__init__).parameters
    for build in (
        lambda: ManifoldDINOv3('small'),
        lambda: MODELS.build(dict(type='mkbackbones.ManifoldDINOv3', arch='small')),
    ):
        with pytest.raises(ValueError, match=SENTENCE) as caught:
            build()
        assert str(caught.value).count('\n') == 0
    arch = dict(embed_dims=16, depth=1, num_heads=2)
    MODELS.build(dict(type='mkbackbones.ManifoldViT', arch=arch))


def test_a_swap_to_it_says_so(older_timm):
    from mkbackbones import swap_backbone

    pytest.importorskip('mmdet')
    from ..test_engine.tiny import STOCK_SWIN, faster_rcnn

    cfg = Config(dict(default_scope='mmdet', model=faster_rcnn(STOCK_SWIN)))
    with pytest.raises(ValueError, match=SENTENCE):
        swap_backbone(cfg, dict(type='mkbackbones.ManifoldDINOv3', arch='small'))


def test_a_profile_of_it_says_so(older_timm):
    from mkbackbones.profiling.build import build_backbone
    from mkbackbones.profiling.spec import parse_spec

    with pytest.raises(ValueError, match=SENTENCE):
        build_backbone(parse_spec('dinov3-s/SpatialK'), (64, 64))


def test_this_timm_has_its_blocks_or_says_so():
    assert bool(blocks.why_no_dinov3()) == (
        'rotate_half' not in inspect.signature(EvaBlock.__init__).parameters
    )


def test_classes_without_images(tmp_path):
    for name in ('a/1.png', 'a/0.PNG', 'a/x/2.png', 'a/notes.txt', 'c/3.png'):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b'')
    (tmp_path / 'b').mkdir()
    folder = SparseImageFolder(str(tmp_path))
    found = [(path.removeprefix(f'{tmp_path}/'), label) for path, label in folder.samples]
    assert found == [('a/0.PNG', 0), ('a/1.png', 0), ('a/x/2.png', 0), ('c/3.png', 2)]
    assert folder.classes == ['a', 'b', 'c']


@pytest.mark.skipif(not hasattr(torch, 'export'), reason='an older PyTorch')
def test_programs_of_a_release_without_guards():
    class Older:
        def __init__(self, program):
            self.program = program

        def module(self):
            return programs.without_guards(self.program)

    size = torch.export.Dim('size', min=1, max=64)
    program = torch.export.export(
        nn.Softmax(1), (torch.rand(2, 8),), dynamic_shapes=({1: size},), strict=False
    )
    values = torch.rand(2, 5)
    for one in (program, Older(program)):
        assert torch.equal(programs.without_guards(one)(values), values.softmax(1))
