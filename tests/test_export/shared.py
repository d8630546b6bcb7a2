"""Exported models that are written once in a test run, however many processes it has."""

import contextlib
import io
import os
from pathlib import Path
from typing import NamedTuple

import pytest

from mkbackbones.commands.export import main
from mkbackbones.files import locked

from .tiny import write_model, write_pictures


class Exported(NamedTuple):
    """What a test may read and copy.

    Args:
        folder (Path): With ``mk_tiny.py``, which has to be on Python's path, and ``pictures``.
        given (tuple[str, str]): Config and checkpoint.
        file (Path): The exported model.
        told (str): By the command.
    """

    folder: Path
    given: tuple[str, str]
    file: Path
    told: str


def exported(kind: str, name: str, factory: pytest.TempPathFactory) -> Exported:
    """A kind of tiny model, exported with its pictures to a file of a name."""
    base = factory.getbasetemp()
    base = base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base
    folder = base / f'exported-{kind}-{name}'
    told = folder / 'told.txt'
    with open(base / f'{folder.name}.lock', 'ab') as lock:
        assert locked(lock.fileno(), patience=3600)
        if not told.exists():
            write_pictures(folder / 'pictures')
            with pytest.MonkeyPatch.context() as patch, io.StringIO() as out:
                patch.syspath_prepend(folder)
                given = write_model(folder, kind)
                words = [*given, str(folder / name), '--images', str(folder / 'pictures')]
                with contextlib.redirect_stdout(out):
                    assert main(words) == 0
                told.write_text(out.getvalue())
    given = str(folder / f'{kind}.py'), str(folder / f'{kind}.pth')
    return Exported(folder, given, folder / name, told.read_text())
