"""KUA's memberships against their formula in float64, and as a loss of any model."""

import pytest
import torch
from mmengine.structures import BaseDataElement

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mkbackbones.backbones import ManifoldSwin
from mkbackbones.classification import ImageClassifier
from mkbackbones.engine import MembershipLossHook, add_membership_loss
from mkbackbones.engine.membership_loss import membership_loss
from mkbackbones.keys import KUA

from ..lacking import needs_compiler
from ..test_inject.trees import disturb_keys
from .tiny import (
    MANIFOLD_SWIN,
    STOCK_SWIN,
    detection_config,
    segmentation_config,
    train,
    write_images,
)

KUA_SWIN = dict(MANIFOLD_SWIN, key_cfg=dict(type='KUA', num_charts=3), drop_path_rate=0.0)
HOOK = dict(type='mkbackbones.MembershipLossHook', weight=0.5)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('tiny') / 'images')


def classifier(backbone=KUA_SWIN, seed=0):
    torch.manual_seed(seed)
    backbone = dict(backbone)
    if 'Swin' in backbone['type']:
        backbone['out_indices'] = (3,)
    model = ImageClassifier(backbone, num_classes=2, in_channels=64)
    disturb_keys(model)
    return model.train()


def batch(count=2, seed=1):
    torch.manual_seed(seed)
    samples = [BaseDataElement() for _ in range(count)]
    for i, sample in enumerate(samples):
        sample.gt_label = torch.tensor(i % 2)
    return torch.randn(count, 3, 40, 56), samples


def literal(p, of):
    """Entry by entry, in float64."""
    p = p.detach().double().flatten(0, -2)
    tokens, charts = p.shape
    if of == 'mean':
        return sum((sum(p[:, h].tolist()) / tokens - 1 / charts) ** 2 for h in range(charts))
    each = [sum((value - 1 / charts) ** 2 for value in row) for row in p.tolist()]
    return sum(each) / tokens


@pytest.mark.parametrize('of', ['mean', 'tokens'])
def test_the_formula(of):
    torch.manual_seed(0)
    p = torch.randn(2, 7, 4, dtype=torch.float64).softmax(-1)
    assert float(membership_loss(p, of)) == pytest.approx(literal(p, of), rel=1e-12)
    assert torch.autograd.gradcheck(
        lambda x: membership_loss(x.softmax(-1), of),
        torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True),
    )
    uniform, single = torch.full((5, 4), 0.25), torch.eye(4)[[1, 1, 1]]
    assert float(membership_loss(uniform, of)) == 0
    assert float(membership_loss(single, of)) == pytest.approx(0.75)
    one_each = float(membership_loss(torch.eye(4), of))
    assert one_each == pytest.approx(0.0 if of == 'mean' else 0.75)


@pytest.mark.parametrize('of', ['mean', 'tokens'])
def test_it_is_the_mean_over_layers_of_what_the_keys_give(of):
    model = classifier()
    memberships = []
    for module in model.modules():
        if isinstance(module, KUA):
            module.gate.register_forward_hook(
                lambda gate, args, out: memberships.append(out.softmax(-1))
            )
    remove = add_membership_loss(model, 0.3, of)
    inputs, samples = batch()
    found = model(inputs, samples, 'loss')
    wanted = 0.3 * sum(literal(p, of) for p in memberships) / len(memberships)
    assert len(memberships) == 5
    assert float(found['loss_membership']) == pytest.approx(wanted, rel=1e-5)
    assert list(found) == ['loss', 'acc', 'loss_membership']
    remove()
    assert list(model(inputs, samples, 'loss')) == ['loss', 'acc']


def test_nothing_is_added_at_inference():
    model = classifier()
    add_membership_loss(model)
    inputs, samples = batch()
    assert 'loss_membership' in model(inputs, samples, 'loss')
    model.eval()
    assert 'loss_membership' not in model(inputs, samples, 'loss')
    assert isinstance(model(inputs), torch.Tensor)
    assert all(m.observed is None for m in model.modules() if isinstance(m, KUA))


def gradients(model, inputs, samples):
    losses = model(inputs, samples, 'loss')
    (losses['loss'] + losses['loss_membership']).backward()
    return [p.grad for p in model.parameters()]


