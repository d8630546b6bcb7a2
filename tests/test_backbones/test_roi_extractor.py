"""FP32RoIExtractor."""

import pytest
import torch

from mkbackbones.registry import MODELS

pytest.importorskip('mmdet')


def test_regions_keep_their_precision_under_bfloat16():
    """A region that bfloat16 cannot hold reads the same place as in float32."""
    import mmdet.models  # noqa: F401

    inner = dict(
        type='mmdet.SingleRoIExtractor',
        roi_layer=dict(type='RoIAlign', output_size=2, sampling_ratio=2),
        out_channels=1,
        featmap_strides=[4],
    )
    wrapped = MODELS.build(dict(type='mkbackbones.FP32RoIExtractor', roi_extractor=inner))
    plain = MODELS.build(inner)
    ramp = torch.arange(128.0).expand(1, 1, 128, 128)  # the column of each cell
    rois = torch.tensor([[0, 497.0, 400.0, 505.0, 408.0]])
    wanted = plain((ramp,), rois)
    found = wrapped((ramp.bfloat16(),), rois)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted)
    assert (plain((ramp.bfloat16(),), rois).float() - wanted).abs().max() > 0.1
    assert wrapped.num_inputs == 1 and wrapped.out_channels == 1
