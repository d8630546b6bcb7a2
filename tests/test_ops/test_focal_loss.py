"""Focal losses against the definition, differentiated by autograd."""

import pytest
import torch
import torch.nn.functional as F

GAMMAS_ALPHAS = [(2.0, 0.25), (0.0, 0.5), (1.5, 0.8), (0.5, 0.25)]


def inputs(device, classes=5, background=True):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(12, classes, generator=generator, dtype=torch.float64) * 3
    target = torch.randint(0, classes + background, (12,), generator=generator)
    weight = torch.rand(classes, generator=generator, dtype=torch.float64) + 0.5
    return logits.to(device), target.to(device), weight.to(device)


def sigmoid_formula(logits, target, gamma, alpha, weight=None):
    """-alpha_t (1 - p_t)^gamma log(p_t), with p_t the probability given to the truth."""
    truth = F.one_hot(target, logits.shape[1] + 1)[:, :-1]
    prob = torch.where(truth == 1, logits.sigmoid(), 1 - logits.sigmoid())
    factor = torch.where(truth == 1, alpha, 1 - alpha)
    loss = -factor * (1 - prob) ** gamma * prob.log()
    if weight is not None:
        loss = loss * torch.cat((weight, weight.new_ones(1)))[target][:, None]
    return loss


def softmax_formula(logits, target, gamma, alpha, weight=None):
    prob = logits.softmax(1).gather(1, target[:, None])[:, 0]
    loss = -alpha * (1 - prob) ** gamma * prob.log()
    return loss if weight is None else loss * weight[target]


# Not softmax with 'none': mmcv multiplies the (N, C) gradient by the (N,) one of the losses, which
# fails on compiled operators, too.
@pytest.mark.parametrize(
    'kind, reduction',
    [
        ('sigmoid', 'none'),
        ('sigmoid', 'mean'),
        ('sigmoid', 'sum'),
        ('softmax', 'mean'),
        ('softmax', 'sum'),
    ],
)
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('gamma, alpha', GAMMAS_ALPHAS)
def test_value_and_gradient(mmcv_ops, kind, gamma, alpha, weighted, reduction, device):
    logits, target, weight = inputs(device, background=kind == 'sigmoid')
    weight = weight if weighted else None
    formula = sigmoid_formula if kind == 'sigmoid' else softmax_formula
    operator = getattr(mmcv_ops, f'{kind}_focal_loss')

    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    expected = formula(theirs, target, gamma, alpha, weight)
    expected = {
        'none': expected,
        'mean': expected.sum() / len(logits),  # mmcv divides by the rows, not by the logits
        'sum': expected.sum(),
    }[reduction]
    loss = operator(ours, target, gamma, alpha, weight, reduction)
    torch.testing.assert_close(loss, expected)
    direction = torch.randn(loss.shape, dtype=loss.dtype, device=device)
    loss.backward(direction)
    expected.backward(direction)
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize('kind', ['sigmoid', 'softmax'])
def test_extreme_logits_stay_finite(mmcv_ops, kind, device):
    logits = torch.tensor([[60.0, -60.0], [-60.0, 60.0], [120.0, 100.0]], device=device)
    logits.requires_grad_()
    target = torch.tensor([0, 0, 1], device=device)
    loss = getattr(mmcv_ops, f'{kind}_focal_loss')(logits, target, 2.0, 0.25, None, 'sum')
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()


def test_loss_of_a_confident_mistake_does_not_saturate(mmcv_ops, device):
    logits = torch.tensor([[30.0]], device=device)
    background = torch.tensor([1], device=device)
    loss = mmcv_ops.sigmoid_focal_loss(logits, background, 2.0, 0.25, None, 'none')
    torch.testing.assert_close(loss, torch.full_like(logits, 0.75 * 30))


def test_softmax_ignores_negative_targets(mmcv_ops, device):
    logits, target, weight = inputs(device, background=False)
    target[3:6] = -1
    logits.requires_grad_()
    loss = mmcv_ops.softmax_focal_loss(logits, target, 2.0, 0.25, weight, 'sum')
    rows = target >= 0
    expected = softmax_formula(logits[rows], target[rows], 2.0, 0.25, weight).sum()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert (logits.grad[3:6] == 0).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('kind', ['sigmoid', 'softmax'])
def test_half_precision(mmcv_ops, kind, dtype, device):
    logits, target, _ = inputs(device, background=False)
    logits = logits.to(dtype)
    formula = sigmoid_formula if kind == 'sigmoid' else softmax_formula
    expected = formula(logits.double(), target, 2.0, 0.25).sum()
    loss = getattr(mmcv_ops, f'{kind}_focal_loss')(logits, target, 2.0, 0.25, None, 'sum')
    assert loss.dtype == dtype
    torch.testing.assert_close(loss.double(), expected, rtol=0.02, atol=0)


def test_no_rows(mmcv_ops, device):
    logits = torch.zeros(0, 4, device=device, requires_grad=True)
    target = torch.zeros(0, dtype=torch.long, device=device)
    loss = mmcv_ops.sigmoid_focal_loss(logits, target, 2.0, 0.25, None, 'sum')
    loss.backward()
    assert loss == 0 and logits.grad.shape == (0, 4)
