"""What the key of one block does in a picture: in numbers, and seen from one query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..attention.weights import divergence
from ..keys import BasedKey, ManifoldKey
from ..keys.measures import gamma_spread, pairwise_distances
from .logits import logits_with
from .parts import aggregated, membership_of, split_key
from .places import Places
from .watch import Seen

__all__ = ['BlockLook', 'LayerNumbers', 'choose', 'look_at', 'measure']

#: Tokens at which charts are compared, about.
TOKENS = 4096
#: Logits so far below the largest that a key of zeros gives are masked.
MASKED = 50.0


@dataclass
class LayerNumbers:
    """What the key of one layer is and does in a picture.

    Args:
        layer (str): Name of its ``qkv`` below the backbone.
        key (str): Class of the key.
        num_charts (int | None): Charts H; None for a key without.
        out_scale (float | None): Mean absolute output scale; None without a base chart.
        charts_over_base (float | None): Root mean square of the scaled charts over that of the base
            chart, over the picture's tokens; None without a base chart.
        gamma_spread (float | None): See :func:`mkbackbones.keys.measures.gamma_spread`.
        distances (list[list[float]] | None): Pairwise distances (H, H) of what the charts make of
            the picture's tokens, see :func:`mkbackbones.keys.measures.pairwise_distances`.
    """

    layer: str
    key: str
    num_charts: int | None = None
    out_scale: float | None = None
    charts_over_base: float | None = None
    gamma_spread: float | None = None
    distances: list[list[float]] | None = None

    def distance(self) -> tuple[float, float] | None:
        """Mean and least distance of two charts; None for fewer than two."""
        if self.distances is None or len(self.distances) < 2:
            return None
        above = np.asarray(self.distances)[np.triu_indices(len(self.distances), 1)]
        return float(above.mean()), float(above.min())


@dataclass
class BlockLook:
    """A block as one query sees it. Maps are (rows, columns) of its grid, NaN where it sees none.

    Args:
        numbers (LayerNumbers): Of its key.
        grid (tuple[int, int]): Rows and columns of the picture's tokens.
        stride (int): Side of a token in pixels of what the network takes.
        cell (tuple[int, int]): Row and column of the query.
        seen (tuple[int, int, int, int]): Rows and columns that the query sees: top, left, bottom,
            right, the latter two excluded. All of the grid, or a window.
        attention (ndarray): Attention of the query, mean over heads, (rows, columns).
        attention_without (ndarray): The same without the charts.
        divergence (float): Kullback-Leibler divergence of the latter from the former, in nats, mean
            over heads.
        elsewhere (float): Attention on class and register tokens, and on padding.
        base_logits (float | None): What the base chart does to the query's logits: root mean square
            over heads and tokens of their deviation from their mean, which softmax does not see.
        charts_logits (float): The same of all charts together.
        chart_logits (list[float]): The same of each chart.
        chart_maps (ndarray | None): What each chart adds to the logits, mean over heads, (H, rows,
            columns).
        add_up (bool): Whether the parts of the charts add up to their sum in the key.
        membership (ndarray | None): KUA's memberships in the whole picture, (H, rows, columns).
    """

    numbers: LayerNumbers
    grid: tuple[int, int]
    stride: int
    cell: tuple[int, int]
    seen: tuple[int, int, int, int]
    attention: np.ndarray
    attention_without: np.ndarray
    divergence: float
    elsewhere: float
    base_logits: float | None
    charts_logits: float
    chart_logits: list[float]
    chart_maps: np.ndarray | None
    add_up: bool
    membership: np.ndarray | None


@torch.no_grad()
def measure(seen: Seen) -> LayerNumbers:
    """The numbers of a layer's key, on the tokens of a picture."""
    key: Any = seen.layer.key
    numbers = LayerNumbers(seen.name, type(key).__name__)
    if not isinstance(key, BasedKey):
        return numbers
    x = some_windows(seen.tokens)
    if key.base is not None:
        charts = key.scaled_charts(x, seen.grid, seen.num_prefix_tokens)
        base = float(key.base(x).square().mean())
        numbers.out_scale = float(key.out_scale.abs().mean())
        numbers.charts_over_base = (float(charts.square().mean()) / max(base, 1e-30)) ** 0.5
    if isinstance(key, ManifoldKey):
        numbers.num_charts = key.num_charts
        numbers.gamma_spread = float(gamma_spread(key.gamma))
        z = aggregated(key, x, seen.grid, seen.num_prefix_tokens)
        if z is not None:
            numbers.distances = pairwise_distances(z.movedim(-2, 0)).tolist()
    return numbers


