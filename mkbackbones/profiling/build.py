"""From a name to a backbone: ours and the ones that users of OpenMMLab and timm have today.

Every backbone takes images (B, 3, H, W) and returns a tuple of NCHW maps: the four stages of a
Swin, the last block of a ViT. Options other than the name's are the library's own defaults, except
for stochastic depth, which is the same everywhere. timm's maps come without a final norm, and its
Swin's are views of NHWC maps: it does a little less than the others.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from torch import Tensor, nn

from .spec import Spec, archs

DROP_PATH_RATE = 0.1


class Unavailable(Exception):
    """A backbone that cannot be built here: its library is missing or does not import."""


class NchwFeatures(nn.Module):
    """timm's feature extractor with NCHW outputs.

    Args:
        model (nn.Module): Extractor that returns a list of maps.
        channels_last (bool): Whether those are NHWC.
    """

    def __init__(self, model: nn.Module, channels_last: bool) -> None:
        super().__init__()
        self.model = model
        self.channels_last = channels_last

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = self.model(x)
        return tuple(m.permute(0, 3, 1, 2) for m in maps) if self.channels_last else tuple(maps)


def build_backbone(spec: Spec, size: tuple[int, int]) -> nn.Module:
    """Build a backbone with random weights, on the current default device, not yet compiled.

    Args:
        spec (Spec): Which.
        size (tuple[int, int]): Image height and width, in pixels.

    Raises:
        Unavailable: If its library is missing or does not import.
        ValueError: If the key does not take its options.
    """
    if spec.library == 'timm':
        return build_timm(spec, size)
    cfg = backbone_cfg(spec)
    if spec.library:
        import_library(spec.library)
    from ..registry import MODELS

    model = MODELS.build(cfg)
    if spec.get('fold') == 'yes':
        from ..attention.inject import fold_manifold_keys

        if left := fold_manifold_keys(model):
            raise ValueError(f'{spec} is not linear and does not fold: {left[0]}')
    return model


def import_library(name: str) -> None:
    """Import a library of OpenMMLab and its models.

    Raises:
        Unavailable: If it is missing or does not import.
    """
    if importlib.util.find_spec(name) is None:
        raise Unavailable(f'{name} is not installed')
    try:
        importlib.import_module(f'{name}.models')
    except Exception as error:  # versions that do not fit raise whatever they like
        raise Unavailable(f'{name} does not import: {error}') from error


def backbone_cfg(spec: Spec) -> dict:
    """The backbone as ``model.backbone`` of an OpenMMLab config.

    Raises:
        Unavailable: For timm's, which have no such form.
    """
    if spec.library == 'timm':
        raise Unavailable('timm: backbones have no config of OpenMMLab')
    backbone, name = archs()[spec.arch]
    cfg = dict(drop_path_rate=DROP_PATH_RATE)
    if spec.library != 'mmpretrain':  # its ViT has no such argument
        cfg['with_cp'] = spec.get('cp') == 'yes'
    if not spec.library:
        kind = f'mkbackbones.{backbone.__name__}'
        return dict(cfg, type=kind, arch=name, key_cfg=key_cfg(spec))
    return dict(cfg, **spec.family.peer_config(spec.library, name, backbone.archs[name]))


def key_cfg(spec: Spec) -> dict | list[dict] | None:
    """The ``key_cfg`` of a name; where charts are narrow, one for each stage."""
    if spec.key is None:
        return None
    cfg: dict = dict(type=spec.key)
    if spec.key == 'MLPK':
        return dict(cfg, match=dict(type='SpatialK'))
    charts = int(spec.get('charts', '8'))
    if spec.get('charts') != 'no':
        cfg['num_charts'] = charts
    if spec.get('act') == 'none':
        cfg['act_cfg'] = None
    if spec.get('base', 'yes') == 'no':
        cfg['base'] = False
    width = spec.get('width', 'full')
    if width == 'full':
        return cfg
    divisor = 2 if width == 'half' else charts
    dims = archs()[spec.arch].dims
    if len(dims) == 1:
        return dict(cfg, chart_channels=max(dims[0] // divisor, 1))
    return [
        dict(cfg, chart_channels=max(channels // divisor, 1), stages=[stage])
        for stage, channels in enumerate(dims)
    ]


def build_timm(spec: Spec, size: tuple[int, int]) -> nn.Module:
    """timm's backbone.

    Fused attention is timm's default (off for Swin, on for ViT) unless the name says so. It is set
    on the layers, since ``TIMM_FUSED_ATTN`` is read once, when timm is imported.
    """
    import timm

    common: dict[str, Any] = dict(
        pretrained=False, features_only=True, drop_path_rate=DROP_PATH_RATE
    )
    args = spec.family.peer_timm(archs()[spec.arch].name, size)
    model = timm.create_model(**args, **common)
    module: Any
    fused = spec.get('fused', 'default')
    for module in model.modules():
        if fused != 'default' and hasattr(module, 'fused_attn'):
            module.fused_attn = fused == 'yes'
    return NchwFeatures(model, channels_last=getattr(model, 'output_fmt', 'NCHW') == 'NHWC')
