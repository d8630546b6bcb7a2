"""Passes in half precision are recorded; without a GPU, simulated recordings."""

from functools import partial

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

import mkbackbones
from mkbackbones.predict.passes import scope_of
from mkbackbones.recorded import RecordedForward

from ..test_engine.tiny import MANIFOLD_SWIN, STOCK_SWIN, segmentor
from ..test_recorded.simulated import SimulatedGraphs

pytest.importorskip('mmseg')


@pytest.fixture(autouse=True)
def simulated(monkeypatch):
    SimulatedGraphs.made.clear()
    monkeypatch.setattr(RecordedForward, 'is_on_kernels', lambda self, x: True)
    graphs = partial(RecordedForward, graphs=SimulatedGraphs)
    monkeypatch.setattr('mkbackbones.recorded.RecordedForward', graphs)


@pytest.fixture
def predictor(tmp_path):
    """Of a tiny segmentor with a backbone, in a precision."""
    torch.manual_seed(0)

    def build(backbone, amp):
        load = [dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]
        data = dict(type='BaseSegDataset', metainfo=dict(classes=('good', 'bad')), pipeline=load)
        cfg = Config(
            dict(
                default_scope='mmseg',
                model=segmentor(backbone),
                test_dataloader=dict(batch_size=4, dataset=data),
            )
        )
        file = tmp_path / f'{backbone["type"]}.pth'
        if not file.exists():
            with scope_of('mmseg'):
                torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), file)
        return mkbackbones.Predictor(cfg, file, device='cpu', amp=amp)

    return build


def pictures(count):
    rng = np.random.default_rng(0)
    return list(rng.integers(0, 255, (count, 64, 64, 3), dtype=np.uint8))


def test_what_is_found_is_what_is_found_without(predictor, monkeypatch):
    shown = pictures(20)
    recorded = predictor(MANIFOLD_SWIN, 'bf16')(shown)
    assert sum(graphs.replayed for graphs in SimulatedGraphs.made) == 2  # of five batches
    monkeypatch.setattr('mkbackbones.predict.predictor.record_passes', lambda model: None)
    plain = predictor(MANIFOLD_SWIN, 'bf16')(shown)
    for here, there in zip(recorded, plain, strict=True):
        assert here.score == there.score
        np.testing.assert_array_equal(here.class_map, there.class_map)


def test_full_precision_and_other_backbones_are_not(predictor):
    predictor(MANIFOLD_SWIN, None)(pictures(20))
    assert predictor(STOCK_SWIN, 'bf16')._recorded is None
    assert not SimulatedGraphs.made


def test_memory_that_does_not_do_ends_recordings(predictor, capsys):
    made = predictor(MANIFOLD_SWIN, 'bf16')
    made(pictures(16))
    assert isinstance(made.model.backbone.forward, RecordedForward)
    step = made.model.test_step

    def small(data):
        if len(data['inputs']) > 2:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory')
        return step(data)

    made.model.test_step = small
    assert len(made(pictures(4))) == 4
    assert 'batches of 2' in capsys.readouterr().err
    assert 'forward' not in vars(made.model.backbone)