def some_windows(tokens: Tensor) -> Tensor:
    """Evenly spread windows with enough tokens together; all of global attention."""
    windows, each = tokens.shape[:2]
    wanted = max(-(-TOKENS // each), 1)
    return tokens[:: max(windows // wanted, 1)]


@torch.no_grad()
def look_at(
    seen: Seen, places: Places, numbers: LayerNumbers, point: tuple[float, float]
) -> BlockLook | None:
    """See a block from one query.

    Args:
        seen (Seen): The layer in a pass of one picture.
        places (Places): Where its tokens lie.
        numbers (LayerNumbers): Of its key.
        point (tuple[float, float]): The query, x and y in pixels of what the network takes.

    Returns:
        BlockLook | None: None where the attention cannot be listened to.
    """
    key: Any = seen.layer.key
    rows, columns = places.grid
    row = min(max(int(point[1] // places.stride), 0), rows - 1)
    column = min(max(int(point[0] // places.stride), 0), columns - 1)
    window, token = places.of(row, column)
    whole = key(seen.tokens, seen.grid, seen.num_prefix_tokens)
    nothing = torch.zeros_like(whole)
    without = nothing if key.base is None else key.base(seen.tokens)
    here = slice(window, window + 1)
    parts = split_key(key, seen.tokens[here], seen.grid, seen.num_prefix_tokens)

    def logits(keys: Tensor) -> Tensor | None:
        return logits_with(seen, keys, window, token)

    own, plain, bare = logits(whole), logits(without), logits(nothing)
    if own is None or plain is None or bare is None:
        return None
    visible = (bare > bare.max() - MASKED).all(0)  # (M,)
    index = places.index[window]
    if own.shape[-1] != len(index):  # more keys than tokens: memories, prompts
        return None

    def mapped(values: Tensor) -> np.ndarray:
        """Values (M,) of the window's tokens as a map of the picture."""
        found = values.new_full((rows * columns,), torch.nan)
        there = visible & (index >= 0)
        found[index[there]] = values[there]
        return found.view(rows, columns).cpu().numpy()

    def effect(change: Tensor) -> Tensor:
        """A change of logits (h, M) as softmax sees it: less its mean, where it sees at all."""
        change = torch.where(visible, change, 0.0)
        return change - torch.where(visible, change.sum(-1, keepdim=True) / visible.sum(), 0.0)

    def size(change: Tensor) -> float:
        return float(effect(change)[:, visible].square().mean().sqrt())

    maps, sizes = [], []
    for part in [] if parts.charts is None else parts.charts:
        keys = whole.clone()
        keys[here] -= part
        left: Any = logits(keys)
        sizes.append(size(own - left))
        maps.append(mapped(effect(own - left).mean(0)))
    membership = membership_of(key, seen.tokens)
    attention, attention_without = own.softmax(-1), plain.softmax(-1)
    cells = index[visible & (index >= 0)]
    return BlockLook(
        numbers=numbers,
        grid=places.grid,
        stride=places.stride,
        cell=(row, column),
        seen=box_of(cells, columns),
        attention=mapped(attention.mean(0)),
        attention_without=mapped(attention_without.mean(0)),
        divergence=divergence(attention[:, visible], attention_without[:, visible]),
        elsewhere=float(attention.mean(0)[index < 0].sum()),
        base_logits=None if key.base is None else size(plain - bare),
        charts_logits=size(own - plain),
        chart_logits=sizes,
        chart_maps=np.stack(maps) if maps else None,
        add_up=parts.add_up,
        membership=None if membership is None else places.spread(membership).cpu().numpy(),
    )


def box_of(cells: Tensor, columns: int) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of cells, the latter two excluded."""
    down, right = cells // columns, cells % columns
    return int(down.min()), int(right.min()), int(down.max()) + 1, int(right.max()) + 1


def choose(blocks: Sequence[str]) -> list[int]:
    """Which blocks to look at: the last of each stage; of a network of one stage, four.

    Args:
        blocks (Sequence[str]): Names of the blocks with charts, in their order.
    """
    stages: dict[str, list[int]] = {}
    for number, name in enumerate(blocks):
        stages.setdefault(name.rpartition('.')[0], []).append(number)
    if len(stages) > 1:
        return [numbers[-1] for numbers in stages.values()]
    (numbers,) = stages.values()
    return sorted({numbers[max(round(len(numbers) * part / 4) - 1, 0)] for part in range(1, 5)})
