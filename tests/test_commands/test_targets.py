"""Where commands may write is asked before long work."""

import errno
import tempfile

import pytest

from mkbackbones.checkpoints import write
from mkbackbones.checkpoints.report import CheckpointError
from mkbackbones.commands.errors import CommandError
from mkbackbones.commands.targets import check_target


def test_a_folder_that_takes_no_files_is_told(tmp_path, monkeypatch):
    check_target(tmp_path / 'a.onnx', '.onnx', force=False)
    write.check_target(tmp_path / 'new' / 'a.pth')
    assert not list(tmp_path.iterdir())

    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, 'Read-only file system')

    monkeypatch.setattr(tempfile, 'TemporaryFile', refuse)
    with pytest.raises(CheckpointError, match=r'a\.pth cannot be written: .*Read-only file system'):
        write.check_target(tmp_path / 'new' / 'a.pth')
    with pytest.raises(CommandError, match=r'a\.onnx cannot be written: .*Read-only file system'):
        check_target(tmp_path / 'a.onnx', '.onnx', force=False)
