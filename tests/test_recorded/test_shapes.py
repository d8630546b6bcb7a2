"""Which shapes are recorded, and what recordings may hold."""

import pytest
import torch

from ..test_kernels.small import error
from .common import CLOSE, CUDA, Graphs, amp, counts, images, loss_of, pair


def look_at(recorded, widths):
    with torch.no_grad(), amp():
        for width in widths:
            recorded(images((1, 3, 32, width)))
    return sorted(place[0][-1] for place in recorded.forward.recordings)


def test_recordings_of_what_comes_often_stay():
    _, recorded = pair(most=2)
    assert look_at(recorded, [48, 48, 40, 40, 48]) == [40, 48]
    assert counts() == (2, 3)
    # The third shape comes again and again, but no more than twice as often as another one.
    assert look_at(recorded, [32, 40] * 6) == [40, 48]
    assert counts() == (2, 9)
    assert look_at(recorded, [32]) == [32, 40]
    assert counts() == (3, 10)
    # and the one that has gone does not take its place back at once
    assert look_at(recorded, [48, 48]) == [32, 40]
    assert counts() == (3, 10)


def test_shapes_of_former_days_give_way(monkeypatch):
    monkeypatch.setattr('mkbackbones.recorded.often.HALVED_AFTER', 10)
    _, recorded = pair(most=1)
    look_at(recorded, [32] * 59)
    assert look_at(recorded, [24] * 20) == [24]


def test_a_larger_shape_makes_room_for_itself():
    plain, recorded = pair()
    assert look_at(recorded, [32, 32, 40, 40]) == [40]
    assert Graphs.made[0].freed if not CUDA else len(Graphs.made) == 2
    assert look_at(recorded, [32, 24, 24, 40]) == [24, 32, 40]
    assert len(Graphs.made) == 2
    for width in (24, 32, 40):
        x = images((1, 3, 32, width), width)
        with torch.no_grad(), amp():
            assert all(error(a, b) < CLOSE for a, b in zip(recorded(x), plain(x)))


def test_recordings_that_take_too_much_memory_are_given_up(monkeypatch):
    _, recorded = pair(memory=0.8)
    told = []
    monkeypatch.setattr(
        'mkbackbones.recorded.forward.print_log', lambda text, *_: told.append(text)
    )
    monkeypatch.setattr(Graphs, 'held', lambda self: 0.7 if self.recorded < 3 else 0.9)
    assert look_at(recorded, [24, 24]) == [24]
    assert look_at(recorded, [16, 16]) == [16, 24]
    assert look_at(recorded, [8, 8]) == []  # the third one is too much
    assert 'holds 90% of the GPU memory' in told[0] and 'memory=0.8' in told[0]
    assert look_at(recorded, [24, 16, 8, 24, 16, 8]) == []
    assert len(told) == 1
    assert look_at(recorded, [4, 4]) == [4]
    Graphs.made.clear()
    monkeypatch.setattr(Graphs, 'held', lambda self: 0.9)
    _, recorded = pair(memory=0.8)
    assert look_at(recorded, [24] * 5 + [16] * 5) == [] and counts() == (0, 0)
    assert len(told) == 2


def test_memory_that_is_only_kept_for_later_is_given_back_first(monkeypatch):
    _, recorded = pair(memory=0.8)
    monkeypatch.setattr(Graphs, 'held', lambda self: 0.7 if self.trimmed else 0.9)
    monkeypatch.setattr(Graphs, 'trim', lambda self: setattr(self, 'trimmed', True), raising=False)
    monkeypatch.setattr(Graphs, 'trimmed', False, raising=False)
    assert look_at(recorded, [24, 24]) == [24]


@pytest.mark.skipif(not CUDA, reason='asks for a GPU')
def test_recordings_share_their_memory():
    """Seven keep hardly more than one."""
    _, recorded = pair()
    kept = []
    for side in range(768, 544, -32):
        for _ in range(2):
            recorded.zero_grad()
            loss_of(recorded, images((4, 3, side, 768))).backward()
        torch.cuda.empty_cache()
        kept.append(torch.cuda.memory_reserved())
    assert len(recorded.forward.recordings) == len(kept) == 7
    torch.cuda.synchronize()
    recorded.forward.drop()
    recorded.zero_grad()
    without = torch.cuda.memory_reserved()
    assert kept[-1] - without < 1.3 * (kept[0] - without), [k - without for k in kept]
