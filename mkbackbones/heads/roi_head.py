"""BatchedRoIHead: mmdet's second stage, with the regions of a batch drawn at once."""

from typing import Any, NamedTuple

import numpy as np
import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.task_modules.samplers.sampling_result import SamplingResult
from mmdet.models.utils import unpack_gt_instances
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .assign import IGNORED, assign_batch, leading, padded, sample
from .known import knows_assigner, knows_coder, knows_sampler

__all__ = ['BatchedRoIHead']


class Drawn(NamedTuple):
    """The regions of a batch that are learnt from, those of an image together, positive first.

    Args:
        rois (Tensor): (R, 5), the index of the image and x1, y1, x2, y2 in pixels.
        targets (tuple[Tensor, ...]): Labels (R,), their weights (R,), deltas (R, 4), their weights
            (R, 4).
        results (list[SamplingResult]): The same for the mask head, image by image, as views.
    """

    rois: Tensor
    targets: tuple[Tensor, Tensor, Tensor, Tensor]
    results: list[SamplingResult]


class BatchedRoIHead(StandardRoIHead):
    """mmdet's ``StandardRoIHead`` without its loops over the images in training.

    Regions are assigned, drawn and given targets for the whole batch, with one wait for the GPU
    instead of a dozen an image. Parameters, losses and predictions are upstream's; which regions
    are drawn comes from the device's random numbers. The mask head has its own loop over the
    images still.

    Upstream's loops serve where there are boxes to ignore, and where something else than a
    ``MaxIoUAssigner``, a ``RandomSampler``, a ``DeltaXYWHBBoxCoder`` or a box head with the targets
    of ``BBoxHead`` is used. ``roi_head=dict(type='mkbackbones.BatchedRoIHead', ...)``; arguments as
    of ``StandardRoIHead``.
    """

    def loss(
        self,
        x: tuple[Tensor, ...],
        rpn_results_list: list[Any],
        batch_data_samples: list,
    ) -> dict[str, Tensor]:
        """Losses of a batch; arguments and result as of ``StandardRoIHead.loss``.

        Args:
            x (tuple[Tensor, ...]): Maps (B, C, h_i, w_i).
            rpn_results_list (list[InstanceData]): Proposals, ``bboxes`` (K, 4) in pixels.
            batch_data_samples (list[DetDataSample]): True instances of each image.

        Returns:
            dict: Losses by name.
        """
        truths, to_ignore, _ = unpack_gt_instances(batch_data_samples)
        if not self.has_known_targets(to_ignore):
            return super().loss(x, rpn_results_list, batch_data_samples)
        drawn = self.draw([each.bboxes for each in rpn_results_list], truths)
        found = self._bbox_forward(x, drawn.rois)
        losses = self.bbox_head.loss(
            found['cls_score'], found['bbox_pred'], drawn.rois, *drawn.targets
        )
        if self.with_mask:
            masks = self.mask_loss(x, drawn.results, found['bbox_feats'], truths)
            losses.update(masks['loss_mask'])
        return losses

    def has_known_targets(self, to_ignore: list[InstanceData | None] | None = None) -> bool:
        """Whether assigner, sampler and box head are those that are written out here."""
        head = self.bbox_head if self.with_bbox else None
        return (
            isinstance(head, BBoxHead)
            and all(
                getattr(type(head), name) is getattr(BBoxHead, name)
                for name in ('get_targets', '_get_targets_single', 'loss_and_target')
            )
            and type(self).bbox_loss is StandardRoIHead.bbox_loss
            and not head.reg_decoded_bbox
            and knows_coder(head.bbox_coder)
            and knows_assigner(self.bbox_assigner, to_ignore)
            and knows_sampler(self.bbox_sampler)
        )

    @torch.no_grad()
    def draw(self, proposals: list[Tensor], truths: list[InstanceData]) -> Drawn:
        """Draw regions of all images, and work out what is to be learnt from them.

        Args:
            proposals (list[Tensor]): Boxes of each image, (K, 4) in pixels.
            truths (list[InstanceData]): True boxes and labels of each image.
        """
        head, sampler = self.bbox_head, self.bbox_sampler
        priors = pad_sequence([each.float() for each in proposals], batch_first=True)
        boxes, labels, present = padded(truths, priors)
        valid = leading(proposals, priors)
        assigned = assign_batch(self.bbox_assigner, boxes, present, priors, valid)
        if sampler.add_gt_as_proposals:
            itself = torch.arange(1, boxes.shape[1] + 1, device=boxes.device)
            assigned = torch.cat((torch.where(present, itself, IGNORED), assigned), dim=1)
            priors = torch.cat((boxes, priors), dim=1)
        pos, is_pos, neg, is_neg = sample(
            assigned, sampler.num, sampler.pos_fraction, sampler.neg_pos_ub
        )
        # The one wait: how many there are of each image. What is drawn comes first in its row.
        num_pos, num_neg = torch.stack((is_pos.sum(1), is_neg.sum(1))).tolist()
        rows, positive = places(num_pos, num_neg, pos.shape[1], neg.shape[1])
        rows, positive = rows.to(priors.device), positive.to(priors.device)

        index = torch.cat((pos, neg), dim=1)
        image = rows.div(index.shape[1], rounding_mode='floor')
        prior = index.flatten()[rows]
        regions = priors[image, prior]
        truth = (assigned[image, prior] - 1)[positive]
        pos_boxes, pos_labels = boxes[image[positive], truth], labels[image[positive], truth]

        number = len(rows)
        label = torch.full((number,), head.num_classes, device=rows.device)
        label[positive] = pos_labels
        weight = regions.new_ones(number)
        pos_weight = self.train_cfg.pos_weight
        if pos_weight > 0:
            weight[positive] = pos_weight
        deltas, delta_weights = regions.new_zeros(2, number, 4)
        deltas[positive] = head.bbox_coder.encode(regions[positive], pos_boxes)
        delta_weights[positive] = 1.0
        rois = torch.cat((image[:, None].to(regions), regions), dim=1)
        results = by_image(num_pos, num_neg, regions, truth, pos_boxes, pos_labels)
        return Drawn(rois, (label, weight, deltas, delta_weights), results)


