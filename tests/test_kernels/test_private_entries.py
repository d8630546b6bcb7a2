"""Releases that lack a private entry: the same results, and one line that says so."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mkbackbones.compat import private as compat

from ..lacking import needs_operators
from .small import DEVICE, DTYPE, INTERPRETED, TOLERANCE, error, filled, run, small_vit


@pytest.fixture(autouse=True)
def said(monkeypatch):
    """Nothing looked up yet; what the log gets."""
    lines = []
    monkeypatch.setattr(compat, 'print_log', lambda message, **kwargs: lines.append(message))
    found = compat.report, compat.entry, compat.can_watch, compat.counts_changes
    found = *found, compat.global_hooks
    for function in found:
        function.cache_clear()
    yield lines
    monkeypatch.undo()
    for function in found:
        function.cache_clear()


def hide(monkeypatch, path):
    """Let nothing lie at a path."""
    find = compat.find
    monkeypatch.setattr(compat, 'find', lambda p: None if p.startswith(path) else find(p))


def test_what_is_not_there():
    assert compat.find('torch._foreach_copy_') is torch._foreach_copy_
    assert compat.find('torch._C._no_such_entry') is None
    assert compat.find('torch._no_such_module.entry') is None


PATHS = ['torch._foreach_copy_', 'torch._C._nn.unflatten_dense_tensors']


@needs_operators
@pytest.mark.parametrize('path', [*PATHS, None])
def test_models_without_an_entry(monkeypatch, switch, said, path):
    pytest.importorskip('triton')
    if path is None:
        monkeypatch.setattr(compat, 'counts_changes', lambda: False)
        monkeypatch.setattr('mkbackbones.kernels.casts.counts_changes', lambda: False)
    else:
        hide(monkeypatch, path)
    torch.manual_seed(0)
    model = filled(small_vit(dict(type='VanillaK', num_charts=2)))
    x = torch.randn(1, 3, 32, 32, device=DEVICE)
    for _ in range(2):  # the second pass has copies ready
        outs, grads = run(model, x)
    assert [path in line for line in said] == ([] if path is None else [True])
    assert bool(model.halves.known) == (path is not None)
    switch[0] = False
    wanted, wanted_grads = run(model, x, torch.float32)
    assert max(error(a, b) for a, b in zip(outs, wanted)) < TOLERANCE
    assert error(grads, wanted_grads) < 3 * TOLERANCE


def test_tensors_that_do_not_count_changes(monkeypatch, said):
    monkeypatch.setattr(compat.torch, 'empty', lambda *size: object())
    assert not compat.counts_changes() and not compat.counts_changes()
    assert len(said) == 1 and '_version' in said[0]


@pytest.mark.parametrize(
    'name', [*compat.HOOKS, *compat.PARTS, *(path.split('.')[-1] for path in compat.GLOBAL_HOOKS)]
)
def test_modules_that_cannot_be_watched_run_plain(monkeypatch, said, name):
    if name.startswith('_global'):
        hide(monkeypatch, f'torch.nn.modules.module.{name}')
    else:
        own = {key: value for key, value in nn.Module().__dict__.items() if key != name}
        other = SimpleNamespace(Module=lambda: SimpleNamespace(**own))
        monkeypatch.setattr(compat, 'nn', other)
    assert not compat.can_watch() and not compat.can_watch()
    assert len(said) == 1 and name in said[0] and 'without their kernels' in said[0]


@needs_operators
def test_what_runs_plain_is_right(monkeypatch, switch):
    """Hooks run although nobody could look for them."""
    torch.manual_seed(0)
    model = filled(small_vit(dict(type='VanillaK', num_charts=2)))
    x = torch.randn(1, 3, 32, 32, device=DEVICE)
    outs, _ = run(model, x)
    for place in ('compat.private', 'kernels.support', 'fused.exact'):
        monkeypatch.setattr(f'mkbackbones.{place}.can_watch', lambda: False)
    seen = []
    model.blocks[0].attn.qkv.key.base.register_forward_hook(lambda *args: seen.append(args))
    again, _ = run(model, x)
    assert len(seen) == 1
    assert max(error(a, b) for a, b in zip(again, outs)) < 2 * TOLERANCE


def test_backward_passes_that_are_not_seen(monkeypatch, said):
    hide(monkeypatch, 'torch._C._current_graph_task_id')
    assert not compat.in_backward()
    assert len(said) == 1


def test_backward_passes_are_seen():
    seen = [compat.in_backward()]
    x = torch.ones(1, requires_grad=True)
    x.register_hook(lambda grad: seen.append(compat.in_backward()))
    x.sum().backward()
    assert seen == [False, True]


class Compiled:
    """A compiled kernel of another Triton, which cannot be called."""

    def __getitem__(self, grid):
        raise TypeError('takes other arguments')


def test_kernels_that_cannot_be_started_directly(said):
    pytest.importorskip('triton')
    direct = compat.DirectLaunch()
    assert not direct(Compiled(), (1, 1, 1), [])
    assert not direct.works
    assert len(said) == 1 and "Triton's way" in said[0]


@pytest.mark.parametrize('version, works', [('3.5.1', False), ('3.6.0', True), ('4.0.0+git', True)])
def test_releases_of_triton(monkeypatch, version, works):
    triton = pytest.importorskip('triton')
    monkeypatch.setattr(triton, '__version__', version)
    assert compat.DirectLaunch().works == works


def test_triton_without_compiled_kernels(monkeypatch, said):
    pytest.importorskip('triton')
    hide(monkeypatch, 'triton.compiler.CompiledKernel')
    assert not compat.DirectLaunch().works
    assert len(said) == 1


@pytest.mark.skipif(INTERPRETED, reason='kernels are started directly on a GPU alone')
@pytest.mark.parametrize('broken', ['version', 'call'])
def test_tritons_own_way_gives_the_same(monkeypatch, broken):
    from mkbackbones.kernels import launch
    from mkbackbones.kernels.norm import layer_norm

    norm, x = nn.LayerNorm(24).to(DEVICE), torch.randn(7, 24, device=DEVICE)
    with torch.no_grad():
        wanted = [layer_norm(x, norm, DTYPE) for _ in range(2)][-1]
        if broken == 'version':
            monkeypatch.setattr(launch.direct, 'works', False)
        else:
            monkeypatch.setattr(launch.direct, 'works', True)
            others = dict.fromkeys(launch.compiled_kernels, Compiled())
            monkeypatch.setattr(launch, 'compiled_kernels', others)
        for _ in range(2):
            assert torch.equal(layer_norm(x, norm, DTYPE), wanted)
    assert not launch.direct.works
