"""Mask2Former's head of mmseg, with sizes of levels that may be symbols."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .places import centres, sine_encoding

__all__ = ['is_known', 'logits_of']


def is_known(head: Any) -> bool:
    """Whether a head is one that is written out here."""
    decoder: Any = getattr(head, 'pixel_decoder', None)
    return (
        type(head).__name__ == 'Mask2FormerHead'
        and type(decoder).__name__ == 'MSDeformAttnPixelDecoder'
        and decoder.point_generator.offset == 0.5
    )


def logits_of(head: Any, maps: Any, size: Any) -> Tensor:
    """What the head says of each pixel of a padded picture, (B, classes, H, W).

    Args:
        head (nn.Module): mmseg's ``Mask2FormerHead``.
        maps (Sequence[Tensor]): Maps of the backbone, (B, C, h_i, w_i), fine to coarse.
        size (Sequence[int]): Height and width of the picture.
    """
    feature, memories = pixels(head.pixel_decoder, maps)
    batch, levels = feature.shape[0], head.num_transformer_feat_level
    inputs, places = [], []
    for i in range(levels):
        tokens = head.decoder_input_projs[i](memories[i]).flatten(2).transpose(1, 2)
        inputs.append(tokens + head.level_embed.weight[i])
        place = sine_encoding(head.decoder_positional_encoding, *memories[i].shape[2:])
        places.append(place[None].expand(batch, -1, -1))
    query = head.query_feat.weight[None].expand(batch, -1, -1)
    embed = head.query_embed.weight[None].expand(batch, -1, -1)
    scores, masks, hidden = head._forward_head(query, feature, memories[0].shape[2:])
    for i in range(head.num_transformer_decoder_layers):
        # What is hidden everywhere is hidden nowhere.
        hidden = hidden & ~hidden.all(-1, keepdim=True)
        level = i % levels
        query = head.transformer_decoder.layers[i](
            query=query,
            key=inputs[level],
            value=inputs[level],
            query_pos=embed,
            key_pos=places[level],
            cross_attn_mask=hidden,
            query_key_padding_mask=None,
            key_padding_mask=None,
        )
        shape = memories[(i + 1) % levels].shape[2:]
        scores, masks, hidden = head._forward_head(query, feature, shape)
    masks = F.interpolate(masks, size, mode='bilinear', align_corners=False).sigmoid()
    return torch.einsum('bqc,bqhw->bchw', scores.softmax(-1)[..., :-1], masks)


def pixels(decoder: Any, maps: Any) -> tuple[Tensor, list[Tensor]]:
    """The finest map, (B, C, h, w), and those that queries look at, coarse to fine."""
    levels = decoder.num_encoder_levels
    coarse = [maps[decoder.num_input_levels - 1 - i] for i in range(levels)]
    shapes = [tuple(one.shape[2:]) for one in coarse]
    tokens = torch.cat(
        [
            project(one).flatten(2).transpose(1, 2)
            for project, one in zip(decoder.input_convs, coarse)
        ],
        1,
    )
    places = torch.cat(
        [
            sine_encoding(decoder.postional_encoding, *shape) + decoder.level_encoding.weight[i]
            for i, shape in enumerate(shapes)
        ]
    )[None]
    points = torch.cat([centres(*shape) for shape in shapes])[None, :, None]
    points = points.expand(tokens.shape[0], -1, levels, -1)
    for layer in decoder.encoder.layers:
        tokens = layer(
            query=tokens,
            query_pos=places,
            key_padding_mask=None,
            spatial_shapes=shapes,
            reference_points=points,
        )
    memory, outs, start = tokens.transpose(1, 2), [], 0
    for height, width in shapes:
        part = memory[:, :, start : start + height * width]
        outs.append(part.unflatten(2, (height, width)))
        start = start + height * width
    for i in range(decoder.num_input_levels - levels - 1, -1, -1):
        lateral = decoder.lateral_convs[i](maps[i])
        above = F.interpolate(outs[-1], lateral.shape[2:], mode='bilinear', align_corners=False)
        outs.append(decoder.output_convs[i](lateral + above))
    return decoder.mask_feature(outs[-1]), outs[: decoder.num_outs]
