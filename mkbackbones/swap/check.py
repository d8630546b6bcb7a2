"""A look at the swapped model: whether it builds, runs, and trains every parameter."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from .features import PROBE, SwapError, one_line

#: Sides of images to try: some models take no small ones.
SIDES = (PROBE, 3 * PROBE)


def check_model(model: ConfigDict, old: ConfigDict, where: str, scope: str) -> list[str]:
    """Build the swapped model and let its neck, and heads of mmseg, read a small image.

    Args:
        model (ConfigDict): The model with its new backbone.
        old (ConfigDict): The model as it was, to tell what the swap broke from what it did not.
        where (str): Place of the model.
        scope (str): Scope of the config.

    Returns:
        list[str]: Advice: parameters of backbone and neck that get no gradient.

    Raises:
        SwapError: It does not build or run, and the old one does.
    """

    def was_without_gradient(side: int) -> list[str]:
        return without_gradient(build(old, scope), side, scope)

    new: Any = attempt(lambda: build(model, scope))
    lost, error = [], new if isinstance(new, Exception) else None
    if error is not None:
        broken = not isinstance(attempt(lambda: build(old, scope)), Exception)
    for side in () if error else SIDES:
        found = attempt(partial(without_gradient, new, side, scope))
        error = found if isinstance(found, Exception) else None
        if error is None:
            lost = found
            break
        before = attempt(partial(was_without_gradient, side))
        broken = not isinstance(before, Exception)
        if broken:
            break
    if error is not None and not broken:
        return [
            f'{where} could not be tried, with neither backbone ({one_line(error)}): check shapes '
            'with a first step'
        ]
    if error is not None:
        raise SwapError(
            f'{where} does not run with the new backbone ({type(error).__name__}: '
            f'{one_line(error) or "no reason is given"}{culprit(error)}), so something depends on '
            'the old one in a way that is not understood; change it by hand'
        ) from error
    if not lost:
        return []
    return [
        f'{len(lost)} parameters get no gradient ({", ".join(lost[:3])}, ...), which distributed '
        'training rejects unless find_unused_parameters=True'
    ]


def attempt(work: Callable[[], Any]) -> Any:
    """What a piece of work returns, or the exception that it raises."""
    try:
        return work()
    except Exception as error:  # any library's parts may raise anything
        return error


def build(cfg: ConfigDict, scope: str) -> nn.Module:
    """Build a model without its weights, random numbers taken aside."""
    cfg = copy.deepcopy(cfg)
    plain_norms(cfg)
    for name in ('init_cfg', 'pretrained', 'teacher_ckpt'):  # nothing is fetched for a look
        if name in cfg:
            cfg[name] = None
    with DefaultScope.overwrite_default_scope(scope), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS.build(cfg)
    model.eval()  # some return None from it
    return model


def without_gradient(model: Any, side: int, scope: str) -> list[str]:
    """Names of parameters of backbone and neck that no output depends on.

    Args:
        model (nn.Module): A detector or segmentor.
        side (int): Side of the image that it reads.
        scope (str): Scope of the config.
    """
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        feats = model.extract_feat(torch.rand(2, 3, side, side))
        outs = list(tensors(feats))
        if scope == 'mmseg':
            read = [out for head in heads(model) for out in tensors(head.forward(feats))]
            outs = read or outs
        sums = [out.float().sum() for out in outs if out.requires_grad]
        if sums:
            torch.stack(sums).sum().backward()
    return [
        name
        for name, parameter in model.named_parameters()
        if name.startswith(('backbone.', 'neck.'))
        and parameter.requires_grad
        and parameter.grad is None
    ]


def heads(model: nn.Module) -> list[Any]:
    """The heads of a segmentor; none where they take more than maps."""
    found: list[Any] = []
    for name in ('decode_head', 'auxiliary_head'):
        head = getattr(model, name, None)
        found += head if isinstance(head, nn.ModuleList) else [head]
    found = [head for head in found if head is not None]
    cascade = isinstance(getattr(model, 'decode_head', None), nn.ModuleList)
    plain = all(hasattr(head, 'in_index') and hasattr(head, 'conv_seg') for head in found)
    return found if plain and not cascade else []


def tensors(value: object) -> Iterator[Tensor]:
    """All tensors in nested lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from tensors(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from tensors(inner)


def plain_norms(node: object) -> None:
    """SyncBN needs several processes."""
    if isinstance(node, dict):
        if node.get('type') in ('SyncBN', 'MMSyncBN'):
            node['type'] = 'BN'
        for value in node.values():
            plain_norms(value)
    elif isinstance(node, list | tuple):
        for value in node:
            plain_norms(value)


def culprit(error: BaseException) -> str:
    """The class that raised, where the text does not say it."""
    frame = error.__traceback__
    owner = ''
    while frame is not None:
        local = frame.tb_frame.f_locals.get('self')
        if isinstance(local, nn.Module):
            owner = type(local).__name__
        frame = frame.tb_next
    return f' in {owner}' if owner else ''
