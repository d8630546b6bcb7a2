"""Where the tokens of an injected attention layer lie: rows, columns and prefix tokens.

Our own backbones pass the grid down. A foreign model is watched instead: Swin's windows are read
from its ``window_size``, a ViT's patch grid from the output of its patch embedding.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from ..compat.modes import is_compiling
from ..compat.modules import StorageWeakRef
from ..compat.private import in_backward
from .qkv import ManifoldQKV

Grid = tuple[int, int]


class PatchGrid:
    """The patch grid of the images that a ViT is working on.

    A block that is checkpointed runs again in the backward pass, when images of another size may
    have come by. What runs then is one of the passes whose activations are still kept; if they
    leave a doubt, there is an error rather than a wrong neighbourhood.
    """

    def __init__(self) -> None:
        self.current: Grid | None = None
        self.in_flight: list[tuple[StorageWeakRef, Grid]] = []

    def note_embedding(self, conv: nn.Module, args: tuple, output: Tensor) -> None:
        """Forward hook of the patch embedding's convolution."""
        self.current = (output.shape[-2], output.shape[-1])
        if not is_compiling():
            self.in_flight = [pair for pair in self.in_flight if not pair[0].expired()]

    def note_block(self, block: nn.Module, args: tuple) -> None:
        """Forward pre-hook of a block: its input lives until the backward pass is through it."""
        if is_compiling() or in_backward() or self.current is None:
            return
        if args and isinstance(args[0], Tensor):
            self.in_flight.append((StorageWeakRef(args[0].untyped_storage()), self.current))

    def candidates(self) -> set[Grid]:
        """The grids that the running pass may have: one, except in a recomputation."""
        if is_compiling() or not in_backward():
            return set() if self.current is None else {self.current}
        return {grid for storage, grid in self.in_flight if not storage.expired()}

    def __getstate__(self) -> dict:
        return {'current': self.current, 'in_flight': []}


class TokenGrid:
    """Forward pre-hook of a :class:`ManifoldQKV`: sets its grid and number of prefix tokens.

    Args:
        owners (Sequence[nn.Module]): The attention layer and what lies around it, inside out,
            below the model with the patch embedding; the first ``window_size`` counts.
        model (nn.Module | None): The model with the patch embedding.
        patch_grid (PatchGrid | None): The patch grid; None: a square after the prefix tokens.
    """

    def __init__(
        self, owners: Sequence[nn.Module], model: nn.Module | None, patch_grid: PatchGrid | None
    ) -> None:
        self.owners = tuple(owners)
        self.model = model
        self.patch_grid = patch_grid

    def __call__(self, qkv: ManifoldQKV, args: tuple) -> None:
        tokens = args[0]
        if tokens.dim() != 3:
            raise ValueError(
                f'a key that reads neighbours takes tokens (B, N, C), but {self.where()} gives it '
                f'{tuple(tokens.shape)}; use a key without a neighbourhood, e.g. VanillaK'
            )
        qkv.grid, qkv.num_prefix_tokens = self.locate(tokens.shape[1])

    def where(self) -> str:
        """The attention layer's class, for messages."""
        return type(self.owners[0]).__name__

    def locate(self, num_tokens: int) -> tuple[Grid, int]:
        """The grid and the number of prefix tokens before it.

        Raises:
            ValueError: If no known grid fits the number of tokens.
            RuntimeError: If the tokens are recomputed in the backward pass and may belong to images
                of different shapes.
        """
        window = self.window()
        declared = self.declared_prefix()
        if window is not None:
            grids, prefixes = {window}, {0, *declared}
        else:
            prefixes = {0, *(declared or (1,))}
            if self.patch_grid is None:
                grids = square_grids(num_tokens, prefixes)
            else:
                grids = self.patch_grid.candidates()
        fitting = [(g, num_tokens - g[0] * g[1]) for g in grids]
        fitting = [(grid, prefix) for grid, prefix in fitting if prefix in prefixes]
        if len(fitting) == 1:
            return fitting[0]
        known = ', '.join(f'{rows}x{columns}' for rows, columns in sorted(grids)) or 'none'
        if window is None and self.patch_grid is not None and in_backward():
            raise RuntimeError(
                f'{self.where()} is recomputed in the backward pass and the grid of its '
                f'{num_tokens} tokens is not certain (grids in flight: {known}); run images of one '
                'shape between backward passes, or switch activation checkpointing off'
            )
        raise ValueError(
            f'{num_tokens} tokens in {self.where()} do not fit the token grid (known: {known}, '
            f'prefix tokens: {" or ".join(map(str, sorted(prefixes)))}); this model needs a key '
            'without a neighbourhood, e.g. VanillaK'
        )

    def window(self) -> Grid | None:
        """Rows and columns of the attention window, None for global attention."""
        for owner in self.owners:
            size = getattr(owner, 'window_size', None)
            if isinstance(size, int) and size > 0:
                return size, size
            if isinstance(size, tuple | list) and len(size) == 2:
                return int(size[0]), int(size[1])
        return None

    def declared_prefix(self) -> tuple[int, ...]:
        """Class and register tokens, where the model says how many it has."""
        for name in ('num_prefix_tokens', 'num_extra_tokens'):
            number = getattr(self.model, name, None)
            if isinstance(number, int):
                return (number,)
        return ()


