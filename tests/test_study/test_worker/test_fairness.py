"""Arms of one seed: the same first batch, heads and draws, bit by bit."""

import random

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook

from mkbackbones.study.define.plan import Run
from mkbackbones.study.define.spec import read_study
from mkbackbones.study.prepare.prepared import prepare_study
from mkbackbones.study.records.progress import Heartbeat
from mkbackbones.study.worker.fairness import start_like
from mkbackbones.study.worker.training import build_training

from ..tiny import write_study


class Spy(Hook):
    """Keeps the first weights, all batches, and a draw of the model in each iteration."""

    priority = 'LOWEST'

    def __init__(self):
        self.batches, self.draws = [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if not self.batches:
            self.start = {k: v.clone() for k, v in runner.model.state_dict().items()}
        self.batches.append(torch.stack(data_batch['inputs']))
        self.draws.append((random.random(), np.random.rand(), float(torch.rand(()))))  # noqa: NPY002
        if 'key_cfg' in runner.cfg.model.backbone:  # one arm draws more than the other
            random.random(), np.random.rand(9), torch.rand(9)  # noqa: NPY002


def trained(folder, workers, run, extra=''):
    prepared = prepare_study(read_study(write_study(folder, workers, extra)))
    work = folder / run.key
    work.mkdir(parents=True)
    cfg = prepared.config(run, 3)
    runner, _ = build_training(cfg, work, Heartbeat(work))
    spy = Spy()
    runner.register_hook(spy)
    runner.train()
    runner.train_loop.dataloader_iterator = None  # ends its workers now
    return spy


@pytest.mark.parametrize('workers', [0, 2])
def test_arms_of_a_seed_start_and_go_on_alike(tmp_path, workers):
    stock, spatial = (
        trained(tmp_path, workers, Run('main', 'classification', arm, 1))
        for arm in ('stock', 'spatial')
    )
    assert len(stock.batches) == 3
    for mine, other in zip(stock.batches, spatial.batches, strict=True):
        assert torch.equal(mine, other)
    assert stock.draws == spatial.draws and len(set(stock.draws)) == 3
    shared = stock.start.keys() & spatial.start.keys()
    assert {'head.weight', 'head.bias', 'backbone.patch_embed.proj.weight'} <= shared
    for name in shared:
        assert torch.equal(stock.start[name], spatial.start[name]), name
    # The stock key is there, too, as the base chart.
    qkv = stock.start['backbone.layers.0.blocks.0.attn.qkv.weight']
    base = next(
        v for k, v in spatial.start.items() if k.endswith('0.blocks.0.attn.qkv.key.base.weight')
    )
    assert torch.equal(qkv.chunk(3)[1], base)


def test_seeds_differ(tmp_path):
    first, second = (
        trained(tmp_path, 0, Run('main', 'classification', 'stock', seed)) for seed in (0, 1)
    )
    assert not torch.equal(first.batches[0], second.batches[0])
    assert not torch.equal(first.start['head.weight'], second.start['head.weight'])
    assert set(first.draws).isdisjoint(second.draws)


def test_start_like_leaves_what_only_the_arm_has():
    model, baseline = (torch.nn.ModuleDict(dict(backbone=torch.nn.Linear(2, 2))) for _ in range(2))
    model['head'], baseline['head'] = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)
    model['own'], baseline['other'] = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    own, backbone = model['own'].weight.clone(), model['backbone'].weight.clone()
    start_like(model, baseline, with_backbone=False)
    assert torch.equal(model['head'].weight, baseline['head'].weight)
    assert torch.equal(model['own'].weight, own)
    assert torch.equal(model['backbone'].weight, backbone)
    start_like(model, baseline, with_backbone=True)
    assert torch.equal(model['backbone'].weight, baseline['backbone'].weight)
