"""Adapters join the optimiser that there is, and change nothing where nothing is to be bridged."""

import pytest
import torch
from torch import nn

from mkbackbones.engine.distill_adapters import Adapters
from mkbackbones.engine.teacher import TeacherError


def optimizer_of(*settings):
    groups = [dict(params=[nn.Parameter(torch.zeros(3))], **each) for each in settings]
    return torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.05)


def maps(*widths, side=4):
    return [torch.randn(2, width, side, side) for width in widths]


@pytest.mark.parametrize('warming', [1.0, 0.1])
def test_they_join_the_group_that_is_as_the_optimiser_says(warming):
    optimizer = optimizer_of(
        dict(lr=1e-4), dict(weight_decay=0.0), dict(), dict(lr=1e-2), dict(lr=1e-4, weight_decay=0)
    )
    for group in optimizer.param_groups:  # as schedules leave it
        group['initial_lr'] = group['lr']
        group['lr'] *= warming
    adapters = Adapters(optimizer)
    found = adapters(maps(4, 6, 8), maps(5, 6, 7))
    assert [each.shape[1] for each in found] == [5, 6, 7]
    assert [len(group['params']) for group in optimizer.param_groups] == [1, 1, 5, 1, 1]
    assert [layer.weight.shape[:2] for layer in adapters.levels if hasattr(layer, 'weight')] == [
        (5, 4), (7, 8),
    ]  # fmt: skip


def test_what_is_alike_stays_as_it_is():
    adapters = Adapters(None)  # which nobody asks for anything
    for own, theirs in [
        (maps(4, 6), maps(4, 6)),
        (maps(4), maps(4, 6)),
        (maps(4), maps(6, side=5)),
        ([torch.zeros(2, 3)], [torch.zeros(2, 4)]),
    ]:
        state = torch.random.get_rng_state()
        assert adapters(own, theirs) is own
        assert torch.random.get_rng_state().equal(state)
    assert adapters.state() is None


def test_what_cannot_be_bridged_is_told():
    with pytest.raises(
        TeacherError, match=r'\[4\] and \[6\] channels.* a NoneType; set features=0'
    ):
        Adapters(None)(maps(4), maps(6))
    adapters = Adapters(optimizer_of(dict()))
    adapters(maps(4), maps(6))
    with pytest.raises(TeacherError, match=r'\[4\] and \[8\] channels.* made for \[4\] and \[6\]'):
        adapters(maps(4), maps(8))
