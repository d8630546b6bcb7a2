"""The dataset classes resolve from mmdet and mmseg configs, and only there."""

import subprocess
import sys

import numpy as np
import pytest

from mkbackbones.datasets import metainfo


@pytest.mark.parametrize(
    ('package', 'absent', 'name', 'classes'),
    [
        ('mmdet', 'mmseg', 'NeuDetDataset', metainfo.NEU_DET['classes']),
        ('mmseg', 'mmdet', 'NeuSegDataset', metainfo.NEU_SEG_SEMANTIC['classes']),
    ],
)
def test_types_resolve_lazily_with_one_package_installed(package, absent, name, classes):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')
    code = f"""
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda n, *a: None if n == '{absent}' else find(n, *a)
sys.modules['{absent}'] = None

import mkbackbones
from mkbackbones.registry import MODELS
MODELS.build(dict(type='ManifoldSwin', arch='tiny'))
assert '{package}' not in sys.modules, 'a backbone must not import it'

from {package}.registry import DATASETS
found = DATASETS.get('mkbackbones.{name}')
assert found.METAINFO['classes'] == {classes!r}, found
"""
    subprocess.run([sys.executable, '-c', code], check=True)


def test_every_palette_has_a_colour_of_its_own_for_each_class():
    for name in metainfo.__all__:
        content = getattr(metainfo, name)
        if isinstance(content, dict):
            assert len(set(content['palette'])) == len(content['classes']), name


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_mmseg_class_finds_images_of_either_suffix(tmp_path, suffix):
    pytest.importorskip('mmseg')
    import cv2

    from mkbackbones.datasets.openmmlab import DefectSegDataset

    for folder, name in (('images', f'a{suffix}'), ('masks', 'a.png')):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / name), np.zeros((4, 4), np.uint8))
    dataset = DefectSegDataset(
        data_root=str(tmp_path),
        data_prefix=dict(img_path='images', seg_map_path='masks'),
        metainfo=dict(classes=('background', 'dent'), palette=[(0, 0, 0), (255, 0, 0)]),
    )
    assert len(dataset) == 1
    assert dataset.get_data_info(0)['img_path'].endswith(f'a{suffix}')
    assert dataset.get_data_info(0)['seg_map_path'].endswith('a.png')
