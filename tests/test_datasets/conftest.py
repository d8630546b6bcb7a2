import os
from pathlib import Path

import pytest

from mkbackbones.datasets import SyntheticDefects, write_dataset

from .fakes import neu_det_files, neu_seg_files, write_zip


@pytest.fixture
def raw_data():
    """Folder of the real data sets: ``$MKBACKBONES_DATA_RAW``, or one beside the checkout."""
    beside = Path(__file__).resolve().parents[3].glob('*/data/NEU-DET.zip')
    default = next((path.parent for path in sorted(beside)), Path('data-raw'))
    return Path(os.environ.get('MKBACKBONES_DATA_RAW', default))


@pytest.fixture(scope='session')
def neu_det_zip(tmp_path_factory):
    return write_zip(tmp_path_factory.mktemp('neu') / 'NEU-DET.zip', neu_det_files())


@pytest.fixture(scope='session')
def neu_seg_zip(tmp_path_factory):
    return write_zip(tmp_path_factory.mktemp('neu') / 'NEU_Seg.zip', neu_seg_files())


@pytest.fixture(scope='session')
def synthetic(tmp_path_factory):
    """A small synthetic set on disk."""
    out = tmp_path_factory.mktemp('synthetic') / 'out'
    write_dataset(SyntheticDefects(dict(train=24, val=6, test=4), size=96, seed=3), out)
    return out
