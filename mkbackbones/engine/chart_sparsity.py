"""Charts that training itself makes superfluous: a group lasso with a budget.

The group of chart h is what its map is made of, ``g_h = (W_h, b_h)``, of n values: at zero the
chart is zero, whatever Gamma, a convolution or the projection behind it are. After each step of the
optimiser comes the proximal step of ``weight * sum_h sqrt(n) ||g_h||``, which is exact::

    g_h <- g_h * max(0, 1 - lr * weight * sqrt(n) / ||g_h||)

with the learning rate of ``W_h``. No gradient of the loss changes, so that mixed precision,
clipping and accumulated gradients are as they were. A chart at zero stays there. As soon as no more
charts are left than the budget allows, the others are left alone; and at the share ``end`` of the
training the smallest ones go that are still too many. (The schedule and the budget are our
definition, the group lasso is Yuan and Lin's, 2006.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from torch import Tensor, nn

from ..arguments import check, number
from ..attention.inject import manifold_layers
from ..keys import KUA, ManifoldKey
from ..registry import HOOKS
from .unwrapped import model_of

__all__ = ['ChartGroups', 'ChartSparsityHook']

WEIGHT, SHARE = number(0, 1e6), number(0, 1)
#: Iterations between two looks at whether the budget is met.
INTERVAL = 20
#: Where the message hub, which checkpoints hold, says that it is.
MET = 'chart_sparsity_met'


@dataclass
class Block:
    """One key's charts.

    Args:
        name (str): Of its layer.
        key (ManifoldKey): The key.
        flops (float): What one chart's map costs, relative to those of other blocks.
        rate (dict): The optimiser's group of the charts' weights, which has their ``lr``.
    """

    name: str
    key: Any
    flops: float
    rate: dict

    @property
    def size(self) -> int:
        """Values of one chart."""
        return self.key.weight[0].numel() + self.key.bias[0].numel()

    def norms(self) -> Tensor:
        """Root mean square of each chart's values by their first one: (H,); about 1 at first."""
        key = self.key
        squares = key.weight.flatten(1).square().sum(1) + key.bias.square().sum(1)
        return squares.sqrt() * (key.embed_dims / self.size) ** 0.5


class ChartGroups:
    """The charts of a model that is trained, as groups of parameters.

    Args:
        model (nn.Module): The model, not wrapped for several GPUs.
        groups (list[dict]): The optimiser's parameter groups.

    Raises:
        ValueError: It has no charts that can be taken to zero.
    """

    def __init__(self, model: nn.Module, groups: list[dict]) -> None:
        rates = {id(p): group for group in groups for p in group['params']}
        self.blocks: list[Block] = []
        reasons = []
        for name in manifold_layers(model):
            key: Any = model.get_submodule(name).key
            if not isinstance(key, ManifoldKey):
                continue
            reason = why_not(key, rates)
            if reason is not None:
                reasons.append(f'{name} {reason}')
                continue
            flops = key.weight[0].numel()
            self.blocks.append(Block(name, key, flops, rates[id(key.weight)]))
        if not self.blocks:
            raise ValueError(
                f'ChartSparsityHook finds no charts that it can take to zero: '
                f'{reasons[0] if reasons else "the model has no keys with charts"}; leave it out'
            )
        self.left_out = reasons

    @torch.no_grad()
    def alive(self) -> list[Tensor]:
        """Which charts are not zero, (H,) of each block."""
        # What is not a number is not zero: whoever looks for it has to find it.
        return [block.norms() != 0 for block in self.blocks]

    def share(self, alive: list[Tensor]) -> float:
        """Share of the operations of the charts' maps that is left."""
        left = sum(float(a.sum()) * block.flops for a, block in zip(alive, self.blocks))
        return left / sum(len(a) * block.flops for a, block in zip(alive, self.blocks))

    @torch.no_grad()
    def proximal_step(self, weight: float, keep: float = 0.0) -> None:
        """Shrink all charts. The largest one of a key without a base chart is left alone.

        Charts go, the smallest first, while more than the share ``keep`` is left.
        """
        norms = [block.norms() for block in self.blocks]
        factors = []
        for block, each in zip(self.blocks, norms):
            # In units of the norms: lr * weight * sqrt(n) of a norm of sqrt(n / C).
            step = block.rate['lr'] * weight * block.key.embed_dims**0.5
            shrunk = (1 - step / each.clamp(min=1e-30)).clamp(min=0)
            if block.key.base is None:
                shrunk[each.argmax()] = 1
            factors.append(shrunk)
        spared = self.too_many(torch.cat(norms), torch.cat(factors), keep)
        counts = [len(each) for each in norms]
        for block, shrunk, stays in zip(self.blocks, factors, spared.split(counts)):
            scale(block.key, torch.where(stays, 1.0, shrunk))

    def too_many(self, norms: Tensor, factors: Tensor, keep: float) -> Tensor:
        """Which charts of all blocks must not go now, as enough others do; nothing is waited for.

        Args:
            norms (Tensor): Of all charts, one block after the other.
            factors (Tensor): By what they are to be multiplied.
            keep (float): Share of the operations that may stay.
        """
        flops = torch.cat([norms.new_full((len(b.key.weight),), b.flops) for b in self.blocks])
        alive = norms != 0
        going = alive & (factors == 0)
        order = torch.where(going, norms, torch.inf).argsort()
        of_going = torch.where(going, flops, 0.0)[order]
        left = (flops * alive).sum() - (of_going.cumsum(0) - of_going)  # before each goes
        enough = left <= (keep + 1e-6) * flops.sum()
        return going & torch.zeros_like(going).scatter(0, order, enough)

    @torch.no_grad()
    def cut(self, keep: float) -> None:
        """Set the smallest charts to zero until no larger share is left."""
        alive = self.alive()
        sizes = [block.norms().tolist() for block in self.blocks]
        order = sorted(
            (size, index, chart)
            for index, each in enumerate(sizes)
            for chart, size in enumerate(each)
            if size > 0
        )
        for _, index, chart in order:
            if self.share(alive) <= keep + 1e-9:
                break
            if self.blocks[index].key.base is None and alive[index].sum() == 1:
                continue
            alive[index][chart] = False
        self.hold(alive)

    @torch.no_grad()
    def hold(self, alive: list[Tensor]) -> None:
        """Set all other charts to zero."""
        for block, which in zip(self.blocks, alive):
            scale(block.key, which)


