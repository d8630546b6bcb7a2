"""A look at the swapped model: whether it builds, runs, and trains every parameter."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from .features import PROBE, SwapError, one_line


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
    try:
        lost = without_gradient(model, scope)
    except Exception as error:  # any library's parts may raise anything
        try:
            without_gradient(old, scope)
        except Exception:
            return [
                f'{where} could not be tried, with neither backbone ({one_line(error)}): check '
                'shapes with a first step'
            ]
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


def without_gradient(cfg: ConfigDict, scope: str) -> list[str]:
    """Names of parameters of backbone and neck that no output depends on."""
    cfg = copy.deepcopy(cfg)
    plain_norms(cfg)
    for part in ('init_cfg', 'pretrained'):
        cfg.pop(part, None)
    with DefaultScope.overwrite_default_scope(scope), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS.build(cfg)
    model.eval()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        feats = model.extract_feat(torch.rand(2, 3, PROBE, PROBE))
        outs = list(tensors(feats))
        if scope == 'mmseg':
            outs = [out for head in heads(model) for out in tensors(head.forward(feats))] or outs
        sum(out.float().sum() for out in outs if out.requires_grad).backward()
    return [
        name
        for name, parameter in model.named_parameters()
        if name.startswith(('backbone.', 'neck.'))
        and parameter.requires_grad
        and parameter.grad is None
    ]


def heads(model: nn.Module) -> list[nn.Module]:
    """The heads of a segmentor; none where they take more than maps."""
    found: list[nn.Module] = []
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
