import sys

import cv2
import pytest

from .blobs import picture, write_blobs


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
    """A folder with three pictures: two blobs, one, none."""
    folder = tmp_path / 'pictures'
    folder.mkdir()
    content = {
        'a': picture(60, 80, (10, 10, 20, 30, 200), (40, 5, 70, 25, 250, True)),
        'b': picture(60, 80, (30, 30, 50, 40, 128)),
        'c': picture(50, 50),
    }
    for name, pixels in content.items():
        cv2.imwrite(str(folder / f'{name}.png'), pixels)
    return folder
