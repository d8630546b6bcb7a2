"""Recorded passes give what passes give: with CUDA graphs, or without a GPU, simulated ones."""

import gc

import pytest
import torch
from torch import nn

from mkbackbones.engine import RecordBackboneHook
from mkbackbones.kernels import support

from ..test_kernels.small import INTERPRETED, error, small_swin, small_vit
from .common import CLOSE, CUDA, DEVICE, SHAPES, Graphs, amp, counts, images, loss_of, pair

KEYS = [None, dict(type='SpatialK', num_charts=2), dict(type='KUA', num_charts=2)]


@pytest.mark.parametrize('build', [small_swin, small_vit])
@pytest.mark.parametrize('key', KEYS, ids=['stock', 'SpatialK', 'KUA'])
def test_losses_and_gradients_of_many_steps(build, key):
    plain, recorded = pair(build, key, drop=0.3)
    optimizers = [torch.optim.AdamW(m.parameters(), lr=1e-3) for m in (plain, recorded)]
    for step in range(8):
        x = images(SHAPES[step % 2], step)
        losses = []
        for model, optimizer in zip((plain, recorded), optimizers):
            optimizer.zero_grad()
            torch.manual_seed(step)
            loss = loss_of(model, x)
            loss.backward()
            losses.append(loss.detach())
        for (name, p), q in zip(plain.named_parameters(), recorded.parameters()):
            assert (p.grad is None) == (q.grad is None), name
            assert p.grad is None or error(q.grad, p.grad) < CLOSE, (name, step)
        assert error(losses[1], losses[0]) < CLOSE
        for optimizer in optimizers:
            optimizer.step()
        if CUDA:  # rounding would add up
            recorded.load_state_dict(plain.state_dict())
    recordings, replays = counts()
    assert recordings == 4 and replays == 2 * 6


def drawn_after(model, x, step):
    """Random numbers behind a step, which draws some, too."""
    torch.manual_seed(step)
    loss_of(model, x).backward()
    return torch.rand(3, device=DEVICE)


def test_random_numbers_are_those_of_plain_passes():
    plain, recorded = pair(drop=0.5)
    plain.train(), recorded.train()
    x = images(SHAPES[0])
    for step in range(4):
        assert torch.equal(*[drawn_after(model, x, step) for model in (plain, recorded)])


@pytest.mark.parametrize('to_none', [True, False])
def test_gradients_add_up(to_none):
    plain, recorded = pair()
    optimizers = [torch.optim.SGD(m.parameters(), lr=1e-3) for m in (plain, recorded)]
    for _ in range(4):
        for model, optimizer in zip((plain, recorded), optimizers):
            optimizer.zero_grad(set_to_none=to_none)
            for part in range(3):
                loss_of(model, images(SHAPES[0], part)).backward()
        for p, q in zip(plain.parameters(), recorded.parameters()):
            assert error(q.grad, p.grad) < CLOSE
    assert counts()[1] > 20


def test_inference_keeps_what_it_gave():
    plain, recorded = pair()
    plain.eval(), recorded.eval()
    with torch.no_grad(), amp():
        found = [recorded(images(SHAPES[0], seed)) for seed in range(4)]
        wanted = [plain(images(SHAPES[0], seed)) for seed in range(4)]
    for ours, theirs in zip(found, wanted):
        assert all(error(a, b) < CLOSE for a, b in zip(ours, theirs))
    assert counts() == (1, 3)


def test_some_maps_are_not_used():
    plain, recorded = pair()
    x = images(SHAPES[0])
    for _ in range(3):
        for model in (plain, recorded):
            model.zero_grad()
            with amp():
                model(x)[0].float().sum().backward()
    for p, q in zip(plain.parameters(), recorded.parameters()):
        theirs = torch.zeros_like(p) if p.grad is None else p.grad
        ours = torch.zeros_like(p) if q.grad is None else q.grad
        assert error(ours, theirs) < CLOSE


