"""A run's folder: what a run leaves there, read so that a damaged file stops nothing."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...files import written_aside

if TYPE_CHECKING:
    from ..define.plan import Stage

__all__ = [
    'BEST',
    'ERROR',
    'FOLDED',
    'LATEST',
    'OUTPUTS',
    'About',
    'clean',
    'config_of',
    'read_error',
    'read_output',
]

#: What a finished run of each stage leaves.
OUTPUTS = {'main': 'result.json', 'trial': 'trial.json', 'timing': 'timing.json'}
ERROR = 'error.json'
EVIDENCE = 'evidence.npz'
BEST = 'best.pth'
#: The same network with its keys folded into stock ones, where another arm starts from it.
FOLDED = 'folded.pth'
LATEST = 'latest.pth'
ABOUT = 'run.json'


@dataclass
class About:
    """What the ledger knows of a run, in the run's folder, so that a ledger can be made again.

    Args:
        fingerprint (dict[str, str]): Of what it was started with.
        kept (str): What had changed since when it was taken as it is.
        attempts (int): How often it was started.
        started (float | None): When it was last started, in seconds since 1970.
        machine (str): Where it was done, for a run that came with ``study merge``; else empty.
    """

    fingerprint: dict[str, str] = field(default_factory=dict)
    kept: str = ''
    attempts: int = 0
    started: float | None = None
    machine: str = ''

    def save(self, folder: Path) -> None:
        """Write it, whole or not at all."""
        write_json(folder / ABOUT, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> About | None:
        """What is there; None where it is missing or damaged."""
        content = read_object(folder / ABOUT)
        return None if content is None else cls.parse(content)

    @classmethod
    def parse(cls, content: dict) -> About | None:
        """What a JSON object says; None where it cannot be one of these."""
        try:
            about = cls(**content)
        except TypeError:
            return None
        fine = (
            isinstance(about.fingerprint, dict)
            and all(isinstance(part, str) for pair in about.fingerprint.items() for part in pair)
            and isinstance(about.kept, str)
            and isinstance(about.machine, str)
            and type(about.attempts) is int
            and (about.started is None or type(about.started) in (int, float))
        )
        return about if fine else None


def write_json(path: Path, content: dict) -> None:
    """Write a JSON file whole or not at all."""
    with written_aside(path) as work:
        work.write_text(json.dumps(content, indent=1), encoding='utf-8')


def read_object(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is none or it is damaged."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def read_output(folder: Path, stage: Stage) -> tuple[dict[str, Any] | None, str]:
    """What a finished run left.

    Args:
        folder (Path): The run's folder.
        stage (str): Its stage.

    Returns:
        tuple[dict | None, str]: The content, None where the run is to be done (again); and the
        name of a file that is damaged, or nothing.
    """
    path = folder / OUTPUTS[stage]
    if not path.is_file():
        return None, ''
    content = read_object(path)
    if content is None:
        return None, path.name
    evidence = folder / EVIDENCE
    if stage == 'main' and evidence.is_file() and not zipfile.is_zipfile(evidence):
        return None, evidence.name
    return content, ''


def read_error(folder: Path) -> str | None:
    """Why a run failed, in its own words; None where it did not."""
    path = folder / ERROR
    if not path.is_file():
        return None
    content = read_object(path) or {}
    return str(content.get('error') or f'{path.name} is damaged, so the reason is lost')


def clean(folder: Path, finished: bool) -> None:
    """Remove what a killed worker left half written, and what a finished one needs no more."""
    for path in folder.glob('.*.partial'):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if finished:
        (folder / LATEST).unlink(missing_ok=True)


def config_of(folder: Path) -> str:
    """The text of a run's config; empty where it cannot be read, which its worker will tell."""
    try:
        return (folder / 'config.py').read_text(encoding='utf-8')
    except (OSError, ValueError):
        return ''
