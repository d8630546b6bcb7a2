"""The model index lists the configs that exist, with what their names say, and nothing else."""

from pathlib import Path

import pytest
import yaml

from .zoo import CONFIGS, ROOT

INDEX = ROOT.parent / 'model-index.yml'
KEYS = dict(stock='stock', spatial='SpatialK', vanilla='VanillaK')
HEADS = {
    'faster-rcnn': 'Faster R-CNN',
    'mask-rcnn': 'Mask R-CNN',
    'cascade-mask-rcnn': 'Cascade Mask R-CNN',
    'retinanet': 'RetinaNet',
    'fcos': 'FCOS',
    'atss': 'ATSS',
    'rtmdet': 'RTMDet',
    'dino': 'DINO',
    'vitdet': 'ViTDet',
    'upernet': 'UPerNet',
    'segformer': 'SegFormer',
    'sem-fpn': 'Semantic FPN',
    'deeplabv3plus': 'DeepLabV3+',
    'mask2former': 'Mask2Former',
}
LISTED = [name for name in CONFIGS if not name.startswith('demo/')]


@pytest.fixture(scope='module')
def metafiles():
    names = yaml.safe_load(INDEX.read_text())['Import']
    return {name: yaml.safe_load((INDEX.parent / name).read_text()) for name in names}


@pytest.fixture(scope='module')
def models(metafiles):
    return [model for metafile in metafiles.values() for model in metafile['Models']]


def test_every_config_is_listed_once_and_in_the_metafile_of_its_folder(metafiles, models):
    listed = sorted(model['Config'] for model in models)
    assert listed == sorted(f'configs/{name}.py' for name in LISTED)
    for metafile, content in metafiles.items():
        for model in content['Models']:
            assert Path(model['Config']).parent == Path(metafile).parent
    found = ROOT.rglob('metafile.yml')
    assert set(metafiles) == {path.relative_to(INDEX.parent).as_posix() for path in found}


def test_entries_say_what_the_names_say(models):
    for model in models:
        name = Path(model['Config']).stem
        head, backbone, data = name.split('_')
        family, size, key = backbone.split('-')
        assert model['Name'] == name
        assert model['In Collection'] == HEADS[head], name
        metadata = model['Metadata']
        kind = dict(swin='Swin', swinv2='SwinV2', vit='ViT', dinov3='DINOv3')[family]
        assert metadata['Backbone'] == f'Manifold{kind}-{size.upper()}', name
        assert metadata['Key'] == KEYS[key], name
        assert metadata['Training Data'].lower() == data.removesuffix('-3x'), name


def test_collections_are_defined_where_they_are_used(metafiles):
    for content in metafiles.values():
        used = {model['In Collection'] for model in content['Models']}
        assert used == {collection['Name'] for collection in content['Collections']}


def test_there_are_no_invented_results(models):
    assert not [m['Name'] for m in models if 'Results' in m or 'Weights' in m]


def test_the_library_behind_mim_reads_it():
    load = pytest.importorskip('modelindex.load_model_index').load
    index = load(str(INDEX))
    index.build_models_with_collections()
    assert not index.check(silent=True) and not index.check_errors
    assert len(index.models) == len(LISTED)
