"""Augmentation of whole batches on the device that trains: crop, flip and resize in one go."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from ..hints import did_you_mean

__all__ = ['BatchTransforms', 'crop_and_resize', 'random_boxes']

#: Transforms that a batch can be given, of torchvision.transforms.v2.
KNOWN = ('RandomHorizontalFlip', 'RandomResizedCrop', 'Resize')
TRIES = 10


class BatchTransforms:
    """Transforms of torchvision, with draws of its own for each image of a batch.

    Boxes are drawn as torchvision draws them; an image is cut out and scaled by bilinear
    interpolation, to within one grey level of torchvision's. Images are not made smaller: that
    would ask for antialiasing.

    Args:
        transforms (list[dict]): Configs of :data:`KNOWN` transforms, ``RandomResizedCrop`` or
            ``Resize`` once.

    Raises:
        ValueError: Another transform, or more than one size.
    """

    def __init__(self, transforms: list[dict]) -> None:
        self.crop: v2.RandomResizedCrop | None = None
        self.size: tuple[int, int] | None = None
        self.flip = 0.0
        for cfg in transforms:
            arguments = dict(cfg)
            name = arguments.pop('type')
            if name not in KNOWN:
                raise ValueError(
                    f'in_memory=True has no transform {name!r}; choose from {", ".join(KNOWN)}, or '
                    f'leave in_memory out{did_you_mean(name, KNOWN)}'
                )
            transform = getattr(v2, name)(**arguments)
            if name == 'RandomHorizontalFlip':
                self.flip = transform.p
                continue
            if self.size is not None or len(size := tuple(transform.size)) != 2:
                raise ValueError(
                    'in_memory=True takes one RandomResizedCrop or Resize, to (height, width); got '
                    f'{transforms}'
                )
            if not all(isinstance(side, int) and side > 0 for side in size):
                raise ValueError(
                    f'{name} to size={size} is not allowed; give whole numbers above 0'
                )
            self.size = size
            self.crop = transform if name == 'RandomResizedCrop' else None

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise ValueError if pictures of this width and height would be made smaller."""
        width, height = size
        if self.size and (height > self.size[0] or width > self.size[1]):
            raise ValueError(
                f'the pictures are {width}x{height}, and in_memory=True only scales up, not down '
                f'to {self.size[1]}x{self.size[0]}; leave it out, or resize the files'
            )

    def __call__(self, images: Tensor) -> Tensor:
        """Transform a batch.

        Args:
            images (Tensor): uint8 (B, 3, H, W).

        Returns:
            Tensor: uint8 (B, 3, h, w).
        """
        count, _, height, width = images.shape
        boxes = torch.tensor([0, 0, height, width]).expand(count, 4)
        if self.crop is not None:
            boxes = random_boxes(count, (height, width), self.crop.scale, self.crop.ratio)
        flipped = torch.rand(count) < self.flip
        size = self.size or (height, width)
        if size == (height, width) and self.crop is None:
            return torch.where(
                flipped.to(images.device)[:, None, None, None], images.flip(-1), images
            )
        return crop_and_resize(images, boxes, flipped, size)


def random_boxes(
    count: int, size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """Boxes as ``RandomResizedCrop`` draws them: an area and a shape that fit, at any place.

    Args:
        count (int): Images.
        size (tuple[int, int]): Height and width of each.
        scale (tuple[float, float]): Least and largest share of the area.
        ratio (tuple[float, float]): Least and largest width over height.

    Returns:
        Tensor: top, left, height, width, integers (count, 4).
    """
    height, width = size
    draws = torch.rand(count, TRIES, 2)
    area = height * width * (scale[0] + (scale[1] - scale[0]) * draws[..., 0])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    shape = torch.exp(low + (high - low) * draws[..., 1])
    tall, wide = (area / shape).sqrt().round().long(), (area * shape).sqrt().round().long()
    fits = (tall > 0) & (tall <= height) & (wide > 0) & (wide <= width)
    first = fits.long().argmax(1, keepdim=True)
    tall, wide = tall.gather(1, first)[:, 0], wide.gather(1, first)[:, 0]
    none = ~fits.any(1)
    # None of ten fits: the largest box of an allowed shape, in the middle.
    shape_of_all = min(max(width / height, ratio[0]), ratio[1])
    tall[none] = min(height, round(width / shape_of_all))
    wide[none] = min(width, round(height * shape_of_all))
    place = torch.rand(count, 2)
    place[none] = 0.5
    top = (place[:, 0] * (height - tall + 1)).long().clamp(max=height - 1)
    left = (place[:, 1] * (width - wide + 1)).long().clamp(max=width - 1)
    top[none], left[none] = (height - tall[none]) // 2, (width - wide[none]) // 2
    return torch.stack([top, left, tall, wide], 1)


def crop_and_resize(
    images: Tensor, boxes: Tensor, flipped: Tensor, size: tuple[int, int]
) -> Tensor:
    """Cut a box out of each image, mirror it or not, and scale it up.

    Args:
        images (Tensor): uint8 (B, 3, H, W).
        boxes (Tensor): top, left, height, width in pixels, (B, 4).
        flipped (Tensor): bool (B,).
        size (tuple[int, int]): Height and width of the result; no box is larger.

    Returns:
        Tensor: uint8 (B, 3, h, w).
    """
    device = images.device
    boxes = boxes.to(device, torch.float32, non_blocking=True)
    rows = grid_coordinates(boxes[:, 0], boxes[:, 2], size[0], images.shape[2])
    columns = grid_coordinates(boxes[:, 1], boxes[:, 3], size[1], images.shape[3])
    flipped = flipped.to(device, non_blocking=True)
    columns = torch.where(flipped[:, None], columns.flip(1), columns)
    grid = torch.stack(
        [
            columns[:, None, :].expand(-1, size[0], -1),
            rows[:, :, None].expand(-1, -1, size[1]),
        ],
        -1,
    )
    found = F.grid_sample(
        images.float(), grid, mode='bilinear', padding_mode='border', align_corners=False
    )
    return found.round_().to(torch.uint8)


def grid_coordinates(start: Tensor, length: Tensor, count: int, whole: int) -> Tensor:
    """Where along one axis the new pixels lie, in the coordinates of ``grid_sample``: (B, count).

    Nothing is read beyond the box, as if it had been cut out first.
    """
    steps = torch.arange(count, device=start.device) + 0.5
    place = steps[None] * (length / count)[:, None] - 0.5
    place = torch.minimum(place.clamp(min=0), (length - 1)[:, None]) + start[:, None]
    return (2 * place + 1) / whole - 1