def test_a_pass_that_waits_for_its_backward_pass_is_left_alone():
    plain, recorded = pair()
    x, y = images(SHAPES[0]), images(SHAPES[0], 1)
    for _ in range(2):
        loss_of(recorded, x).backward()
    for model in (plain, recorded):
        model.zero_grad()
        first = loss_of(model, x)
        second = loss_of(model, y)
        (first + 2 * second).backward()
    for p, q in zip(plain.parameters(), recorded.parameters()):
        assert error(q.grad, p.grad) < CLOSE
    before = counts()[1]
    loss = loss_of(recorded, x)
    assert counts()[1] == before + 1
    with torch.no_grad(), amp():
        recorded(y)
    assert counts()[1] == before + 1
    del loss
    gc.collect()
    loss_of(recorded, x)
    assert counts()[1] == before + 2


def test_former_passes_may_be_held():
    """As a loop does that keeps its last loss, or DistributedDataParallel."""
    plain, recorded = pair()
    held = []
    for step in range(5):
        for model in (plain, recorded):
            model.zero_grad()
            held.append(loss_of(model, images(SHAPES[0], step)))
            held[-1].backward()
        for p, q in zip(plain.parameters(), recorded.parameters()):
            assert error(q.grad, p.grad) < CLOSE
    assert counts() == (2, 8)


@pytest.mark.skipif(not CUDA, reason='asks for a GPU: what is simulated minds no garbage')
def test_recordings_that_are_garbage_do_no_harm():
    x = images(SHAPES[0])
    for _ in range(3):
        _, former = pair()  # a circle: its forward pass knows it
        loss_of(former, x).backward()
        loss_of(former, x).backward()
        assert former.forward.recordings
    del former
    _, recorded = pair()
    often = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(2):
            loss_of(recorded, x).backward()
    finally:
        gc.set_threshold(*often)
    assert recorded.forward.recordings and not recorded.forward.told


@pytest.mark.skipif(not INTERPRETED, reason='on a GPU all tests here run on the kernels')
@pytest.mark.parametrize('build, key', [(small_swin, KEYS[1]), (small_vit, KEYS[2])])
def test_the_kernels_are_recorded(build, key, monkeypatch):
    pytest.importorskip('triton')
    monkeypatch.setattr(support, 'fused_dtype', lambda x: torch.float32)
    plain, recorded = pair(build, key)
    for step in range(2):
        for model in (plain, recorded):
            model.zero_grad()
            loss_of(model, images((1, 3, 16, 32), step)).backward()
        for (name, p), q in zip(plain.named_parameters(), recorded.parameters()):
            assert (p.grad is None) == (q.grad is None), name
            assert p.grad is None or error(q.grad, p.grad) < 1e-5, name
    assert counts() == (2, 2)


def test_the_backward_pass_runs_once():
    _, recorded = pair()
    x = images(SHAPES[0])
    loss_of(recorded, x).backward()
    loss = loss_of(recorded, x)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match='runs once'):
        loss.backward()


def test_weights_that_change_and_weights_that_move():
    plain, recorded = pair()
    x = images(SHAPES[0])

    def same():
        with torch.no_grad(), amp():
            assert all(error(a, b) < CLOSE for a, b in zip(recorded(x), plain(x)))

    for _ in range(3):
        same()
    assert counts()[0] == 1
    with torch.no_grad():
        for model in (plain, recorded):
            model.norm0.weight.mul_(3)
    same()
    assert counts()[0] == 1
    for model in (plain, recorded):
        model.norm0.weight.data = torch.full_like(model.norm0.weight, 5.0)
    same()
    for model in (plain, recorded):
        model.norm1.weight = nn.Parameter(torch.full_like(model.norm1.weight, 7.0))
    same()
    assert counts()[0] == 3


def test_frozen_weights_and_modes():
    plain, recorded = pair(drop=0.5)
    x = images(SHAPES[0])
    for freeze in (False, True):
        for model in (plain, recorded):
            model.patch_embed.requires_grad_(not freeze)
        for mode in (True, False, True):
            for model in (plain, recorded):
                model.train(mode)
            for step in range(3):
                for model in (plain, recorded):
                    model.zero_grad()
                    torch.manual_seed(step)
                    loss_of(model, x).backward()
                for (name, p), q in zip(plain.named_parameters(), recorded.parameters()):
                    assert (p.grad is None) == (q.grad is None), name
                    assert p.grad is None or error(q.grad, p.grad) < CLOSE


