"""``type='mkbackbones.X'`` resolves from every scope without an import of its modules."""

import subprocess
import sys

import pytest

BUILD = """
from mmengine.registry import MODELS as ROOT, OPTIM_WRAPPERS, DefaultScope
{setup}
import sys
assert not any(name in sys.modules for name in ('mkbackbones.backbones', 'mkbackbones.registry'))
arch = dict(embed_dims=16, depths=(1, 1), num_heads=(1, 2))
with DefaultScope.overwrite_default_scope({scope!r}):
    backbone = {registry}.build(dict(
        type='mkbackbones.ManifoldSwin', arch=arch, out_indices=(0, 1), key_cfg=dict(type='KUA')))
    neck = {registry}.build(dict(type='mkbackbones.SimpleFeaturePyramid', in_channels=16))
    wrapper = OPTIM_WRAPPERS.get('mkbackbones.BFloat16OptimWrapper')
print(type(backbone).__name__, type(neck).__name__, wrapper.__name__)
"""


@pytest.mark.parametrize(
    ('scope', 'setup', 'registry'),
    [
        ('mmengine', '', 'ROOT'),
        # mmdet.models needs mmcv's operators, compiled or ours; the latter take an import.
        ('mmdet', 'import mkbackbones, mmdet.registry', 'mmdet.registry.MODELS'),
        ('mmseg', 'import mmseg.registry', 'mmseg.registry.MODELS'),
        ('mmpretrain', 'import mmpretrain.registry', 'mmpretrain.registry.MODELS'),
    ],
)
def test_resolves_from(scope, setup, registry):
    if scope != 'mmengine':
        pytest.importorskip(scope)
    code = BUILD.format(scope=scope, setup=setup, registry=registry)
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert run.stdout.strip().endswith('ManifoldSwin SimpleFeaturePyramid BFloat16OptimWrapper'), (
        run.stderr
    )