def watch_grids(model: nn.Module, names: Iterable[str]) -> None:
    """Let layers that look at neighbours know their token grid, for as long as they exist.

    Args:
        model (nn.Module): A tree with the layers.
        names (Iterable[str]): Names of :class:`ManifoldQKV` layers in it.
    """
    patch_grids: dict[nn.Module, PatchGrid | None] = {}
    blocks: set[nn.Module] = set()
    for name in names:
        qkv: Any = model.get_submodule(name)
        if not qkv.key.uses_grid:
            continue
        lineage = [model]  # from the tree's root down to the attention layer
        for part in name.split('.')[:-1]:
            lineage.append(lineage[-1].get_submodule(part))
        roots = [i for i, m in enumerate(lineage) if isinstance(patch_embed(m), nn.Module)]
        below = lineage[roots[-1] + 1 :] if roots else lineage
        vit = lineage[roots[-1]] if roots else None
        if vit is not None and vit not in patch_grids:
            embedding = patch_embed(vit)
            conv = None if embedding is None else embedding_conv(embedding)
            patch_grid = patch_grids[vit] = None if conv is None else PatchGrid()
            if conv is not None and patch_grid is not None:
                conv.register_forward_hook(patch_grid.note_embedding)
        grid = TokenGrid(below[::-1], vit, None if vit is None else patch_grids[vit])
        qkv.register_forward_pre_hook(grid)
        block = enclosing_block(lineage)
        if grid.window() is None and grid.patch_grid is not None and block not in blocks:
            blocks.add(block)
            block.register_forward_pre_hook(grid.patch_grid.note_block)


def patch_embed(module: nn.Module) -> nn.Module | None:
    """The module's patch embedding."""
    return module._modules.get('patch_embed')


def embedding_conv(embedding: nn.Module) -> nn.Conv2d | None:
    """The convolution whose output is the patch grid; None where there is no single one."""
    for name in ('proj', 'projection'):
        if isinstance(getattr(embedding, name, None), nn.Conv2d):
            return getattr(embedding, name)
    if isinstance(embedding, nn.ModuleList):
        return None  # several embeddings, several grids
    convs = [module for module in embedding.modules() if isinstance(module, nn.Conv2d)]
    return convs[-1] if convs else None


def enclosing_block(lineage: Sequence[nn.Module]) -> nn.Module:
    """The innermost entry of a ModuleList or Sequential: what gets checkpointed."""
    for parent, module in zip(lineage[-2::-1], lineage[::-1]):
        if isinstance(parent, nn.ModuleList | nn.Sequential):
            return module
    return lineage[-1]


def square_grids(num_tokens: int, prefixes: Iterable[int]) -> set[Grid]:
    """Square grids that leave one of the given numbers of prefix tokens."""
    sides = [math.isqrt(max(num_tokens - prefix, 0)) for prefix in prefixes]
    return {(side, side) for side in sides if side}
