"""SimpleFeaturePyramid."""

import pytest
import torch

from mkbackbones.necks import SimpleFeaturePyramid


@pytest.mark.parametrize('size', [(4, 6), (1, 1), (7, 5)])
@pytest.mark.parametrize('num_outs', [4, 5, 6])
def test_scales(size, num_outs):
    neck = SimpleFeaturePyramid(16, 8, num_outs)
    outs = neck((torch.randn(2, 16, *size),))
    height, width = size
    wanted = [(4 * height, 4 * width), (2 * height, 2 * width), size]
    wanted.append((-(-height // 2), -(-width // 2)))
    for _ in range(num_outs - 4):
        wanted.append(tuple(-(-side // 2) for side in wanted[-1]))
    assert [tuple(out.shape) for out in outs] == [(2, 8, *side) for side in wanted]


@pytest.mark.parametrize('start_level', range(4))
@pytest.mark.parametrize('num_outs', [1, 2, 5])
def test_start_level_leaves_out_the_finest(start_level, num_outs):
    features = (torch.randn(1, 16, 4, 6),)
    whole = SimpleFeaturePyramid(16, 8, start_level + num_outs)
    part = SimpleFeaturePyramid(16, 8, num_outs, start_level)
    part.stages.load_state_dict(whole.stages[start_level:].state_dict())
    for a, b in zip(part(features), whole(features)[start_level:], strict=True):
        torch.testing.assert_close(a, b)


def test_maps_are_contiguous():
    """As those of other necks are: heads take views of them."""
    neck = SimpleFeaturePyramid(in_channels=8, out_channels=4, num_outs=5)
    assert all(out.is_contiguous() for out in neck((torch.randn(2, 8, 4, 5),)))


def test_gradients_reach_every_parameter_from_the_last_map():
    neck = SimpleFeaturePyramid([4, 8, 16], 8, 4)
    sum((o * torch.randn_like(o)).sum() for o in neck((None, torch.randn(1, 16, 4, 4)))).backward()
    assert all(p.grad.any() for p in neck.parameters())


@pytest.mark.parametrize(
    ('args', 'word'),
    [
        (dict(in_channels=6), 'multiple of 4'),
        (dict(num_outs=0), 'num_outs=0'),
        (dict(start_level=4), 'start_level=4'),
        (dict(start_level=-1), 'start_level=-1'),
    ],
)
def test_wrong_input(args, word):
    with pytest.raises(ValueError, match=word):
        SimpleFeaturePyramid(**{**dict(in_channels=16), **args})
