"""BatchedRPNHead: mmdet's region proposals, with targets and proposals of a batch at once."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from mmcv.ops import batched_nms
from mmdet.models.dense_heads import RPNHead
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmengine.structures import InstanceData
from torch import Tensor

from .assign import assign_batch, chosen, padded, sample
from .known import knows_assigner, knows_coder, knows_sampler

__all__ = ['BatchedRPNHead']

MOST_SIZES = 32  # of batches whose anchors are kept
MOST_SHAPES = 64  # of images within them, of which it is kept which anchors they hold


class BatchedRPNHead(RPNHead):
    """mmdet's ``RPNHead`` without its loops over the images, for training on GPUs.

    Upstream assigns, draws and decodes image by image: thousands of small operations and some
    hundred waits of the CPU for the GPU in each step, which take longer than the backbone
    (docs/performance.md). Parameters, losses and proposals are upstream's; which anchors are drawn
    comes from the device's random numbers, so it differs from upstream's draw with the same seed.
    Boxes are decoded in float32, also under autocast: in bfloat16, coordinates move in steps of 2
    pixels from 256 on.

    What upstream can do and this cannot (another assigner, sampler, coder or kind of anchors, boxes
    to ignore, ``allowed_border``, ``reg_decoded_bbox``) is left to upstream's own loops.

    Args:
        *args: As of mmdet's ``RPNHead``.
        **kwargs: As of mmdet's ``RPNHead``.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.kept_anchors: OrderedDict[tuple, list[Tensor]] = OrderedDict()
        self.kept_flags: dict[tuple, Tensor] = {}

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: list[InstanceData] | None = None,
    ) -> dict[str, list[Tensor]]:
        """Losses of a batch; arguments and result as of ``RPNHead.loss_by_feat``.

        Args:
            cls_scores (list[Tensor]): Of each level (B, A_i, h_i, w_i).
            bbox_preds (list[Tensor]): Of each level (B, 4 A_i, h_i, w_i).
            batch_gt_instances (list[InstanceData]): True boxes, (M, 4) in pixels.
            batch_img_metas (list[dict]): ``pad_shape`` of each image.
            batch_gt_instances_ignore (list[InstanceData], optional): Boxes to ignore.

        Returns:
            dict: ``loss_rpn_cls`` and ``loss_rpn_bbox``, one of each level.
        """
        if not self.has_known_targets(batch_gt_instances_ignore):
            return super().loss_by_feat(
                cls_scores,
                bbox_preds,
                batch_gt_instances,
                batch_img_metas,
                batch_gt_instances_ignore=batch_gt_instances_ignore,
            )
        sizes = [tuple(score.shape[-2:]) for score in cls_scores]
        levels = self.anchors(sizes, cls_scores[0].device)
        lengths = [len(level) for level in levels]
        valid = self.valid_anchors(sizes, batch_img_metas, levels[0].device)
        *targets, avg_factor = self.batch_targets(torch.cat(levels), valid, batch_gt_instances)
        by_level = [target.split(lengths, dim=1) for target in targets]
        losses = [
            self.loss_by_feat_single(score, box, level, *of_level, avg_factor=avg_factor)
            for score, box, level, *of_level in zip(cls_scores, bbox_preds, levels, *by_level)
        ]
        loss_cls, loss_bbox = zip(*losses)
        return dict(loss_rpn_cls=list(loss_cls), loss_rpn_bbox=list(loss_bbox))

    def has_known_targets(self, to_ignore: Sequence[InstanceData | None] | None = None) -> bool:
        """Whether assigner, sampler, coder and anchors are those that are written out here."""
        return (
            knows_assigner(self.assigner, to_ignore)
            and knows_sampler(self.sampler)
            and not self.sampler.add_gt_as_proposals
            and self.train_cfg['allowed_border'] < 0
            and not self.reg_decoded_bbox
            and self.has_known_boxes()
        )

    def has_known_boxes(self) -> bool:
        """Whether coder and anchors are those that are written out here."""
        return (
            knows_coder(self.bbox_coder)
            and type(self.prior_generator) is AnchorGenerator
            and not self.prior_generator.use_box_type
        )

    def anchors(self, sizes: Sequence[tuple], device: torch.device) -> list[Tensor]:
        """Anchors of each level, (A_i h_i w_i, 4) in pixels, float32; kept for the next batch."""
        key = (*sizes, str(device))
        levels = self.kept_anchors.pop(key, None)
        if levels is None:
            levels = self.prior_generator.grid_priors(sizes, device=device)
        self.kept_anchors[key] = levels
        if len(self.kept_anchors) > MOST_SIZES:
            self.kept_anchors.popitem(last=False)
        return levels

    def valid_anchors(
        self, sizes: Sequence[tuple], batch_img_metas: list[dict], device: torch.device
    ) -> Tensor:
        """Which anchors lie in the padded image, bool, (B, A)."""
        shapes = [tuple(meta['pad_shape'][:2]) for meta in batch_img_metas]
        kept = self.kept_flags
        if len(kept) > MOST_SHAPES:
            kept.clear()
        keys = [(*sizes, shape, str(device)) for shape in shapes]
        for key, shape in zip(keys, shapes):
            if key not in kept:
                flags = self.prior_generator.valid_flags(sizes, shape, device=device)
                kept[key] = torch.cat(flags)
        return torch.stack([kept[key] for key in keys])

    @torch.no_grad()
    def batch_targets(
        self, anchors: Tensor, valid: Tensor, batch_gt_instances: list[InstanceData]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What the head has to learn from each anchor of each image.

        Args:
            anchors (Tensor): (A, 4).
            valid (Tensor): Which of them lie in which image, bool, (B, A).
            batch_gt_instances (list[InstanceData]): True boxes and labels.

        Returns:
            tuple: Labels (B, A), their weights (B, A), box deltas (B, A, 4), their weights
            (B, A, 4), and how many anchors were drawn, at least two an image.
        """
        boxes, labels, present = padded(batch_gt_instances, anchors)
        most = len(anchors)
        assigned = assign_batch(self.assigner, boxes, present, anchors, valid)
        drawn = self.sampler
        pos, is_pos, neg, is_neg = sample(assigned, drawn.num, drawn.pos_fraction, drawn.neg_pos_ub)
        positive, negative = chosen(pos, is_pos, most), chosen(neg, is_neg, most)
        box = (assigned - 1).clamp(min=0)
        label = torch.where(positive, labels.gather(1, box), self.num_classes)
        pos_weight = self.train_cfg['pos_weight']
        weight = positive * (pos_weight if pos_weight > 0 else 1.0) + negative.float()

        place = pos[..., None].expand(-1, -1, 4)
        truth = boxes.gather(1, box.gather(1, pos)[..., None].expand(-1, -1, 4))
        delta = self.bbox_coder.encode(anchors[pos].flatten(0, 1), truth.flatten(0, 1))
        delta = delta.view(*pos.shape, 4).masked_fill(~is_pos[..., None], 0)
        deltas = delta.new_zeros(len(boxes), most, 4).scatter_(1, place, delta)
        delta_weights = positive[..., None].expand(-1, -1, 4).to(deltas.dtype)
        number = is_pos.sum(1).clamp(min=1) + is_neg.sum(1).clamp(min=1)
        return label, weight, deltas, delta_weights, number.sum()

    @torch.no_grad()
    def predict_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        score_factors: list[Tensor] | None = None,
        batch_img_metas: list[dict] | None = None,
        cfg: dict | None = None,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> list[InstanceData]:
        """Proposals of a batch; arguments and result as of ``RPNHead.predict_by_feat``.

        Args:
            cls_scores (list[Tensor]): Of each level (B, A_i, h_i, w_i).
            bbox_preds (list[Tensor]): Of each level (B, 4 A_i, h_i, w_i).
            score_factors (list[Tensor], optional): None for this head.
            batch_img_metas (list[dict]): ``img_shape`` of each image.
            cfg (dict, optional): ``nms_pre``, ``nms``, ``max_per_img``, ``min_bbox_size``; by
                default those of ``test_cfg``.
            rescale (bool): Whether boxes are those of the original image.
            with_nms (bool): Has to be True.

        Returns:
            list[InstanceData]: ``bboxes`` (K, 4) in pixels, ``scores`` (K,), ``labels`` (K,).
        """
        if rescale or not with_nms or not self.use_sigmoid_cls or not self.has_known_boxes():
            return super().predict_by_feat(
                cls_scores, bbox_preds, score_factors, batch_img_metas, cfg, rescale, with_nms
            )
        cfg = self.test_cfg if cfg is None else cfg
        levels = self.anchors([tuple(s.shape[-2:]) for s in cls_scores], cls_scores[0].device)
        found = [
            best_of_level(score, box, level, cfg.get('nms_pre', -1))
            for score, box, level in zip(cls_scores, bbox_preds, levels)
        ]
        scores, deltas, priors = (torch.cat(parts, dim=1) for parts in zip(*found))
        level_ids = torch.cat(
            [
                scores.new_full(part[0].shape[1:], i, dtype=torch.long)
                for i, part in enumerate(found)
            ]
        )
        boxes = self.bbox_coder.decode(priors.flatten(0, 1), deltas.flatten(0, 1))
        boxes = boxes.view(*scores.shape, 4)
        if self.bbox_coder.clip_border:
            limits = [[m['img_shape'][1], m['img_shape'][0]] * 2 for m in batch_img_metas or []]
            boxes = boxes.clamp(min=0).minimum(boxes.new_tensor(limits)[:, None])
        return kept_boxes(boxes, scores, level_ids, cfg)


def best_of_level(
    score: Tensor, delta: Tensor, anchors: Tensor, most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (B, K), deltas (B, K, 4) and anchors (B, K, 4) of the best of a level, in float32."""
    scores = score.permute(0, 2, 3, 1).flatten(1).float().sigmoid()
    deltas = delta.permute(0, 2, 3, 1).reshape(len(scores), -1, 4).float()
    if not 0 < most < scores.shape[1]:
        return scores, deltas, anchors.expand(len(scores), -1, -1)
    scores, index = scores.sort(dim=1, descending=True)
    index = index[:, :most]
    return (
        scores[:, :most],
        deltas.gather(1, index[..., None].expand(-1, -1, 4)),
        anchors[index],
    )


def kept_boxes(boxes: Tensor, scores: Tensor, level_ids: Tensor, cfg: dict) -> list[InstanceData]:
    """What non-maximum suppression within each level leaves of each image."""
    smallest = cfg.get('min_bbox_size', -1)
    size = boxes[..., 2:] - boxes[..., :2]
    large = (size > smallest).all(2)
    all_large = smallest < 0 or bool(large.all())  # one wait for the batch
    results = []
    for box, score, is_large in zip(boxes, scores, large):
        level = level_ids
        if not all_large:
            box, score, level = box[is_large], score[is_large], level_ids[is_large]
        if len(box):
            kept, _ = batched_nms(box, score, level, cfg['nms'])
            kept = kept[: cfg['max_per_img']]
        else:
            kept = box.new_zeros(0, 5)
        labels = torch.zeros(len(kept), dtype=torch.long, device=kept.device)
        results.append(InstanceData(bboxes=kept[:, :4], scores=kept[:, 4], labels=labels))
    return results
