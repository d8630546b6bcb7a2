"""Half-precision copies of parameters: the values of now, in one piece of memory."""

import copy
import pickle

import pytest
import torch
from torch import nn

from mkbackbones.kernels.casts import HalfParameters, half_copies, half_qkv

CPU = torch.device('cpu')
HALF = torch.bfloat16


@pytest.fixture(autouse=True)
def no_graph():
    """Copies are made inside of nodes, or where there is no graph."""
    with torch.no_grad():
        yield


def parameters(*shapes: tuple[int, ...]) -> list[nn.Parameter]:
    return [nn.Parameter(torch.randn(shape)) for shape in shapes]


def run(halves: HalfParameters, tensors: list, dtype: torch.dtype = HALF) -> list:
    with halves.ready(HALF, CPU):
        return half_copies(dtype, *tensors)


def memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def assert_copies(copies: list, tensors: list, dtype: torch.dtype = HALF) -> None:
    for half, tensor in zip(copies, tensors, strict=True):
        assert half.dtype == dtype
        assert not half.requires_grad
        assert torch.equal(half, tensor.detach().to(dtype))


def test_the_second_pass_copies_all_at_once():
    halves, (weight, bias) = HalfParameters(), parameters((4, 6), (8,))
    first = run(halves, [weight, bias])
    second = run(halves, [weight, bias])
    for copies in (first, second):
        assert_copies(copies, [weight, bias])
    assert memory(first[0]) != memory(first[1])
    assert memory(second[0]) == memory(second[1])


def test_copies_follow_the_parameters():
    halves, tensors = HalfParameters(), parameters((4, 6), (8,))
    for step in range(4):
        assert_copies(run(halves, tensors), tensors)
        tensors[step % 2].add_(1)
        tensors[1].data = torch.randn(8)  # as averaged weights are swapped in


def test_a_change_during_a_pass_is_seen():
    halves, (weight,) = HalfParameters(), parameters((4, 6))
    run(halves, [weight])
    with halves.ready(HALF, CPU):
        assert_copies(half_copies(HALF, weight), [weight])
        weight.mul_(2)
        assert_copies(half_copies(HALF, weight), [weight])


@pytest.mark.parametrize('steps', [1, 3])
def test_thirds(steps):
    halves = HalfParameters()
    weight, key, bias, key_bias = parameters((8, 4), (4, 4), (8,), (4,))
    for _ in range(steps):
        with halves.ready(HALF, CPU):
            fused = half_qkv(HALF, weight, key), half_qkv(HALF, bias, key_bias)
            without = half_qkv(HALF, weight, None)
    q, v = weight.chunk(2)
    assert_copies(fused[:1], [torch.cat([q, key, v])])
    assert_copies(fused[1:], [torch.cat([bias[:4], key_bias, bias[4:]])])
    assert_copies([without], [torch.cat([q, torch.zeros(4, 4), v])])


def test_what_has_no_copy_ready():
    """Other types, sizes that would move others off their alignment, what is no parameter."""
    halves = HalfParameters()
    tensors = [*parameters((4, 6), (3,), (2, 4)), torch.randn(8), None]
    for _ in range(3):
        *copies, nothing = run(halves, tensors)
        assert nothing is None
        assert_copies(copies, tensors[:-1])
        assert copies[2].data_ptr() % 16 == 0
    assert_copies(run(halves, tensors[:3], torch.float16), tensors[:3], torch.float16)
    assert len(halves.known) == 0  # the last pass asked for none in its own type


def test_parameters_of_the_inference_mode():
    """They do not count their changes."""
    halves = HalfParameters()
    with torch.inference_mode():
        tensors = parameters((4, 6), (8,))
        for _ in range(2):
            assert_copies(run(halves, tensors), tensors)
            tensors[0].add_(1)
    ordinary = parameters((4, 6))
    for _ in range(2):
        with torch.inference_mode():
            assert_copies(run(halves, ordinary), ordinary)


def test_only_what_the_last_pass_asked_for_is_kept():
    halves, tensors = HalfParameters(), parameters((4, 6), (8,), (16,))
    run(halves, tensors)
    run(halves, tensors[:1])
    assert [parts[0] for parts in halves.known.values()] == tensors[:1]


def test_passes_within_passes():
    outer, inner, (a, b) = HalfParameters(), HalfParameters(), parameters((8,), (8,))
    for _ in range(2):
        with outer.ready(HALF, CPU):
            half_copies(HALF, a)
            with inner.ready(HALF, CPU):
                half_copies(HALF, b)
            half_copies(HALF, a)
    assert [parts[0] for parts in outer.known.values()] == [a]
    assert [parts[0] for parts in inner.known.values()] == [b]


def test_a_pass_that_fails_leaves_nothing_running():
    halves, (weight,) = HalfParameters(), parameters((8,))
    with pytest.raises(RuntimeError, match='broken'), halves.ready(HALF, CPU):
        raise RuntimeError('broken')
    half_copies(HALF, weight)
    assert not halves.known


@pytest.mark.parametrize('clone', [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copied_models_start_anew(clone):
    model = nn.Linear(8, 8)
    model.halves = HalfParameters()
    run(model.halves, [model.weight])
    other = clone(model)
    assert not other.halves.known
    other.weight.add_(1)
    for _ in range(2):
        assert_copies(run(other.halves, [other.weight]), [other.weight])
