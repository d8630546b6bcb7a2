import sys

import pytest

from .blobs import write_blobs, write_pictures


@pytest.fixture
def blobs(tmp_path, monkeypatch):
    """Config and checkpoint of a kind of model."""
    folder = tmp_path / 'project'
    monkeypatch.setattr(sys, 'path', [str(folder), *sys.path])

    def write(kind='detection', **kwargs):
        return write_blobs(folder, kind, **kwargs)

    return write


@pytest.fixture
def pictures(tmp_path):
    return write_pictures(tmp_path / 'pictures')
