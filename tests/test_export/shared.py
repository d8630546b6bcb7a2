"""Exported models that are written once in a test run, however many processes it has."""

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from mkbackbones.commands.export import main
from mkbackbones.decide.by_class import ByClass, ClassOutcome, ClassPoint
from mkbackbones.decide.operating_point import OperatingPoint
from mkbackbones.decide.thresholds import Outcome, Wish
from mkbackbones.exported_files import PROGRAM
from mkbackbones.files import locked

from .tiny import write_model, write_pictures

#: Scores above which the ONNX file of SegFormer raises an alarm.
LIMITS = dict(crack=0.0, dent=1.0)


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


def hide_onnx(patch: pytest.MonkeyPatch) -> None:
    """Let what writes and runs ONNX be missing."""
    for name in ('onnx', 'onnxruntime', 'onnxscript'):
        patch.setitem(sys.modules, name, None)
    patch.delitem(sys.modules, 'mkbackbones.export.lower', raising=False)


def write_limits(path: Path, limits: dict[str, float]) -> str:
    """A threshold for each class of the tiny segmentors; the path."""
    wish, nothing = Wish(0.1), Outcome(None, None)
    points = tuple(
        ClassPoint(name, wish, limit, '', ClassOutcome(None, None, None))
        for name, limit in limits.items()
    )
    point = OperatingPoint(
        0.99, wish, ['background', *limits], 'segformer.pth', nothing,
        by_class=ByClass(points, None, nothing),
    )  # fmt: skip
    point.save(path)
    return str(path)


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
                if name.endswith(PROGRAM):  # those are written without ONNX
                    hide_onnx(patch)
                elif kind == 'segformer':
                    words += ['--threshold', write_limits(folder / 'threshold.json', LIMITS)]
                with contextlib.redirect_stdout(out):
                    assert main(words) == 0
                told.write_text(out.getvalue())
    given = str(folder / f'{kind}.py'), str(folder / f'{kind}.pth')
    return Exported(folder, given, folder / name, told.read_text())
