"""SimpleFeaturePyramid: several scales from one map of a plain ViT."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from mmengine.model import BaseModule
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from ..arguments import (
    EMPTY,
    INDICES,
    INIT_CFG,
    check_arguments,
    either,
    integer,
    listing,
    one_of,
)
from ..registry import MODELS

#: What the arguments may be.
RULES = dict(
    in_channels=either(integer(1, 65536), listing(integer(1, 65536))),
    out_channels=integer(1, 65536),
    num_outs=integer(1, 16),
    start_level=one_of(range(4)),
    skip_levels=either(EMPTY, INDICES),
    init_cfg=INIT_CFG,
)


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """The simple feature pyramid of ViTDet (arXiv 2203.16527, figure 2c).

    From the last map of a plain ViT at stride s come maps at strides s/4, s/2, s and 2s, each
    through a 1x1 and a 3x3 convolution, and coarser ones by max pooling.

    Args:
        in_channels (int | list[int]): Channels of the map; of a list (the interface of other
            necks) the last entry counts.
        out_channels (int): Channels of each output.
        num_outs (int): Outputs.
        start_level (int): First output, 0 to 3: 0 is stride s/4, 1 is s/2 and so on. RetinaNet,
            FCOS and DINO leave out the finest with 1.
        skip_levels (Sequence[int]): Levels behind ``start_level``, at most 3, that no head reads
            and that are left out: ``num_outs`` counts them, what is returned does not.
        init_cfg (dict, optional): Initialisation.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        in_channels: int | list[int],
        out_channels: int = 256,
        num_outs: int = 5,
        start_level: int = 0,
        skip_levels: Sequence[int] = (),
        init_cfg: dict | None = None,
    ) -> None:
        check_arguments('SimpleFeaturePyramid', RULES, locals())
        super().__init__(init_cfg)
        dim = in_channels if isinstance(in_channels, int) else in_channels[-1]
        if dim % 4:
            raise ValueError(f'in_channels={dim} is not allowed; it must be a multiple of 4')
        levels = list(range(start_level, min(start_level + num_outs, 4)))
        skip_levels = require_levels(skip_levels, levels)
        levels = [level for level in levels if level not in skip_levels]
        self.num_extra = max(0, start_level + num_outs - 4)
        resample = [
            nn.Sequential(
                nn.ConvTranspose2d(dim, dim // 2, 2, stride=2),
                LayerNorm2d(dim // 2),
                nn.GELU(),
                nn.ConvTranspose2d(dim // 2, dim // 4, 2, stride=2),
            ),
            nn.ConvTranspose2d(dim, dim // 2, 2, stride=2),
            nn.Identity(),
            nn.MaxPool2d(2, stride=2, ceil_mode=True),
        ]
        self.stages = nn.ModuleList(
            nn.Sequential(
                scale,
                nn.Conv2d(channels, out_channels, 1, bias=False),
                LayerNorm2d(out_channels),
                nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
                LayerNorm2d(out_channels),
            )
            for scale, channels in (
                (resample[i], (dim // 4, dim // 2, dim, dim)[i]) for i in levels
            )
        )

    def forward(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Build the pyramid.

        Args:
            inputs (tuple[Tensor, ...]): Maps of the backbone; the last, (B, C, h, w), is used.

        Returns:
            tuple[Tensor, ...]: ``num_outs`` maps (B, out_channels, ., .), fine to coarse.
        """
        # Norms leave channels last; some heads, e.g. DMNet's, take views that ask for NCHW.
        outs = [stage(inputs[-1]).contiguous() for stage in self.stages]
        for _ in range(self.num_extra):
            outs.append(F.max_pool2d(outs[-1], 1, stride=2))
        return tuple(outs)


def require_levels(skip_levels: Sequence[int], levels: list[int]) -> list[int]:
    """Check that levels which are left out lie between the first and the last one.

    Raises:
        ValueError: If one does not.
    """
    inner = levels[1:-1]
    given: Any = skip_levels  # as it stands in a config
    wanted = [given] if isinstance(given, int) else list(given)
    if not set(wanted) <= set(inner):
        raise ValueError(
            f'skip_levels={skip_levels!r} is not allowed; choose from {inner}, the levels between '
            'the first and the last one'
        )
    return wanted
