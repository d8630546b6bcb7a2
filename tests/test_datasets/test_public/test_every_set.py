"""What holds for all public sets: folder or zip, the writer, the dataset classes."""

import json

import pytest

from mkbackbones.datasets import write_dataset
from mkbackbones.datasets.catalogue import CATALOGUE
from mkbackbones.datasets.errors import DatasetError
from mkbackbones.datasets.records import iter_records
from mkbackbones.datasets.splitting import Splitter

from ..fakes import write_tree, write_zip
from . import layouts

LAYOUTS = {
    'gc10-det': layouts.gc10_det,
    'deep-pcb': layouts.deep_pcb,
    'magnetic-tile': layouts.magnetic_tile,
    'kolektor-sdd': layouts.kolektor_sdd,
    'kolektor-sdd2': layouts.kolektor_sdd2,
    'bsdata': layouts.bsdata,
    'mvtec-ad': layouts.mvtec_ad,
    'visa': layouts.visa,
    'severstal': layouts.severstal,
    'dagm': layouts.dagm,
    'crackforest': layouts.crackforest,
}
#: Converted by shipped lists of all their files: test_neu.py has copies of that size.
BY_LIST = {'neu-det', 'neu-seg'}
DEFAULTS = dict(categories=(), setup='2cls_highshot')
every_set = pytest.mark.parametrize('name', LAYOUTS)


def make(name, src):
    return CATALOGUE[name].make(dict(DEFAULTS, src=src))


def test_the_table_has_a_layout_for_every_public_converter():
    public = {name for name, entry in CATALOGUE.items() if '.public.' in entry.converter}
    assert public == set(LAYOUTS) | BY_LIST


@every_set
def test_colours_and_example_fit(tmp_path, name):
    entry = CATALOGUE[name]
    converter = make(name, write_tree(tmp_path, LAYOUTS[name]()))
    assert len(entry.palette) == len(converter.classes)
    # An example that asks for the official split where there is none would fail.
    assert ('--split' in entry.example) or converter.read(0).split is not None


@every_set
def test_folder_and_zip_give_the_same(tmp_path, name):
    files = LAYOUTS[name]()
    sources = write_tree(tmp_path / 'folder', files), write_zip(tmp_path / 'x.zip', files)
    folder, archive = (list(iter_records(make(name, src))) for src in sources)
    assert [record.file_name for record in folder] == [record.file_name for record in archive]
    assert [record.image for record in folder] == [record.image for record in archive]
    assert [[item.bbox for item in record.instances] for record in folder] == [
        [item.bbox for item in record.instances] for record in archive
    ]


@every_set
def test_another_folder_is_refused_with_the_expected_layout(tmp_path, name):
    write_tree(tmp_path, {'notes/readme.txt': b'nothing here'})
    with pytest.raises(DatasetError, match=r'does not look like .*expected'):
        make(name, tmp_path)


@every_set
def test_written_and_read_by_mmdet(tmp_path, name):
    pytest.importorskip('mmdet')
    import mkbackbones.datasets.openmmlab.detection as detection

    converter = make(name, write_tree(tmp_path / 'raw', LAYOUTS[name]()))
    out = tmp_path / 'out'
    official = converter.read(0).split is not None
    splitter = Splitter() if official else Splitter('random', ratios=(1, 0, 0))
    summary = write_dataset(converter, out, splitter=splitter)
    word = name.removesuffix('-det').replace('-', '')
    (cls,) = (
        getattr(detection, item)
        for item in detection.__all__
        if item.lower() == f'{word}detdataset'
    )
    total = 0
    for path in (out / 'annotations').glob('*.json'):
        dataset = cls(
            data_root=str(out),
            ann_file=f'annotations/{path.name}',
            data_prefix=dict(img=f'images/{path.stem}/'),
            pipeline=[],
            test_mode=True,
        )
        assert [item['name'] for item in json.loads(path.read_text())['categories']] == list(
            dataset.metainfo['classes']
        )
        total += sum(len(dataset.get_data_info(i)['instances']) for i in range(len(dataset)))
    assert total == sum(summary.instances.values()) > 0
