"""Charts go to exact zero in training, to a budget; test_compress takes them out."""

import copy

import pytest
import torch
from torch import nn

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mkbackbones.engine import ChartSparsityHook
from mkbackbones.engine.chart_sparsity import ChartGroups
from mkbackbones.keys import ManifoldKey

from ..test_backbones.common import tiny_swin, tiny_vit
from .tiny import MANIFOLD_SWIN, segmentation_config, train, write_images

CHARTS = dict(type='SpatialK', num_charts=4)
SWIN = dict(MANIFOLD_SWIN, key_cfg=CHARTS, drop_path_rate=0.0)
#: Strong, as trainings are short here.
HOOK = dict(type='mkbackbones.ChartSparsityHook', keep=0.5, weight=20.0)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('tiny') / 'images')


def groups_of(model, lr=0.1):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    return ChartGroups(model, optimizer.param_groups)


def keys_of(model):
    return [module for module in model.modules() if isinstance(module, ManifoldKey)]


def zeros(key):
    """Charts of which every value is zero."""
    return (key.weight.flatten(1) == 0).all(1) & (key.bias == 0).all(1)


def zeros_of(runner):
    return sum(int(zeros(key).sum()) for key in keys_of(runner.model))


def test_the_proximal_step_is_that_of_the_group_lasso():
    """Against its definition: the minimum of ||g - g'||^2 / 2 + lr weight sqrt(n) ||g||."""
    model = tiny_swin(key_cfg=CHARTS)
    key = keys_of(model)[0]
    before = torch.cat([key.weight.flatten(1), key.bias], 1).detach().double()
    groups_of(model, lr=0.1).proximal_step(0.3)
    after = torch.cat([key.weight.flatten(1), key.bias], 1).detach().double()
    step = 0.1 * 0.3 * before.shape[1] ** 0.5
    for old, new in zip(before, after):
        guess = old.clone().requires_grad_()
        optimizer = torch.optim.LBFGS([guess], max_iter=200, line_search_fn='strong_wolfe')

        def closure(old=old, guess=guess, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (guess - old).square().sum() / 2 + step * (guess.square().sum() + 1e-24).sqrt()
            loss.backward()
            return loss

        optimizer.step(closure)
        torch.testing.assert_close(new, guess.detach(), atol=1e-4, rtol=1e-3)
    groups_of(model, lr=100.0).proximal_step(1.0)
    assert all(zeros(each).all() for each in keys_of(model))


@pytest.mark.parametrize('keep', [0.2, 0.5, 0.7])
@pytest.mark.parametrize('lr', [1.0, 100.0])
def test_no_more_go_than_the_budget_asks_for(keep, lr):
    """Charts of one block are alike at first: they would all go in a few steps."""
    model = tiny_swin(key_cfg=CHARTS)
    groups = groups_of(model, lr=lr)
    sizes = [block.norms() for block in groups.blocks]
    for _ in range(20):
        groups.proximal_step(1.0, keep)
    alive = groups.alive()
    one = max(block.flops for block in groups.blocks)
    whole = sum(len(block.key.weight) * block.flops for block in groups.blocks)
    assert keep - one / whole <= groups.share(alive) <= keep + 1e-6
    if lr == 100:  # all would go in one step: then the smallest have gone
        gone = max(float(s[~a].max()) for s, a in zip(sizes, alive) if (~a).any())
        assert gone <= min(float(s[a].min()) for s, a in zip(sizes, alive) if a.any())


def test_a_chart_at_zero_adds_nothing():
    model = tiny_swin(key_cfg=CHARTS)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    groups = groups_of(model)
    groups.cut(0.5)
    assert groups.share(groups.alive()) == pytest.approx(0.5, abs=0.02)
    for key in keys_of(model):
        z = key.each_chart(torch.randn(2, 16, key.embed_dims), (4, 4), 0)
        assert (z[..., zeros(key), :] == 0).all()


def test_the_last_chart_stays_without_a_base_chart():
    model = tiny_vit(key_cfg=dict(type='VanillaK', num_charts=3, base=False))
    groups = groups_of(model, lr=100.0)
    groups.proximal_step(1.0)
    assert all(zeros(key).sum() == 2 for key in keys_of(model))
    model = tiny_vit(key_cfg=dict(type='VanillaK', num_charts=3, base=False))
    groups_of(model).cut(0.0)
    assert all(zeros(key).sum() == 2 for key in keys_of(model))


@pytest.mark.parametrize('hook', [dict(HOOK, weight=0.0), dict(HOOK, keep=1.0)])
def test_without_weight_nothing_changes(hook, images, tmp_path):
    plain = train(segmentation_config(images, tmp_path / 'a', SWIN, max_iters=3))
    cfg = segmentation_config(images, tmp_path / 'b', SWIN, max_iters=3, custom_hooks=[hook])
    hooked = train(cfg)
    if hook['weight']:  # a weight without a goal only shrinks, and only until it has looked
        assert zeros_of(hooked) == 0
        return
    assert plain.losses == hooked.losses
    for a, b in zip(plain.model.state_dict().values(), hooked.model.state_dict().values()):
        assert a.equal(b)


@pytest.mark.parametrize(
    'wrapper', ['OptimWrapper', 'AmpOptimWrapper', 'mkbackbones.BFloat16OptimWrapper']
)
def test_it_steps_when_the_optimiser_does(wrapper, images, tmp_path, monkeypatch):
    """Two batches a step, under mixed precision as well."""
    if wrapper == 'AmpOptimWrapper' and not torch.cuda.is_available():
        pytest.skip('float16 training takes a GPU')
    steps = []
    own = ChartGroups.proximal_step
    monkeypatch.setattr(
        ChartGroups, 'proximal_step', lambda self, *args: steps.append(1) or own(self, *args)
    )
    changes = dict(optim_wrapper=dict(type=wrapper, accumulative_counts=2))
    hook = dict(HOOK, keep=0.0, weight=0.5, end=1.0)
    cfg = segmentation_config(
        images, tmp_path / 'a', SWIN, max_iters=6, custom_hooks=[hook], **changes
    )
    runner = train(cfg)
    assert len(steps) == 3
    assert all(zeros(key).all() for key in keys_of(runner.model))  # the end of the time
    assert all(p.isfinite().all() for p in runner.model.parameters())


def test_what_is_resumed_goes_on_as_it_would_have(images, tmp_path):
    hook = dict(HOOK, weight=40.0, keep=0.6, end=0.9)
    hooks = [dict(type='mkbackbones.ExactResumeHook'), hook]

    def run(folder, **changes):
        cfg = segmentation_config(
            images, tmp_path / folder, SWIN, max_iters=8, custom_hooks=copy.deepcopy(hooks)
        )
        cfg.default_hooks.checkpoint.interval = 4
        cfg.merge_from_dict(changes)
        return train(cfg)

    straight = run('a')
    resumed = run('b', resume=True, load_from=str(tmp_path / 'a/iter_4.pth'))
    assert straight.losses[4:] == resumed.losses and len(resumed.losses) == 4
    assert 0 < zeros_of(straight) < 20
    for a, b in zip(straight.model.state_dict().values(), resumed.model.state_dict().values()):
        assert a.equal(b)


@pytest.mark.parametrize(
    'key_cfg, told',
    [
        (dict(type='KUA', num_charts=2), 'memberships sum to one'),
        (dict(type='SimpleK', num_charts=2, act_cfg=dict(type='Sigmoid')), '0.5 at zero'),
        (dict(type='LinearK'), 'no keys with charts'),
        (None, 'no keys with charts'),
    ],
)
def test_models_without_such_charts_are_told(key_cfg, told):
    with pytest.raises(ValueError, match=told):
        groups_of(tiny_swin(key_cfg=key_cfg))


@pytest.mark.parametrize(
    'choice', [dict(keep=1.5), dict(keep='half'), dict(weight=-1), dict(end=2), dict(weight=True)]
)
def test_choices_that_are_none_are_told(choice):
    with pytest.raises(ValueError, match=next(iter(choice))):
        ChartSparsityHook(**choice)