def places(
    num_pos: list[int], num_neg: list[int], most_pos: int, most_neg: int
) -> tuple[Tensor, Tensor]:
    """Where the drawn regions stand in rows of ``most_pos`` and ``most_neg`` places an image.

    Returns:
        tuple: Their places in all rows, (R,), and which of the R are positive, as indices.
    """
    rows, positive, count = [], [], 0
    width = most_pos + most_neg
    for i, (p, n) in enumerate(zip(num_pos, num_neg)):
        rows += [np.arange(p) + i * width, np.arange(n) + i * width + most_pos]
        positive.append(np.arange(p) + count)
        count += p + n
    return torch.from_numpy(np.concatenate(rows)), torch.from_numpy(np.concatenate(positive))


def by_image(
    num_pos: list[int],
    num_neg: list[int],
    regions: Tensor,
    truth: Tensor,
    pos_boxes: Tensor,
    pos_labels: Tensor,
) -> list[SamplingResult]:
    """What the drawn regions of each image are, for mmdet's mask heads, as views."""
    sizes = [size for pair in zip(num_pos, num_neg) for size in pair]
    parts = regions.split(sizes)
    results = []
    for i, (of_truth, of_boxes, of_labels) in enumerate(
        zip(truth.split(num_pos), pos_boxes.split(num_pos), pos_labels.split(num_pos))
    ):
        result: Any = SamplingResult.__new__(SamplingResult)  # its constructor takes indices
        result.pos_priors, result.neg_priors = parts[2 * i], parts[2 * i + 1]
        result.pos_assigned_gt_inds = of_truth
        result.pos_gt_bboxes, result.pos_gt_labels = of_boxes, of_labels
        result.num_pos, result.num_neg = max(num_pos[i], 1), max(num_neg[i], 1)
        result.avg_factor = result.num_pos + result.num_neg
        results.append(result)
    return results
