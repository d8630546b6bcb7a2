"""Stochastic depth that is drawn for all blocks at once."""

import pytest
import torch
from timm.layers import DropPath
from torch import nn

from mkbackbones.backbones.branches import draw_all_scales, draw_scales


def block(*rates):
    module = nn.Module()
    module.drop_path1, module.drop_path2 = (DropPath(r) if r else nn.Identity() for r in rates)
    return module


@pytest.mark.parametrize('draw', [lambda b, x: draw_all_scales([b], x)[0], draw_scales])
def test_scales_are_those_of_drop_path(draw):
    """Zero or the inverse of the share that is kept, which is its mean."""
    torch.manual_seed(0)
    x = torch.zeros(20000, 1)
    never, often = draw(block(0.0, 0.25), x)
    assert never is None
    assert often.shape == (20000,) and often.dtype == torch.float32
    assert often.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert often.mean() == pytest.approx(1, abs=0.02)


def test_each_block_and_branch_has_its_rate():
    torch.manual_seed(0)
    blocks = [block(0.0, 0.1), block(0.2, 0.0), block(0.3, 0.4)]
    scales = draw_all_scales(blocks, torch.zeros(20000, 1))
    dropped = [[None if s is None else float((s == 0).float().mean()) for s in p] for p in scales]
    assert dropped[0][0] is dropped[1][1] is None
    found = [dropped[0][1], dropped[1][0], *dropped[2]]
    assert found == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.02)


def test_nothing_is_dropped_in_evaluation():
    module = block(0.5, 0.5).eval()
    assert draw_all_scales([module], torch.zeros(2, 1)) == [(None, None)]


def test_everything_can_be_dropped():
    first, _ = draw_all_scales([block(1.0, 0.0)], torch.zeros(8, 1))[0]
    assert torch.equal(first, torch.zeros(8))
