"""The order of imports, the choice of a backend and what becomes of operators not covered."""

import importlib
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import mkbackbones.ops
from mkbackbones.ops import extension

ROOT = Path(mkbackbones.ops.__file__).parents[2]
needs_bare_mmcv = pytest.mark.skipif(
    mkbackbones.ops.backend() != 'torchvision',
    reason="needs an mmcv without compiled operators: this one's are "
    + {'compiled': 'compiled', 'none': 'not there at all'}.get(mkbackbones.ops.backend(), ''),
)
# mkbackbones.ops alone, without what else `import mkbackbones` brings in
ALONE = f"""
import sys, types
package = types.ModuleType('mkbackbones')
package.__path__ = [{str(ROOT / 'mkbackbones')!r}]
sys.modules['mkbackbones'] = package
"""


def run(code, *paths):
    """Run code in a fresh interpreter whose path begins with the given folders."""
    path = [str(p) for p in (*paths, ROOT)]
    code = f'import sys; sys.path[:0] = {path}\n{code}'
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout, result.stderr


@needs_bare_mmcv
def test_before_mmdet():
    run(f"""{ALONE}
import mkbackbones.ops as ops
assert ops.backend() == 'torchvision'
assert not {{'mmcv', 'torch'}} & set(sys.modules), 'looking for mmcv must not import it'
ops.install()
finders = len(sys.meta_path)
ops.install()
assert 'mmcv' not in sys.modules and len(sys.meta_path) == finders

import mmdet.models, mmseg.models
import mmcv
assert mmcv._ext.__file__ == {extension.__file__!r}
assert 'mkbackbones' in mmcv.ops.get_compiler_version()
assert mmcv.ops.get_compiling_cuda_version() == 'not available'
from mmengine.utils.dl_utils.misc import mmcv_full_available
assert mmcv_full_available()
""")


@needs_bare_mmcv
def test_custom_imports_after_mmdet_utils(tmp_path):
    # The order of mmdet's own tools/train.py: mmdet.utils, the config, then the models.
    config = tmp_path / 'config.py'
    config.write_text(
        "custom_imports = dict(imports=['mkbackbones'], allow_failed_imports=False)\n"
    )
    run(f"""
import mmdet.utils
from mmengine.config import Config
Config.fromfile({str(config)!r})
import mmcv.ops, mmdet.models, mmseg.models
from mmdet.structures.mask import structures
assert structures.roi_align is mmcv.ops.roi_align
""")


@needs_bare_mmcv
def test_after_imports_that_failed():
    # Without operators, the original line's mmseg fails; the maintained one's goes on with less.
    found, errors = run(f"""{ALONE}
for name in ('mmcv.ops', 'mmdet.models'):
    try:
        __import__(name)
    except ImportError:
        continue
    raise AssertionError(name)
try:
    import mmseg.models
except ModuleNotFoundError:
    pass
else:
    print('mmseg went on')
    from mmdet.models.layers import bbox_nms
    assert bbox_nms.batched_nms.__module__ == bbox_nms.__name__, 'a placeholder of mmdet'

import mkbackbones.ops as ops
ops.install()
import mmcv.ops, mmdet.models, mmseg.models
from mmdet.models.layers import bbox_nms
from mkbackbones.ops.placeholders import _placeholders
assert not list(_placeholders())
assert bbox_nms.batched_nms is mmcv.ops.batched_nms
for module, name, operator in (
    ('mmdet.models.losses.focal_loss', '_sigmoid_focal_loss', mmcv.ops.sigmoid_focal_loss),
    ('mmdet.models.necks.nas_fpn', 'SumCell', mmcv.ops.merge_cells.SumCell),
    ('mmseg.models.losses.focal_loss', '_sigmoid_focal_loss', mmcv.ops.sigmoid_focal_loss),
    ('mmseg.models.decode_heads.psa_head', 'PSAMask', mmcv.ops.PSAMask),
):
    assert getattr(sys.modules[module], name) is operator, (module, name)
from mmdet.models.dense_heads import MaskFormerHead
if issubclass(mmseg.models.MaskFormerHead, MaskFormerHead):
    print('heads are whole')
""")
    went_on = 'mmseg went on' in found
    assert went_on == ('Import mkbackbones first' in errors)
    assert went_on or 'heads are whole' in found


def fake_mmcv(folder, *files):
    for file in ('mmcv/__init__.py', *files):
        path = folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_text("raise ImportError('only to be looked at')\n")


@pytest.mark.parametrize(
    'files, expected',
    [
        (['mmcv/ops.py', f'mmcv/_ext{EXTENSION_SUFFIXES[0]}'], 'compiled'),
        (['mmcv/ops.py', 'mmcv/_ext.cpython-27-x86_64-linux-gnu.so'], 'torchvision'),
        (['mmcv/ops.py'], 'torchvision'),
        ([], 'none'),
    ],
    ids=['compiled', 'for another Python', 'bare', 'lite'],
)
def test_backend_without_importing_mmcv(tmp_path, files, expected):
    fake_mmcv(tmp_path, *files)
    run(
        f"""{ALONE}
import mkbackbones.ops as ops
assert ops.backend() == {expected!r}, ops.backend()
before = list(sys.meta_path)
ops.install()
assert (sys.meta_path != before) == ({expected!r} == 'torchvision')
assert 'mmcv' not in sys.modules
""",
        tmp_path,
    )


@pytest.mark.parametrize('stub', ['None', "types.ModuleType('mmcv')"], ids=['no mmcv', 'stub'])
def test_no_mmcv_is_no_error(stub):
    run(f"""{ALONE}
sys.modules['mmcv'] = {stub}
import mkbackbones.ops as ops
assert ops.backend() == 'none'
ops.install()
""")


@needs_bare_mmcv
def test_mmcv_imports_a_stand_in_for_every_operator():
    mkbackbones.ops.install()
    module = importlib.import_module('mmcv._ext')
    assert module.__name__ == 'mmcv._ext' and module.__spec__.loader is not None
    # mmcv's loader asserts hasattr() for each; only the call fails, and says what to do.
    operator = module.roi_pool_forward
    assert operator.__name__ == 'roi_pool_forward'
    with pytest.raises(NotImplementedError, match=r'roi_pool_forward.*MMCV_WITH_OPS=1'):
        operator(1, pooled_height=7)


@pytest.mark.parametrize('name', ['__path__', '__wrapped__', '_private'])
def test_the_extension_invents_no_private_attributes(name):
    assert not hasattr(extension, name)
