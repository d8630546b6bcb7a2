"""FP32RoIExtractor: region features at full coordinate precision under mixed precision."""

from mmengine.model import BaseModule
from torch import Tensor

from ..arguments import CONFIG, INIT_CFG, check_arguments
from ..registry import MODELS

#: What the arguments may be.
RULES = dict(roi_extractor=CONFIG, init_cfg=INIT_CFG)


@MODELS.register_module()
class FP32RoIExtractor(BaseModule):
    """Run a RoI extractor in float32, whatever the precision of the maps.

    mmdet's extractors cast the regions to the type of the maps. bfloat16 has 8 significant bits:
    from 256 pixels on, coordinates move in steps of 2, from 512 on of 4, which small defects do
    not survive. With maps in float32 the regions stay exact.

    Args:
        roi_extractor (dict): Config of the extractor, e.g. mmdet's ``SingleRoIExtractor``.
        init_cfg (dict, optional): Initialisation.
    """

    def __init__(self, roi_extractor: dict, init_cfg: dict | None = None) -> None:
        check_arguments('FP32RoIExtractor', RULES, locals())
        super().__init__(init_cfg)
        self.roi_extractor = MODELS.build(roi_extractor)
        self.featmap_strides = self.roi_extractor.featmap_strides
        self.out_channels = self.roi_extractor.out_channels

    @property
    def num_inputs(self) -> int:
        """Number of maps that the extractor reads."""
        return self.roi_extractor.num_inputs

    def forward(
        self, feats: tuple[Tensor, ...], rois: Tensor, roi_scale_factor: float | None = None
    ) -> Tensor:
        """Extract region features.

        Args:
            feats (tuple[Tensor, ...]): Maps (B, C, h_i, w_i).
            rois (Tensor): Regions (K, 5): image index, x1, y1, x2, y2 in pixels.
            roi_scale_factor (float, optional): Factor by which regions are enlarged.

        Returns:
            Tensor: Features (K, C, s, s), float32.
        """
        maps = tuple(feat.float() for feat in feats)
        return self.roi_extractor(maps, rois.float(), roi_scale_factor)
