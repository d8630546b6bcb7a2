"""Training with recorded passes computes what training computes; without a GPU, simulated ones."""

from functools import partial
from types import SimpleNamespace

import pytest
from torch import nn

import mkbackbones.engine.record_backbone as record_backbone
from mkbackbones.engine import CompileBackboneHook, RecordBackboneHook
from mkbackbones.recorded import RecordedForward

from ..test_recorded.simulated import SimulatedGraphs
from .tiny import MANIFOLD_SWIN, detection_config, segmentation_config, train

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

HOOK = dict(type='mkbackbones.RecordBackboneHook', after=1)
KEY = dict(type='KUA', num_charts=2)
SWIN = dict(MANIFOLD_SWIN, drop_path_rate=0.2, key_cfg=KEY)


@pytest.fixture(autouse=True)
def simulated(monkeypatch):
    """Recordings of the plain path, on a CPU too."""
    SimulatedGraphs.made.clear()
    monkeypatch.setattr(RecordedForward, 'is_on_kernels', lambda self, x: True)
    graphs = partial(RecordedForward, graphs=SimulatedGraphs)
    monkeypatch.setattr(record_backbone, 'RecordedForward', graphs)


@pytest.mark.parametrize('counts', [1, 2])
@pytest.mark.parametrize('config', [detection_config, segmentation_config])
def test_trains_as_without(config, counts, images, tmp_path):
    changes = {'max_iters': 6, 'optim_wrapper.accumulative_counts': counts}
    plain = train(config(images, tmp_path / 'a', SWIN, **changes))
    assert not SimulatedGraphs.made
    hooked = train(config(images, tmp_path / 'b', SWIN, custom_hooks=[HOOK], **changes))
    assert sum(graphs.replayed for graphs in SimulatedGraphs.made) > 4
    for here, there in zip(hooked.losses, plain.losses, strict=True):
        assert here == pytest.approx(there, rel=1e-4)
    assert 'forward' not in vars(hooked.model.backbone)


def runner_of(backbone, *hooks):
    model = nn.Module()
    model.backbone = backbone
    return SimpleNamespace(model=model, hooks=list(hooks))


def test_backbones_of_others_and_compiled_ones_are_left_alone(monkeypatch):
    from ..test_kernels.small import small_swin

    told = []
    monkeypatch.setattr(record_backbone, 'print_log', lambda text, *_: told.append(text))
    runners = [runner_of(nn.Linear(1, 1)), runner_of(small_swin(None), CompileBackboneHook())]
    for runner in runners:
        hook = RecordBackboneHook()
        hook.before_run(runner)
        assert 'forward' not in vars(runner.model.backbone)
        hook.after_run(runner)
    assert 'Module.backbone, a Linear, runs without recordings' in told[0]
    assert 'CompileBackboneHook runs it' in told[1]
