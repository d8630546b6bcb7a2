"""One pass of a picture through a backbone, and what its keyed attention layers were given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..attention.inject import manifold_layers, parent_of
from ..attention.qkv import ManifoldQKV
from ..attention.token_grid import embedding_conv, enclosing_block, patch_embed

__all__ = ['Call', 'Enough', 'Seen', 'hooked', 'watch_pass']

Grid = tuple[int, int]
#: Arguments and keyword arguments of a module.
Call = tuple[tuple, dict]


class Enough(Exception):
    """Raised by a hook: what comes behind it is not needed."""


@dataclass
class Seen:
    """A layer with a key of its own in one pass.

    Args:
        name (str): Of its ``qkv``, below the backbone.
        layer (ManifoldQKV): The layer.
        tokens (Tensor): What it was given, (windows, N, C).
        grid (Grid | None): Rows and columns of ``tokens``, as the layer knew them.
        num_prefix_tokens (int): Class and register tokens before them, as it knew them.
        attention (nn.Module): The attention layer that holds it.
        attention_call (Call): What that was called with.
        block (nn.Module): The block around that.
        block_name (str): Its name below the backbone.
        block_call (Call): What the block was called with.
        patch_grid (Grid | None): Rows and columns of the patch embedding.
    """

    name: str
    layer: ManifoldQKV
    tokens: Tensor
    grid: Grid | None
    num_prefix_tokens: int
    attention: nn.Module
    attention_call: Call
    block: nn.Module
    block_name: str
    block_call: Call
    patch_grid: Grid | None


@torch.no_grad()
def watch_pass(backbone: nn.Module, inputs: Tensor) -> list[Seen]:
    """Let a picture pass, and keep what the layers with manifold keys are given.

    Args:
        backbone (nn.Module): In evaluation mode.
        inputs (Tensor): A picture as the backbone takes it, (1, 3, H, W).

    Returns:
        list[Seen]: One a layer, in the order in which they run.
    """
    calls: dict[nn.Module, Call] = {}
    found: list[Seen] = []
    patch_grid: list[Grid] = []
    names = {module: name for name, module in backbone.named_modules()}

    def keep(module: nn.Module, args: tuple, kwargs: dict) -> None:
        calls[module] = args, kwargs

    def note_grid(module: nn.Module, args: Any, output: Tensor) -> None:
        patch_grid.append((output.shape[-2], output.shape[-1]))

    def note(name: str, layer: ManifoldQKV, args: tuple) -> None:
        attention, block = owners[name]
        if name in [one.name for one in found]:
            return
        found.append(
            Seen(
                name=name,
                layer=layer,
                tokens=args[0].detach(),
                grid=layer.grid,
                num_prefix_tokens=layer.num_prefix_tokens,
                attention=attention,
                attention_call=calls[attention],
                block=block,
                block_name=names[block],
                block_call=calls[block],
                patch_grid=patch_grid[-1] if patch_grid else None,
            )
        )

    owners: dict[str, tuple[nn.Module, nn.Module]] = {}
    for name in manifold_layers(backbone):
        attention = parent_of(backbone, name)
        if attention is not None:
            owners[name] = attention, enclosing_block(lineage(backbone, name))
    hooks = [
        module.register_forward_pre_hook(keep, with_kwargs=True)
        for module in {module for pair in owners.values() for module in pair}
    ]
    for name in owners:
        hooks.append(
            backbone.get_submodule(name).register_forward_pre_hook(
                lambda layer, args, name=name: note(name, layer, args)
            )
        )
    for module in backbone.modules():
        embedding = patch_embed(module)
        conv = None if embedding is None else embedding_conv(embedding)
        if conv is not None:
            hooks.append(conv.register_forward_hook(note_grid))
    with hooked(hooks):
        backbone(inputs)
    return found


def lineage(root: nn.Module, name: str) -> list[nn.Module]:
    """The modules from a root down to the parent of what has that name."""
    found = [root]
    for part in name.split('.')[:-1]:
        found.append(found[-1].get_submodule(part))
    return found


@contextmanager
def hooked(hooks: Sequence[Any]) -> Iterator[None]:
    """Take hooks off again."""
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
