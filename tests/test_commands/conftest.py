import os
import sys

import pytest

from .toy import write_toy


@pytest.fixture(autouse=True)
def keep_process_state(monkeypatch, tmp_path):
    """Run in an empty folder, and undo what the commands do to the process."""
    import mmengine.device.utils

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mmengine.device.utils, 'DEVICE', mmengine.device.utils.DEVICE)
    for name in ('CUDA_VISIBLE_DEVICES', 'LOCAL_RANK', 'RANK'):
        monkeypatch.setenv(name, os.environ.get(name, ''))
        monkeypatch.delenv(name)


@pytest.fixture
def toy_config(tmp_path, monkeypatch):
    """Path of a config that trains in a second."""
    folder = tmp_path / 'project'
    monkeypatch.setattr(sys, 'path', [str(folder), *sys.path])
    return str(write_toy(folder))
