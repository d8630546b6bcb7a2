"""DINO: queries instead of suppression, with sizes of levels that may be symbols."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .boxes import by_label, clipped, scaled
from .places import centres, sine_encoding
from .preparation import Preparation
from .program import ExportError

__all__ = ['DinoDetector']


class DinoDetector(nn.Module):
    """DINO with what comes before and after the network.

    Pictures of a batch are of one size and none is padded, so nothing is masked.

    Args:
        model (nn.Module): mmdet's ``DINO``, as :func:`~mkbackbones.export.deployed`.
        preparation (Preparation): What comes before it.

    Raises:
        ExportError: Its pictures are padded, or a part of it is of another kind.
    """

    outputs = ('boxes', 'scores', 'labels', 'score', 'class_scores')

    def __init__(self, model: Any, preparation: Preparation) -> None:
        super().__init__()
        if preparation.divisor != 1:
            raise ExportError(
                'DINO is exported with data_preprocessor.pad_size_divisor=1 alone, not '
                f'{preparation.divisor}: it masks what is padded'
            )
        head = model.bbox_head
        known = type(head).__name__ == 'DINOHead' and head.loss_cls.use_sigmoid
        if not (known and model.as_two_stage and model.decoder.return_intermediate):
            raise ExportError(
                f'DINO with {type(head).__name__} is not exported as a whole; it is with DINOHead, '
                'a sigmoid, as_two_stage and return_intermediate; take --part neck'
            )
        self.model, self.preparation = model, preparation

    def forward(self, images: Tensor, size: Tensor) -> tuple[Tensor, ...]:
        """Boxes of a batch.

        Args:
            images (Tensor): (B, H, W, 3), uint8, BGR, resized as the notes say.
            size (Tensor): Height and width of the pictures before that, int64.

        Returns:
            tuple: As of :class:`~mkbackbones.export.boxes.Found`, how sure the model is of a
            defect, (B,), and of one of each class, (B, C).
        """
        model: Any = self.model
        maps = model.extract_feat(self.preparation(images))
        logits, boxes = self.decode(*self.encode(maps))
        head = model.bbox_head
        most = head.test_cfg.get('max_per_img', model.num_queries)
        classes = logits.shape[2]
        scores, place = logits.sigmoid().flatten(1).topk(most, dim=1)
        labels, query = place % classes, place // classes
        boxes = boxes.gather(1, query[..., None].expand(-1, -1, 4))
        centre, extent = boxes[..., :2], boxes[..., 2:]
        limits = self.preparation.limits(images)
        sides = torch.stack([torch.scalar_tensor(limits[i]) for i in (1, 0, 1, 0)])
        boxes = torch.cat([centre - 0.5 * extent, centre + 0.5 * extent], -1) * sides
        boxes = scaled(clipped(limits, boxes), size, images.shape[1:3])
        return boxes, scores, labels, scores[:, 0], by_label(scores, labels, classes)

    def encode(self, maps: Any) -> tuple[Tensor, list[tuple[Any, Any]]]:
        """Tokens of all levels, (B, S, C), and height and width of each level."""
        model: Any = self.model
        shapes = [tuple(one.shape[2:]) for one in maps]
        tokens = torch.cat([one.flatten(2).transpose(1, 2) for one in maps], 1)
        places = [
            sine_encoding(model.positional_encoding, *shape) + embed
            for shape, embed in zip(shapes, model.level_embed)
        ]
        points = torch.cat([centres(*shape) for shape in shapes])[None, :, None]
        points = points.expand(tokens.shape[0], -1, len(shapes), -1)
        for layer in model.encoder.layers:
            tokens = layer(
                query=tokens,
                query_pos=torch.cat(places)[None],
                key_padding_mask=None,
                spatial_shapes=shapes,
                reference_points=points,
            )
        return tokens, shapes

    def decode(self, memory: Tensor, shapes: list[tuple[Any, Any]]) -> tuple[Tensor, Tensor]:
        """Logits (B, Q, classes) and boxes (B, Q, 4), centre and extent as fractions."""
        from mmdet.models.layers.transformer.utils import coordinate_to_encoding, inverse_sigmoid

        model: Any = self.model
        head, decoder = model.bbox_head, model.decoder
        references = self.proposals(memory, shapes).sigmoid()
        batch = memory.shape[0]
        query = model.query_embedding.weight[None].expand(batch, -1, -1)
        last = len(decoder.layers) - 1
        # A quarter for each of centre and extent; releases of mmdet differ in how many.
        features = decoder.ref_point_head.layers[0].in_features // 4
        for i, layer in enumerate(decoder.layers):
            levels = references[:, :, None].expand(-1, -1, len(shapes), -1)
            where = coordinate_to_encoding(references, num_feats=features)
            query = layer(
                query,
                query_pos=decoder.ref_point_head(where),
                value=memory,
                key_padding_mask=None,
                self_attn_mask=None,
                spatial_shapes=shapes,
                reference_points=levels,
            )
            if i < last:
                moved = head.reg_branches[i](query) + inverse_sigmoid(references, eps=1e-3)
                references = moved.sigmoid()
        state = decoder.norm(query)
        boxes = head.reg_branches[last](state) + inverse_sigmoid(references)
        return head.cls_branches[last](state), boxes.sigmoid()

    def proposals(self, memory: Tensor, shapes: list[tuple[Any, Any]]) -> Tensor:
        """Boxes to begin with, (B, Q, 4), before the sigmoid."""
        model: Any = self.model
        head, last = model.bbox_head, model.decoder.num_layers
        boxes = torch.cat(
            [
                torch.cat([points, torch.full_like(points, 0.05 * 2.0**level)], 1)
                for level, points in enumerate(centres(*shape) for shape in shapes)
            ]
        )[None]
        inside = ((boxes > 0.01) & (boxes < 0.99)).all(-1, keepdim=True)
        start = torch.where(inside, torch.log(boxes / (1 - boxes)), torch.inf)
        tokens = model.memory_trans_norm(model.memory_trans_fc(torch.where(inside, memory, 0.0)))
        best = head.cls_branches[last](tokens).amax(-1).topk(model.num_queries, dim=1)[1]
        found = head.reg_branches[last](tokens) + start
        return found.gather(1, best[..., None].expand(-1, -1, 4))