def test_whoever_listens_hears_every_pass():
    _, recorded = pair(key=KEYS[1])
    x = images(SHAPES[0])
    for _ in range(2):
        loss_of(recorded, x).backward()
    heard = []
    handle = recorded.layers[0].blocks[0].mlp.register_forward_hook(lambda *_: heard.append(1))
    for _ in range(3):
        loss_of(recorded, x).backward()
    assert len(heard) == 3
    handle.remove()
    layer = recorded.layers[0].blocks[0].attn.qkv
    layer.observer = lambda *_: heard.append(2)
    for _ in range(3):
        loss_of(recorded, x).backward()
    assert heard[3:] == [2, 2, 2]
    layer.observer = None
    before = counts()[1]
    loss_of(recorded, x).backward()
    assert counts()[1] == before + 2


def test_what_cannot_be_recorded_runs_plain(monkeypatch):
    plain, recorded = pair()
    told = []
    monkeypatch.setattr(
        'mkbackbones.recorded.forward.print_log', lambda text, *_: told.append(text)
    )

    def refuse(self, run):
        run()
        raise RuntimeError('out of memory')

    monkeypatch.setattr(Graphs, 'record', refuse)
    x = images(SHAPES[0])
    for _ in range(5):
        for model in (plain, recorded):
            model.zero_grad()
            loss_of(model, x).backward()
    for p, q in zip(plain.parameters(), recorded.parameters()):
        assert error(q.grad, p.grad) < CLOSE
    assert len(told) == 1 and 'out of memory' in told[0]


def test_images_with_gradients_and_inference_mode():
    plain, recorded = pair()
    grads = []
    for model in (plain, recorded):
        for _ in range(4):
            x = images(SHAPES[0]).requires_grad_()
            loss_of(model, x).backward()
        grads.append(x.grad)
    assert error(*grads) < CLOSE
    with torch.inference_mode(), amp():
        for _ in range(4):
            recorded(images(SHAPES[0]))
    assert counts() == (0, 0)


class Noise(nn.Module):
    def forward(self, x):
        return x


def test_modules_of_others_are_not_recorded():
    _, recorded = pair()
    recorded.layers[0].blocks[0].mlp.act = Noise()
    for _ in range(4):
        loss_of(recorded, images(SHAPES[0])).backward()
    assert counts() == (0, 0)


def test_wrong_arguments_are_told():
    for name in ('after', 'most', 'memory'):
        with pytest.raises(ValueError, match=name):
            RecordBackboneHook(**{name: -1})


@pytest.mark.parametrize('most', [1, 2])
def test_recordings_go_and_come(most):
    plain, recorded = pair(most=most)
    for step in range(10):
        x = images(SHAPES[step // 2 % 2], step)
        for model in (plain, recorded):
            model.zero_grad()
            loss_of(model, x).backward()
        for p, q in zip(plain.parameters(), recorded.parameters()):
            assert error(q.grad, p.grad) < CLOSE
        if step == 5:  # all recordings are of weights that are elsewhere now
            recorded.cpu().to(DEVICE)
    assert counts()[1] > 6


@pytest.mark.skipif(not CUDA, reason='asks for a GPU: a CPU draws random numbers anywhere')
def test_random_numbers_are_drawn_after_a_failed_recording():
    plain, recorded = pair(drop=0.5)
    x = images(SHAPES[0])
    forward, waits = recorded.forward.plain, True

    def waiting(x):
        maps = forward(x)
        if waits and torch.cuda.is_current_stream_capturing():
            maps[0].sum().item()  # no graph has that
        return maps

    recorded.forward.plain = waiting
    for step in range(4):
        assert torch.equal(*[drawn_after(model, x, step) for model in (plain, recorded)])
    assert not recorded.forward.recordings
    waits = False
    recorded.forward.refused.clear()
    for step in range(4):
        plain.zero_grad(), recorded.zero_grad()
        assert torch.equal(*[drawn_after(model, x, step) for model in (plain, recorded)])
        for p, q in zip(plain.parameters(), recorded.parameters()):
            assert p.grad is None or error(q.grad, p.grad) < CLOSE
    assert recorded.forward.recordings, recorded.forward.told
