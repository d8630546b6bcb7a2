"""Training with a compiled backbone computes what training computes."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mkbackbones.engine.compile_backbone import CompileBackboneHook, CompiledForward

from ..lacking import needs_compiler
from .tiny import MANIFOLD_SWIN, detection_config, segmentation_config, train

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

pytestmark = needs_compiler
HOOK = dict(type='mkbackbones.CompileBackboneHook')
KEY = dict(type='KUA', num_charts=2)
SWIN = dict(MANIFOLD_SWIN, drop_path_rate=0.0, key_cfg=KEY)
VIT = dict(
    type='mkbackbones.ManifoldViT',
    arch=dict(embed_dims=16, depth=1, num_heads=2),
    pretrain_img_size=32,
    key_cfg=KEY,
)


def segmentation(images, work_dir, **changes):
    return segmentation_config(images, work_dir, VIT, channels=16, **changes)


@pytest.fixture
def graphs(monkeypatch):
    """The graphs that are compiled, without the compiler's own slow work on them."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, 'compile', partial(torch.compile, backend=backend))
    return graphs


def test_losses_and_weights_are_those_of_plain_training(images, tmp_path, graphs):
    plain = train(segmentation(images, tmp_path / 'a'))
    assert not graphs
    hooked = train(segmentation(images, tmp_path / 'b', custom_hooks=[HOOK]))
    assert graphs
    for here, there in zip(hooked.losses, plain.losses, strict=True):
        assert here == pytest.approx(there, rel=1e-5)
    theirs = plain.model.state_dict()
    for name, ours in hooked.model.state_dict().items():
        torch.testing.assert_close(ours, theirs[name], atol=1e-4, rtol=1e-4)
    assert 'forward' not in vars(hooked.model.backbone)


@pytest.mark.slow
def test_image_sizes_that_vary(images, tmp_path, graphs):
    config = detection_config(images, tmp_path, SWIN, max_iters=4, custom_hooks=[HOOK])
    assert len(train(config).losses) == 4 and graphs


def test_evaluation_is_not_compiled(graphs):
    module = nn.Linear(2, 2)
    forward = CompiledForward(module, cuda_graphs=False)
    with torch.no_grad():
        forward(torch.ones(1, 2))
    module.eval()
    forward(torch.ones(1, 2))
    assert not graphs
    module.train()
    forward(torch.ones(1, 2))
    assert len(graphs) == 1


def test_training_goes_on_where_compilation_fails(images, tmp_path, monkeypatch):
    def backend(graph, inputs):
        raise RuntimeError('there is no compiler')

    said = []
    monkeypatch.setattr(torch, 'compile', partial(torch.compile, backend=backend))
    monkeypatch.setattr(
        'mkbackbones.engine.compile_backbone.print_log', lambda text, **_: said.append(text)
    )
    runner = train(segmentation(images, tmp_path, custom_hooks=[HOOK]))
    assert len(runner.losses) == 2
    assert len(said) == 1 and 'ManifoldViT' in said[0] and 'there is no compiler' in said[0]


def test_an_error_of_the_backbone_stays_one(graphs):
    forward = CompiledForward(nn.Linear(2, 2), cuda_graphs=False)
    with pytest.raises(Exception, match='cannot be multiplied'):
        forward(torch.ones(1, 3))


def test_recorded_steps_do_not_accumulate(images, tmp_path):
    config = segmentation(
        images,
        tmp_path,
        **{
            'custom_hooks': [dict(HOOK, cuda_graphs=True)],
            'optim_wrapper.accumulative_counts': 2,
        },
    )
    with pytest.raises(ValueError, match='accumulative_counts=2'):
        train(config)


def test_a_model_without_a_backbone_is_named():
    runner = SimpleNamespace(model=nn.Linear(1, 1), optim_wrapper=None)
    with pytest.raises(ValueError, match='Linear has none'):
        CompileBackboneHook().before_train(runner)


@pytest.mark.slow
@pytest.mark.parametrize('cuda_graphs', [False, True])
def test_with_pytorchs_own_compiler(images, tmp_path, cuda_graphs):
    plain = train(segmentation(images, tmp_path / 'a'))
    hook = dict(HOOK, cuda_graphs=cuda_graphs)
    hooked = train(segmentation(images, tmp_path / 'b', custom_hooks=[hook]))
    for here, there in zip(hooked.losses, plain.losses, strict=True):
        assert here == pytest.approx(there, rel=1e-4)
