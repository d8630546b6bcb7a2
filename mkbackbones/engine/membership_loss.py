"""A regulariser of KUA's memberships, for any model with such keys.

With p (n, H) the memberships of all tokens of a layer, in float32::

    mean      sum_h (mean_n p_nh - 1/H)^2       how unequally the charts are used (our definition)
    tokens    mean_n sum_h (p_nh - 1/H)^2       how far each token is from belonging to all alike

``mean`` is the squared maximum mean discrepancy of the memberships from uniform ones with the
kernel ``k(p, p') = <p, p'>``, which compares their means. ``tokens`` is ``q_loss`` in the code of
the Unbalanced Atlas (Meng et al., arXiv 2305.10267, github.com/mengli11235/DIM-UA), which takes 0.1
of it away: the atlas becomes unbalanced. Here the sign is that of the weight. The mean over layers
is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from ..arguments import short
from ..hints import did_you_mean
from ..keys import KUA
from ..registry import HOOKS
from .unwrapped import model_of

__all__ = ['MembershipLossHook', 'Of', 'add_membership_loss', 'membership_loss']

#: What is held against uniform memberships.
Of = Literal['mean', 'tokens']
NAME = 'loss_membership'


def membership_loss(p: Tensor, of: Of = 'mean') -> Tensor:
    """How far memberships are from uniform ones: from 0 to 1 - 1/H.

    Args:
        p (Tensor): Memberships (..., H).
        of (str): ``mean`` or ``tokens``, see above.

    Returns:
        Tensor: A scalar, float32 at least.
    """
    p = p.to(torch.promote_types(p.dtype, torch.float32)).flatten(0, -2)
    if of == 'mean':
        p = p.mean(0, keepdim=True)
    return (p - 1 / p.shape[-1]).square().sum(-1).mean()


class AddedLoss:
    """Adds the loss to what a model gives in training, as two hooks of its ``forward``.

    Args:
        keys (list[KUA]): The keys whose memberships count.
        weight (float): What the loss is multiplied by.
        of (str): See :func:`membership_loss`.
    """

    def __init__(self, keys: list[KUA], weight: float, of: Of) -> None:
        self.keys, self.weight, self.of = keys, weight, of

    def observe(self, model: nn.Module, args: tuple) -> None:
        """Forward pre-hook of the model."""
        for key in self.keys:
            key.observed = []

    def add(self, model: nn.Module, args: tuple, output: Any) -> None:
        """Forward hook of the model: an entry more among the losses."""
        observed = [key.observed or [] for key in self.keys]
        for key in self.keys:
            key.observed = None  # what is recomputed in the backward pass is not seen
        if not (model.training and isinstance(output, dict)):
            return
        found = [p for passes in observed for p in passes]
        if not found:
            raise RuntimeError(
                "the keys' memberships did not arrive at MembershipLossHook: the backbone is "
                'compiled (CompileBackboneHook), or in evaluation mode; leave one of the two out'
            )
        if torch.is_grad_enabled() and not all(
            p.requires_grad
            for key, passes in zip(self.keys, observed)
            for p in passes
            if key.gate.weight.requires_grad
        ):
            raise RuntimeError(
                'memberships have no gradients, as the backbone recomputes its blocks in the way '
                'of reentrant checkpoints: train it with with_cp=False, or take a backbone of '
                'mkbackbones, whose with_cp does without'
            )
        with torch.autocast(found[0].device.type, enabled=False):
            losses = torch.stack([membership_loss(p, self.of) for p in found])
            output[NAME] = self.weight * losses.mean()


def add_membership_loss(
    model: nn.Module, weight: float = 0.1, of: Of = 'mean'
) -> Callable[[], None]:
    """Let a model's losses have an entry ``loss_membership`` in training.

    Args:
        model (nn.Module): A model of mmengine: ``forward(mode='loss')`` gives a dict. Not wrapped
            for several GPUs.
        weight (float): What the loss is multiplied by; negative for unbalanced memberships.
        of (str): ``mean`` or ``tokens``, see :mod:`mkbackbones.engine.membership_loss`.

    Returns:
        Callable: Takes it away again.

    Raises:
        ValueError: An argument is not allowed, or the model has no KUA keys that are trained.
    """
    check_choices(weight, of)
    keys = [module for module in model.modules() if isinstance(module, KUA)]
    if not keys:
        raise ValueError(
            f'{type(model).__name__} has no KUA keys, whose memberships a loss could be of; give '
            "its backbone key_cfg=dict(type='KUA'), or leave MembershipLossHook out"
        )
    trained = [key for key in keys if key.gate.weight.requires_grad]
    if not trained:
        raise ValueError(f'all {len(keys)} KUA keys are frozen; leave MembershipLossHook out')
    added = AddedLoss(trained, weight, of)
    handles = [
        model.register_forward_pre_hook(added.observe),
        model.register_forward_hook(added.add),
    ]

    def remove() -> None:
        for handle in handles:
            handle.remove()

    return remove


def check_choices(weight: Any, of: Any) -> None:
    """Raise ValueError for a choice that is none."""
    is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not is_number or not math.isfinite(weight):
        raise ValueError(f'weight={short(weight)} is not allowed; it must be a number, e.g. 0.1')
    if of not in get_args(Of):
        choices = get_args(Of)
        raise ValueError(
            f'of={short(of)} is not allowed; choose from {", ".join(choices)}'
            f'{did_you_mean(str(of), choices)}'
        )


@HOOKS.register_module()
class MembershipLossHook(Hook):
    """Regularise KUA's memberships in training: an entry ``loss_membership`` among the losses.

    ``custom_hooks=[dict(type='mkbackbones.MembershipLossHook', weight=0.1)]`` pulls the charts to
    be used alike; ``weight=-0.1, of='tokens'`` pushes each token to few charts, as the Unbalanced
    Atlas does. For any model of mmdet, mmseg or mkbackbones; nothing is added at inference.

    With several GPUs, and with accumulated gradients, ``mean`` is that of the images that one
    process has at a time. Tokens that pad windows, and class and register tokens, count as others
    do. It does not go together with ``CompileBackboneHook``, nor with backbones of other libraries
    that recompute activations (``with_cp=True``), and says so.

    Args:
        weight (float): What the loss is multiplied by.
        of (str): ``mean`` or ``tokens``, see :mod:`mkbackbones.engine.membership_loss`.

    Raises:
        ValueError: An argument is not allowed; when training begins, also a model without KUA keys
            that are trained.
    """

    def __init__(self, weight: float = 0.1, of: Of = 'mean') -> None:
        check_choices(weight, of)
        self._weight: float = weight
        self._of: Of = of
        self._remove: Callable[[], None] | None = None

    def before_train(self, runner: Runner) -> None:
        """Add the loss."""
        model = model_of(runner)
        self._remove = add_membership_loss(model, self._weight, self._of)

    def after_train(self, runner: Runner) -> None:
        """Take it away again."""
        if self._remove is not None:
            self._remove()
            self._remove = None
