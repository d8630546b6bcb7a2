"""``type='mkbackbones.X'`` resolves from every scope without an import of its modules."""

import os
import subprocess
import sys
from importlib.util import find_spec

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


#: What runs before a build, and which registry is asked: ``mmdet.models`` needs mmcv's operators,
#: compiled or ours; the latter take an import.
SCOPES = {
    'mmengine': ('', 'ROOT'),
    'mmdet': ('import mkbackbones, mmdet.registry', 'mmdet.registry.MODELS'),
    'mmseg': ('import mmseg.registry', 'mmseg.registry.MODELS'),
    'mmpretrain': ('import mmpretrain.registry', 'mmpretrain.registry.MODELS'),
}
#: Runs each argument in a process of its own, forked from one that has what takes long to import.
FORK = """
import os, sys
import timm, torchvision, mmengine.registry
for code in sys.argv[1:]:
    child = os.fork()
    if not child:
        exec(code)
        sys.stdout.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='processes are forked')
def test_resolves_from_every_scope():
    here = [scope for scope in SCOPES if find_spec(scope)]
    codes = []
    for scope in here:
        setup, registry = SCOPES[scope]
        codes.append(BUILD.format(scope=scope, setup=setup, registry=registry))
    run = subprocess.run([sys.executable, '-c', FORK, *codes], capture_output=True, text=True)
    built = 'ManifoldSwin SimpleFeaturePyramid BFloat16OptimWrapper'
    assert run.returncode == 0 and run.stdout.count(built) == len(here), run.stderr


REGISTRY = """
from mmengine.registry import MODELS as ROOT
from mmengine.registry import Registry
MODELS = Registry('model', parent=ROOT, locations={locations})
"""
MODEL = """
import torch
from ..registry import MODELS

@MODELS.register_module()
class Net(torch.nn.Module):
    def __init__(self, backbone, neck):
        super().__init__()
        self.backbone, self.neck = MODELS.build(backbone), MODELS.build(neck)

@MODELS.register_module()
class ManifoldSwin(torch.nn.Module):
    pass
"""
BUILD_IN = """
import sys, torch
from mmengine.registry import MODELS, DefaultScope
arch = dict(embed_dims=16, depths=(1, 1), num_heads=(1, 2))
key_cfg = dict(type='SpatialK', num_charts=2)
backbone = dict(type='mkbackbones.ManifoldSwin', arch=arch, out_indices=(1,), key_cfg=key_cfg)
neck = dict(type='mkbackbones.SimpleFeaturePyramid', in_channels=32, out_channels=8)
for name in sys.argv[1:]:
    with DefaultScope.overwrite_default_scope(name):
        net = MODELS.build(dict(type='Net', backbone=backbone, neck=neck))
    assert type(net).__module__ == f'{name}.models'
    assert type(net.backbone).__module__ == 'mkbackbones.backbones.swin'
    assert len(net.neck(net.backbone(torch.zeros(1, 3, 64, 64)))) > 1
    print(name)
"""


def test_libraries_that_are_not_here_build_it_by_scope(tmp_path):
    """Each is a fake with the registry of the real one, and a class of the same name as ours."""
    names = ['mmpretrain', 'mmpose', 'mmdet3d', 'mmyolo', 'mmrotate']
    for name in names:
        (tmp_path / name / 'models').mkdir(parents=True)
        (tmp_path / name / '__init__.py').touch()
        text = REGISTRY.format(locations=[f'{name}.models'])
        (tmp_path / name / 'registry.py').write_text(text, encoding='utf-8')
        (tmp_path / name / 'models' / '__init__.py').write_text(MODEL, encoding='utf-8')
    (tmp_path / 'build.py').write_text(BUILD_IN, encoding='utf-8')
    run = subprocess.run(
        [sys.executable, 'build.py', *names], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.stdout.split()[-len(names) :] == names, run.stderr


def test_rotated_operators_are_missing_and_say_so():
    """mmrotate's heads need them: it has to be built with mmcv's compiled operators."""
    pytest.importorskip('mmcv')
    torch = pytest.importorskip('torch')
    import mkbackbones

    if mkbackbones.ops.backend() != 'torchvision':
        pytest.skip('mmcv has operators of its own, or none at all')
    from mmcv.ops import box_iou_rotated, nms_rotated

    boxes = torch.tensor([[5.0, 5.0, 4.0, 2.0, 0.3]])
    for call in (
        lambda: box_iou_rotated(boxes, boxes),
        lambda: nms_rotated(boxes, torch.ones(1), 0.5),
    ):
        with pytest.raises(NotImplementedError, match='rotated'):
            call()