def scale(key: Any, factors: Tensor) -> None:
    """Multiply each chart (H,) in place; with False or zero it is zero whatever it was."""
    factors = factors.to(key.weight)
    for parameter in (key.weight, key.bias):
        by = factors.view(-1, *[1] * (parameter.dim() - 1))
        parameter.copy_(torch.where(by == 0, 0.0, by * parameter))


def why_not(key: Any, rates: dict[int, dict]) -> str | None:
    """Why charts of a key cannot be taken to zero, None if they can."""
    if isinstance(key, KUA):
        return (
            'is a KUA, whose memberships sum to one: a chart at zero still has its share, so that '
            'taking it out changes the others (prune-charts takes that into account)'
        )
    if id(key.weight) not in rates or not key.weight.requires_grad:
        return 'is frozen'
    at_zero = key.activate(torch.zeros(1, device=key.weight.device))
    if float(at_zero.abs()) > 0:
        return f'has an activation that is {float(at_zero):.3g} at zero, so that no chart is zero'
    return None


@HOOKS.register_module()
class ChartSparsityHook(Hook):
    """Let training take charts to exactly zero until a budget is met.

    ``custom_hooks=[dict(type='mkbackbones.ChartSparsityHook', keep=0.5)]``; afterwards
    ``python -m mkbackbones prune-charts CONFIG CHECKPOINT OUT --budget 1`` takes those charts out
    without any loss. See :mod:`mkbackbones.engine.chart_sparsity` for what it computes.

    It works after each step of the optimiser: with mixed precision, accumulated gradients and
    several GPUs too. What is zero is read from the weights, and that the budget is met from the
    message hub of the checkpoint, so that a resumed training goes on as it would have.
    Averaged weights (``EMAHook``) come close to zero and do not reach it at once.

    Args:
        keep (float): Share of the operations of the charts' maps that may stay, from 0 to 1.
            Blocks whose charts cannot be taken to zero (KUA, frozen ones) do not count.
        weight (float): Strength of the group lasso. By itself, it takes a chart of C channels to
            zero in about ``C ** -0.5 / (lr * weight)`` steps; gradients hold against it. 0: the
            hook does nothing.
        end (float): Share of the training after which charts go that are still too many. The rest
            of the training is for those that are left.

    Raises:
        ValueError: An argument is not allowed; when training begins, also a model without charts
            that can be taken to zero.
    """

    def __init__(self, keep: float = 0.5, weight: float = 0.1, end: float = 0.75) -> None:
        check('keep', keep, SHARE)
        check('weight', weight, WEIGHT)
        check('end', end, SHARE)
        self._keep, self._weight, self._end = keep, weight, end
        self._groups: ChartGroups | None = None
        self._alive: list[Tensor] = []
        self._handles: list[Any] = []
        self._met = False

    def before_train(self, runner: Runner) -> None:
        """Find the charts, and watch the optimiser."""
        if not self._weight:
            return
        wrapper: Any = runner.optim_wrapper
        optimizers = (
            [each.optimizer for each in wrapper.values()]
            if isinstance(wrapper, OptimWrapperDict)
            else [wrapper.optimizer]
        )
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        model = model_of(runner)
        self._groups = ChartGroups(model, groups)
        for reason in self._groups.left_out:
            runner.logger.info(f'ChartSparsityHook leaves a key alone: {reason}')
        self._alive = self._groups.alive()
        # What a checkpoint says: looks are rare, and a resumed training must not look earlier.
        self._met = bool(runner.message_hub.get_info(MET, False))
        # The one with most charts: several optimisers step one after the other.
        rates = [block.rate for block in self._groups.blocks]
        stepping = max(
            optimizers,
            key=lambda each: sum(any(g is r for g in each.param_groups) for r in rates),
        )
        self._handles = [stepping.register_step_post_hook(self._after_step)]

    def _after_step(self, *unused: Any) -> None:
        """The proximal step, after one of the optimiser; the device is not waited for."""
        groups = self._groups
        assert groups is not None
        groups.hold(self._alive)
        if not self._met:
            groups.proximal_step(self._weight, self._keep)
            self._alive = groups.alive()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Look, now and then, whether the budget is met; see to it at the end of the time."""
        groups, done = self._groups, runner.iter + 1
        if groups is None or self._met:
            return
        late = done >= math.ceil(self._end * runner.max_iters)
        if not late and done % INTERVAL:
            return
        if late:
            groups.cut(self._keep)
            self._alive = groups.alive()
        self._met = late or groups.share(self._alive) <= self._keep + 1e-9
        runner.message_hub.update_info(MET, self._met)

    def after_train(self, runner: Runner) -> None:
        """Say what is left, and let the optimiser be."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self._groups is not None:
            alive = self._groups.alive()
            left, whole = sum(int(a.sum()) for a in alive), sum(map(len, alive))
            runner.logger.info(
                f'ChartSparsityHook: {left} of {whole} charts are left, '
                f'{self._groups.share(alive):.1%} of their operations; python -m mkbackbones '
                'prune-charts --budget 1 takes the others out'
            )
            self._groups = None
