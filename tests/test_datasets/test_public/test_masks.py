"""Public sets with a mask an image."""

import numpy as np
import pytest

from mkbackbones.datasets.errors import DatasetError
from mkbackbones.datasets.public.bsdata import BsData, spindle_place
from mkbackbones.datasets.public.crackforest import CrackForest
from mkbackbones.datasets.public.dagm import Dagm, ellipse_mask
from mkbackbones.datasets.public.kolektor import KolektorSdd, KolektorSdd2
from mkbackbones.datasets.public.magnetic_tile import MagneticTile, capture_groups
from mkbackbones.datasets.public.mvtec_ad import MvtecAd
from mkbackbones.datasets.public.visa import Visa
from mkbackbones.datasets.records import iter_records

from ..fakes import encode, write_tree
from . import layouts

BOX = (6, 4, 10, 6)


def by_stem(converter):
    return {record.stem: record for record in iter_records(converter)}


def assert_blob(record, label):
    assert [(item.label, item.bbox) for item in record.instances] == [(label, BOX)]
    assert np.array_equal(record.seg_map, layouts.BLOB // 255 * (label + 1))


def assert_free(record):
    assert record.instances == []
    assert not record.seg_map.any()


def test_magnetic_tile(tmp_path):
    records = by_stem(MagneticTile(write_tree(tmp_path, layouts.magnetic_tile())))
    assert_blob(records['blowhole_exp1_num_100'], 0)
    assert_blob(records['crack_exp3_num_5000'], 2)
    assert_free(records['free_exp6_num_140'])
    assert records['free_exp6_num_140'].fixes == []
    assert_free(records['uneven_exp3_num_45042'])
    assert records['uneven_exp3_num_45042'].fixes[0].startswith('empty mask')
    groups = {stem: record.group for stem, record in records.items()}
    # One series of exposures, whatever the folder.
    assert groups['blowhole_exp1_num_100'] == groups['blowhole_exp2_num_122']
    assert groups['blowhole_exp1_num_100'] == groups['free_exp6_num_140']
    assert len(set(groups.values())) == 3


def test_capture_groups_break_at_a_gap():
    stems = ['exp6_num_1000', 'exp1_num_100', 'exp2_num_500', 'exp5_num_901']
    groups = capture_groups(zip(['Free', 'Crack', 'Free', 'Fray'], stems))
    assert groups == {
        ('Crack', 'exp1_num_100'): 'capture_100',
        ('Free', 'exp2_num_500'): 'capture_100',
        ('Fray', 'exp5_num_901'): 'capture_901',
        ('Free', 'exp6_num_1000'): 'capture_901',
    }


def test_capture_groups_follow_a_slow_series_past_other_tiles():
    shots = [('Crack', 'exp3_num_1000'), ('Free', 'exp1_num_1700'), ('Crack', 'exp4_num_2400')]
    groups = capture_groups(shots)
    assert groups[shots[0]] == groups[shots[2]] == 'capture_1000' != groups[shots[1]]


def test_magnetic_tile_needs_all_masks(tmp_path):
    files = layouts.magnetic_tile()
    del files['set/MT_Crack/Imgs/exp3_num_5000.png']
    with pytest.raises(DatasetError, match=r'1 of 5 mask files .*exp3_num_5000.png'):
        MagneticTile(write_tree(tmp_path, files))


def test_mask_of_another_size_is_named(tmp_path):
    files = layouts.magnetic_tile()
    files['set/MT_Crack/Imgs/exp3_num_5000.png'] = encode(np.zeros((8, 9), np.uint8), 'PNG')
    converter = MagneticTile(write_tree(tmp_path, files))
    with pytest.raises(DatasetError, match=r'exp3_num_5000.png: 9x8 pixels, its image has 32x32'):
        list(iter_records(converter))


def test_kolektor_sdd(tmp_path):
    records = by_stem(KolektorSdd(write_tree(tmp_path, layouts.kolektor_sdd())))
    assert_blob(records['kos02_Part1'], 0)
    for stem in ('kos01_Part0', 'kos01_Part1', 'kos02_Part0'):
        assert_free(records[stem])
    assert {record.group for record in records.values()} == {'kos01', 'kos02'}
    assert not any(record.split or record.fixes for record in records.values())


def test_kolektor_sdd2_leaves_strays_out(tmp_path):
    converter = KolektorSdd2(write_tree(tmp_path, layouts.kolektor_sdd2()))
    records = by_stem(converter)
    assert {stem: record.split for stem, record in records.items()} == {
        '10301': 'train',
        '10302': 'train',
        '20000': 'test',
    }
    assert_blob(records['10301'], 0)
    assert_free(records['10302'])
    assert '10301 (copy).png' in converter.notes[0]


def test_crackforest(tmp_path):
    converter = CrackForest(write_tree(tmp_path, layouts.crackforest()))
    (record,) = iter_records(converter)
    assert [item.bbox for item in record.instances] == [BOX, (0, 20, 10, 2)]
    assert record.seg_map[25:31, 25:31].max() == 0
    assert (record.split, record.stem) == (None, '001')
    assert '201' in converter.notes[0]


def test_crackforest_names_a_damaged_file(tmp_path):
    files = layouts.crackforest()
    files['groundTruth/001.mat'] = files['groundTruth/001.mat'][:150]
    with pytest.raises(DatasetError, match=r'001.mat: no MATLAB file'):
        CrackForest(write_tree(tmp_path, files)).read(0)


def test_mvtec_ad(tmp_path):
    root = write_tree(tmp_path, layouts.mvtec_ad())
    records = by_stem(MvtecAd(root))
    assert len(records) == 6
    assert_blob(records['bottle_test_broken_large_000'], 0)
    assert_free(records['cable_train_good_000'])
    assert records['cable_train_good_000'].split == 'train'
    assert records['bottle_test_broken_large_000'].split == 'test'
    assert set(by_stem(MvtecAd(root, ['cable']))) == {s for s in records if s.startswith('cable')}


def test_an_unknown_category_gets_a_hint(tmp_path):
    root = write_tree(tmp_path, layouts.mvtec_ad())
    with pytest.raises(DatasetError, match=r"no category 'botle'.*did you mean 'bottle'"):
        MvtecAd(root, ['botle'])


def test_visa(tmp_path):
    root = write_tree(tmp_path, layouts.visa())
    records = by_stem(Visa(root))
    assert {stem: record.split for stem, record in records.items() if 'pcb1' in stem} == {
        'pcb1_anomaly_000': 'train',
        'pcb1_anomaly_001': 'test',
        'pcb1_normal_0000': 'train',
    }
    assert_blob(records['candle_anomaly_001'], 0)
    assert_free(records['candle_normal_0000'])
    without = by_stem(Visa(root, ['candle'], setup='1cls'))  # whose file is not there
    assert len(without) == 4
    assert {record.split for record in without.values()} == {None}


def test_visa_split_names_what_is_missing(tmp_path):
    files = layouts.visa()
    del files['VisA/pcb1/Data/Images/Normal/0000.JPG']
    with pytest.raises(DatasetError, match=r'pcb1/Data/Images/Normal/0000.JPG'):
        Visa(write_tree(tmp_path, files))


def test_dagm_later_layout(tmp_path):
    records = by_stem(Dagm(write_tree(tmp_path, layouts.dagm())))
    assert len(records) == 8
    assert_blob(records['class_10_test_0576'], 9)
    assert_free(records['class_1_train_0001'])
    assert {records['class_1_train_0576'].split, records['class_1_test_0576'].split} == {
        'train',
        'test',
    }


def test_dagm_original_layout(tmp_path):
    records = by_stem(Dagm(write_tree(tmp_path, layouts.dagm_original())))
    lying, upright = records['class_2_def_1'], records['class_2_def_2']
    assert [item.bbox for item in lying.instances] == [(7, 6, 17, 9)]
    assert [item.bbox for item in upright.instances] == [(11, 2, 9, 17)]
    assert lying.instances[0].label == 1
    assert_free(records['class_2_1'])
    assert lying.split is None


def test_dagm_names_images_without_an_ellipse(tmp_path):
    files = layouts.dagm_original()
    files['Class2_def/labels.txt'] = b'1\t8\t4\t0\t15\t10\n'
    with pytest.raises(DatasetError, match=r'for 1 of 2 images .*Class2_def/2.png'):
        Dagm(write_tree(tmp_path, files))


def test_ellipse_turns_from_x_towards_y():
    mask = ellipse_mask(10, 1, np.pi / 4, 15, 15, (31, 31))
    assert mask[20, 20]
    assert not mask[10, 20]


def test_bsdata(tmp_path):
    converter = BsData(write_tree(tmp_path, layouts.bsdata()))
    records = by_stem(converter)
    assert len(records) == 3
    for record in records.values():
        assert_blob(record, 0)
    assert records['01_200905161814_560000_000_crop_2'].split == 'test'
    assert records['KGT1-S-060-A02_crop_0'].split == 'train'
    assert converter.notes == ['left out: 1 images without a label file']


def test_spindle_place():
    assert spindle_place('01_200905161814_560000_000_crop_2') == '560000_000'
    assert spindle_place('KGT2-V-272-A07_crop_4') == spindle_place('KGT2-S-320-A07_crop_0')
    assert spindle_place('other') is None
