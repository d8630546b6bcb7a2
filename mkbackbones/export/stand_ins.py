"""Modules in the place of those that the converter writes for one size alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ['AdaptivePool', 'DeformableAttention', 'Enlarged', 'put_stand_ins']


class AdaptivePool(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as two matrix products, which are written for every size.

    Args:
        output_size (tuple[int, int]): Rows and columns of the result.
    """

    def __init__(self, output_size: tuple[int, int]) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, maps: Tensor) -> Tensor:
        rows, columns = self.output_size
        if rows == columns == 1:
            return maps.mean((2, 3), keepdim=True)
        height, width = maps.shape[2:]
        return shares(rows, height) @ maps @ shares(columns, width).T


def shares(cells: int, length: Any) -> Tensor:
    """What each of so many cells takes of each place, (cells, length); a row adds up to 1."""
    cell = torch.arange(cells)[:, None]
    place = torch.arange(length)[None]
    begin, end = cell * length // cells, ((cell + 1) * length + cells - 1) // cells
    inside = (place >= begin) & (place < end)
    return inside.float() / (end - begin).float()


class DeformableAttention(nn.Module):
    """mmcv's ``MultiScaleDeformableAttention``, with sizes of levels that may be symbols.

    Args:
        attention (nn.Module): mmcv's, which works on (B, N, C).
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.num_heads, self.num_points = attention.num_heads, attention.num_points
        self.value_proj, self.output_proj = attention.value_proj, attention.output_proj
        self.sampling_offsets = attention.sampling_offsets
        self.attention_weights = attention.attention_weights

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        identity: Tensor | None = None,
        query_pos: Tensor | None = None,
        reference_points: Any = None,
        spatial_shapes: Any = (),
        **unused: Any,
    ) -> Tensor:
        """Arguments and result as of mmcv's; nothing is masked.

        Args:
            query (Tensor): (B, Q, C).
            key (Tensor, optional): Not looked at.
            value (Tensor, optional): Maps of all levels, flattened, (B, S, C); else the query.
            identity (Tensor, optional): Added to the result; the query by default.
            query_pos (Tensor, optional): (B, Q, C).
            reference_points (Tensor): Points (B, Q, L, 2) or boxes (B, Q, L, 4), as fractions.
            spatial_shapes (Sequence[tuple]): Height and width of each level.
            unused: What mmcv's takes, too.
        """
        value = query if value is None else value
        identity = query if identity is None else identity
        query = query if query_pos is None else query + query_pos
        batch, number, channels = query.shape
        shapes: Sequence[tuple[Any, Any]] = spatial_shapes
        heads, levels, points = self.num_heads, len(shapes), self.num_points
        value = self.value_proj(value).unflatten(-1, (heads, -1))
        offsets = self.sampling_offsets(query).view(batch, number, heads, levels, points, 2)
        weights = self.attention_weights(query).view(batch, number, heads, -1).softmax(-1)
        weights = weights.view(batch, number, heads, levels, points)
        output: Any = 0.0
        start = 0
        for level, (height, width) in enumerate(shapes):
            offset = offsets[:, :, :, level]
            place = reference_points[:, :, None, level, None]  # (B, Q, 1, 1, 2 or 4)
            if place.shape[-1] == 2:
                sides = torch.stack([torch.scalar_tensor(width), torch.scalar_tensor(height)])
                place = place + offset / sides
            else:
                place = place[..., :2] + offset / points * place[..., 2:] * 0.5
            part = value[:, start : start + height * width]
            maps = part.permute(0, 2, 3, 1).reshape(batch * heads, -1, height, width)
            grid = (2 * place - 1).transpose(1, 2).flatten(0, 1)  # (B * M, Q, P, 2)
            sampled = F.grid_sample(maps, grid, align_corners=False)
            weight = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)[:, None]
            output = output + (sampled * weight).sum(-1)
            start = start + height * width
        output = output.reshape(batch, channels, number).transpose(1, 2)
        return self.output_proj(output) + identity


class Enlarged(nn.Module):
    """mmseg's ``Upsample`` by a whole factor, which it makes a float.

    Args:
        upsample (nn.Module): mmseg's.
    """

    def __init__(self, upsample: Any) -> None:
        super().__init__()
        self.factor = int(upsample.scale_factor)
        self.mode, self.align_corners = upsample.mode, upsample.align_corners

    def forward(self, maps: Tensor) -> Tensor:
        size = [side * self.factor for side in maps.shape[2:]]
        return F.interpolate(maps, size, mode=self.mode, align_corners=self.align_corners)


def put_stand_ins(model: nn.Module) -> None:
    """Put stand-ins into a model, in place."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.AdaptiveAvgPool2d:
                size: Any = child.output_size
                pair = (size, size) if isinstance(size, int) else tuple(size)
                if None not in pair:
                    setattr(module, name, AdaptivePool(pair))
            elif type(child).__name__ == 'MultiScaleDeformableAttention' and child.batch_first:
                setattr(module, name, DeformableAttention(child))
            elif type(child).__name__ == 'Upsample' and not getattr(child, 'size', None):
                factor: Any = child.scale_factor
                if isinstance(factor, float) and factor.is_integer():
                    setattr(module, name, Enlarged(child))
