"""MergedGroupsConstructor against mmengine's own."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.optim import build_optim_wrapper

from mkbackbones.engine.merged_groups import merge_groups

from ..test_backbones.common import tiny_swin

OPTIONS = [
    dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    dict(custom_keys={'stages.0': dict(lr_mult=0.1), 'bias_table': dict(decay_mult=0.0)}),
    dict(norm_decay_mult=0.0, bias_lr_mult=2.0, bypass_duplicate=True),
    {},
]


def optimizer_of(model, constructor, options):
    cfg = dict(
        optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
        constructor=constructor,
        paramwise_cfg=options,
    )
    return build_optim_wrapper(model, cfg).optimizer


@pytest.mark.parametrize('options', OPTIONS)
def test_same_settings_same_steps(options):
    model = tiny_swin(key_cfg=dict(type='SpatialK', num_charts=2))
    next(model.parameters()).requires_grad_(False)
    other = copy.deepcopy(model)
    theirs = optimizer_of(model, 'DefaultOptimWrapperConstructor', options)
    ours = optimizer_of(other, 'mkbackbones.MergedGroupsConstructor', options)
    if options:
        assert len(ours.param_groups) <= 6 < len(theirs.param_groups)

    def of_each(optimizer, module):
        names = {id(p): name for name, p in module.named_parameters()}
        return {
            names[id(p)]: {k: v for k, v in group.items() if k != 'params'}
            for group in optimizer.param_groups
            for p in group['params']
        }

    assert of_each(ours, other) == of_each(theirs, model)
    for step in range(3):
        torch.manual_seed(step)
        for a, b in zip(model.parameters(), other.parameters()):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        theirs.step()
        ours.step()
    for a, b in zip(model.parameters(), other.parameters()):
        assert a.equal(b)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.sampled_from([None, (0.9, 0.95)]))))
def test_nothing_is_lost_and_the_order_stays(kinds):
    groups = [
        dict(params=[i], lr=lr, **({} if betas is None else dict(betas=betas)))
        for i, (lr, betas) in enumerate(kinds)
    ]
    merged = merge_groups(copy.deepcopy(groups))
    assert sorted(p for group in merged for p in group['params']) == list(range(len(kinds)))
    assert len(merged) == len(set(kinds))
    firsts = [group['params'][0] for group in merged]
    assert firsts == sorted(firsts)
    for group in merged:
        assert group['params'] == sorted(group['params'])
        for number in group['params']:
            assert dict(group, params=[number]) == groups[number]
    assert merge_groups(copy.deepcopy(merged)) == merged
