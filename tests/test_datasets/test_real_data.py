"""The published NEU-DET and NEU-Seg, where present."""

import zipfile
from collections import Counter

import pytest

from mkbackbones.datasets import NeuDet, NeuSeg, iter_records, write_dataset


@pytest.fixture
def neu_det(raw_data):
    path = raw_data / 'NEU-DET.zip'
    if not path.exists():
        pytest.skip('NEU-DET.zip is not there; MKBACKBONES_DATA_RAW names its folder')
    return path


@pytest.fixture
def neu_seg(raw_data):
    path = raw_data / 'NEU_Seg-annotations.zip'
    if not path.exists():
        pytest.skip('NEU_Seg-annotations.zip is not there; MKBACKBONES_DATA_RAW names its folder')
    return path


def test_neu_det(neu_det, tmp_path):
    summary = write_dataset(NeuDet(neu_det), tmp_path / 'out')
    assert summary.images == dict(train=1260, val=180, test=360)
    assert sum(summary.count(split) for split in summary.images) == 4189
    assert sum(summary.defect_free.values()) == 0
    with zipfile.ZipFile(neu_det) as archive:
        for stem in ('crazing_1', 'scratches_300'):
            original = archive.read(f'NEU-DET/IMAGES/{stem}.jpg')
            assert (tmp_path / f'out/images/{stem}.jpg').read_bytes() == original


def test_neu_det_facts(neu_det):
    records = {record.file_name: record for record in iter_records(NeuDet(neu_det))}
    strays = Counter(
        name.startswith(NeuDet.classes[instance.label])
        for name, record in records.items()
        for instance in record.instances
    )
    assert strays == {True: 4189 - 188, False: 188}
    # The two images with equal pixels are on one side.
    assert records['patches_101.jpg'].split == records['patches_105.jpg'].split


def test_neu_seg(neu_seg, neu_det, tmp_path):
    summary = write_dataset(NeuSeg(neu_seg, neu_det), tmp_path / 'out')
    assert summary.images == dict(train=629, val=90, test=180)
    assert sum(summary.count(split) for split in summary.images) == 2141
    assert summary.fixes == []