def test_recomputed_blocks_give_the_same_gradients():
    found = []
    for with_cp in (False, True):
        model = classifier(dict(KUA_SWIN, with_cp=with_cp))
        add_membership_loss(model, 3.0)
        found.append(gradients(model, *batch()))
        found.append(gradients(model, *batch()))  # accumulated: nothing is left over
    for a, b in zip(found[1], found[3], strict=True):
        torch.testing.assert_close(a, b)


def test_reentrant_checkpoints_are_refused():
    backbone = dict(
        type='mkbackbones.ManifoldKeyBackbone',
        backbone=dict(STOCK_SWIN, type='mmdet.SwinTransformer', with_cp=True),
        key_cfg=dict(type='KUA', num_charts=2),
    )
    model = classifier(backbone)
    add_membership_loss(model)
    inputs, samples = batch()
    with pytest.raises(RuntimeError, match='with_cp=False'):
        model(inputs.requires_grad_(), samples, 'loss')


@pytest.mark.parametrize('build', [detection_config, segmentation_config])
@pytest.mark.parametrize('wrapper', ['OptimWrapper', 'mkbackbones.BFloat16OptimWrapper'])
def test_detectors_and_segmentors(build, wrapper, images, tmp_path):
    cfg = build(
        images,
        tmp_path,
        KUA_SWIN,
        custom_hooks=[HOOK],
        optim_wrapper=dict(type=wrapper, accumulative_counts=2),
    )
    runner = train(cfg)
    for losses in runner.losses:
        assert 0 < losses['loss_membership'] < 0.5
        parts = [v for name, v in losses.items() if 'loss' in name and name != 'loss']
        assert losses['loss'] == pytest.approx(sum(parts), rel=2e-2)
    assert not runner.model._forward_hooks


def test_the_passes_of_chart_info_are_not_counted(images, tmp_path):
    losses = []
    for name, hooks in dict(
        alone=[HOOK], both=[HOOK, dict(type='mkbackbones.ChartInfoHook')]
    ).items():
        cfg = segmentation_config(images, tmp_path / name, KUA_SWIN, custom_hooks=hooks)
        losses.append([each['loss_membership'] for each in train(cfg).losses])
    assert losses[0] == losses[1]


def mean_membership(model, inputs):
    with torch.no_grad():
        memberships = []
        handles = [
            m.gate.register_forward_hook(lambda g, a, out: memberships.append(out.softmax(-1)))
            for m in model.modules()
            if isinstance(m, KUA)
        ]
        model(inputs)
    for handle in handles:
        handle.remove()
    return memberships


@pytest.mark.parametrize('of, weight', [('mean', 1.0), ('tokens', 1.0), ('tokens', -1.0)])
def test_training_moves_memberships(of, weight):
    model = classifier()
    inputs, samples = batch()
    before = [float(membership_loss(p, of)) for p in mean_membership(model, inputs)]
    remove = add_membership_loss(model, weight, of)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(25):
        optimizer.zero_grad()
        losses = model(inputs, samples, 'loss')
        (losses['loss'] + losses['loss_membership']).backward()
        optimizer.step()
    remove()
    after = [float(membership_loss(p, of)) for p in mean_membership(model, inputs)]
    if weight > 0:
        assert sum(after) < 0.2 * sum(before)
    else:
        assert sum(after) > 1.2 * sum(before)


@pytest.mark.parametrize(
    'arguments, said',
    [
        (dict(weight='much'), "weight='much' is not allowed"),
        (dict(weight=float('nan')), 'weight=nan'),
        (dict(of='token'), "of='token' is not allowed.*did you mean 'tokens'"),
    ],
)
def test_what_is_wrong_is_said(arguments, said):
    with pytest.raises(ValueError, match=said):
        MembershipLossHook(**arguments)


def test_models_without_memberships_are_told():
    stock = ManifoldSwin(MANIFOLD_SWIN['arch'])
    with pytest.raises(ValueError, match='ManifoldSwin has no KUA keys'):
        add_membership_loss(stock)
    frozen = ManifoldSwin(MANIFOLD_SWIN['arch'], KUA_SWIN['key_cfg'], frozen_stages=4)
    with pytest.raises(ValueError, match='all 5 KUA keys are frozen'):
        add_membership_loss(frozen)


@needs_compiler
def test_a_compiled_backbone_is_refused():
    model = classifier()
    model.backbone.compile(backend='eager')
    add_membership_loss(model)
    with pytest.raises(RuntimeError, match='the backbone is compiled'):
        model(*batch(), 'loss')
