"""A pack of a study, read as what a stranger may have sent.

Where its files go follows from checked names of tasks, arms and numbers, never from a name in the
archive; what is read is bounded; nothing in it is run.
"""

from __future__ import annotations

import json
import math
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..define.entries import StudyError, folder_name
from ..define.plan import STAGES, Run
from ..evidence import load_evidence
from ..records.results import StudyInfo, parse_info, read_result
from ..records.run_folder import BEST, EVIDENCE, FOLDED, OUTPUTS, About, write_json
from .configs import CONFIG, named_tuples, write_data
from .pack import CONTENT, FORMAT, INFO, LOG, PREDICTIONS, PackError

__all__ = ['Pack', 'Planned', 'parse_planned']

MAX_MEMBERS = 500_000
#: Bytes of an unpacked file, by its name; predictions are small.
LIMITS = {EVIDENCE: 2 << 30, BEST: 8 << 30, FOLDED: 8 << 30, 'result.json': 256 << 20}
LIMIT = 64 << 20
MAX_TOTAL = 256 << 30

#: Planned runs and their fingerprints, by key.
Planned = dict[str, tuple[Run, dict[str, str]]]


class Pack:
    """A pack that was opened and whose table of contents is checked.

    Args:
        path (Path): The file.

    Raises:
        PackError: It is no pack, or something in it cannot be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        try:
            self.archive = zipfile.ZipFile(path)
        except FileNotFoundError as error:
            raise PackError(f'{path} does not exist') from error
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise PackError(f'{path} is no pack of a study ({error})') from error
        entries = self.archive.infolist()
        if len(entries) > MAX_MEMBERS or sum(entry.file_size for entry in entries) > MAX_TOTAL:
            raise PackError(f'{path} is too large for a pack of a study')
        self.names = {entry.filename: entry for entry in entries}
        content = self.json(CONTENT)
        if content.get('format') != FORMAT:
            raise PackError(f'{path} is no pack that this version reads ({FORMAT})')
        self.planned = self.parse_planned(content.get('planned'))
        runs = content.get('runs')
        if not isinstance(runs, dict) or not runs or not set(runs) <= set(self.planned):
            raise PackError(f'{path} is damaged: its runs are not those of its plan')
        self.runs = {key: self.parse_run(key, about) for key, about in runs.items()}
        self.check_names()

    def close(self) -> None:
        """Close the file."""
        self.archive.close()

    def info(self) -> StudyInfo:
        """What was planned.

        Raises:
            PackError: It is damaged.
        """
        content = self.json(INFO)
        try:
            info = parse_info(content)
            for name in (*info.tasks, *info.arms):
                folder_name(name, INFO)
            return info
        except (TypeError, KeyError, AttributeError, StopIteration, StudyError) as error:
            raise PackError(f'{self.path} is damaged: {INFO}') from error

    def read(self, name: str) -> bytes:
        """A file in the archive, no larger than it may be."""
        limit = LIMITS.get(name.rpartition('/')[2], LIMIT)
        entry = self.names.get(name)
        if entry is None:
            raise PackError(f'{self.path} is damaged: {name} is missing')
        try:
            with self.archive.open(entry) as file:
                content = file.read(limit + 1)
        except Exception as error:  # a damaged archive raises any of a dozen types
            raise PackError(f'{self.path} is damaged: {name}: {error}') from error
        if len(content) > limit:
            raise PackError(f'{self.path}: {name} is larger than {limit >> 20} MiB')
        return content

    def json(self, name: str) -> dict:
        """A JSON object in the archive."""
        try:
            content = json.loads(self.read(name))
        except (ValueError, RecursionError) as error:
            if isinstance(error, PackError):
                raise
            raise PackError(f'{self.path} is damaged: {name} is no JSON') from error
        if not isinstance(content, dict):
            raise PackError(f'{self.path} is damaged: {name} is no object')
        return content

    def parse_planned(self, planned: Any) -> Planned:
        """The planned runs and their fingerprints; keys are made anew from checked parts."""
        if not isinstance(planned, dict):
            raise PackError(f'{self.path} is damaged: it has no plan')
        found = {}
        for key, about in planned.items():
            try:
                run, fingerprint = parse_planned(about)
            except (StudyError, TypeError, KeyError, ValueError) as error:
                raise PackError(f'{self.path} is damaged: its plan has {key!r}: {error}') from error
            if run.key != key:
                raise PackError(f'{self.path} is damaged: its plan calls {run.key!r} {key!r}')
            found[key] = (run, fingerprint)
        return found

    def parse_run(self, key: str, content: Any) -> tuple[About, float | None]:
        """What the ledger of the pack's folder knew of a run, and when it finished."""
        content = dict(content) if isinstance(content, dict) else {}
        finished = content.pop('finished', None)
        about = About.parse(content)
        if about is None or not (finished is None or type(finished) in (int, float)):
            raise PackError(f'{self.path} is damaged: what it tells of {key}')
        machine = about.machine or self.path.stem
        return replace(about, machine=machine), finished

    def check_names(self) -> None:
        """Raise PackError for a file that no run leaves: a sign that somebody tried something."""
        fixed = {CONTENT, INFO}
        for name, entry in self.names.items():
            if name in fixed:
                continue
            key, _, file = name.rpartition('/')
            if key.endswith(f'/{PREDICTIONS}'):
                key, fine = key.removesuffix(f'/{PREDICTIONS}'), is_file_name(file)
            else:
                stage = self.planned[key][0].stage if key in self.runs else 'main'
                fine = file in (OUTPUTS[stage], CONFIG, LOG, EVIDENCE, BEST, FOLDED)
            if key not in self.runs or not fine or entry.is_dir():
                raise PackError(f'{self.path} is no pack of a study: it has a file {name[:200]!r}')

    def write_run(self, key: str, folder: Path) -> None:
        """Write the files of a run to an empty folder, and check them.

        Raises:
            PackError: One is missing or damaged.
        """
        stage = self.planned[key][0].stage
        output = self.json(f'{key}/{OUTPUTS[stage]}')
        write_json(folder / OUTPUTS[stage], output)
        config = self.json(f'{key}/{CONFIG}') if f'{key}/{CONFIG}' in self.names else None
        if config is not None:
            try:
                write_data(folder, named_tuples(config))
            except RecursionError as error:
                raise PackError(f'{self.path} is damaged: {key}/{CONFIG} is too deep') from error
        for name in (LOG, EVIDENCE, BEST, FOLDED):
            if f'{key}/{name}' in self.names:
                (folder / name).write_bytes(self.read(f'{key}/{name}'))
        for name in self.names:
            if name.startswith(f'{key}/{PREDICTIONS}/'):
                (folder / PREDICTIONS).mkdir(exist_ok=True)
                content = self.read(name)
                (folder / PREDICTIONS / name.rpartition('/')[2]).write_bytes(content)
        if stage == 'main':
            try:
                read_result(folder)
                load_evidence(folder / EVIDENCE)
            except (OSError, ValueError) as error:
                reason = f'{error}'.replace(str(folder), key).partition(';')[0]
                raise PackError(f'{self.path} is damaged: {reason}') from error
        self.runs[key][0].save(folder)


def is_file_name(name: str) -> bool:
    """Whether a name is that of a prediction, and of nothing else."""
    path = Path(name)
    plain = name.isprintable() and not set('/\\:*?"<>|') & set(name) and len(name.encode()) < 250
    return plain and path.name == name and path.suffix in ('.json', '.png')


def parse_planned(about: Any) -> tuple[Run, dict[str, str]]:
    """A planned run and its fingerprint, from JSON."""
    stage, lr, seed = about['stage'], about['lr'], about['seed']
    fingerprint = about['fingerprint']
    if stage not in STAGES or type(seed) is not int or seed < 0:
        raise ValueError('no such stage or seed')
    if not (lr is None or (type(lr) in (int, float) and math.isfinite(lr) and lr > 0)):
        raise ValueError('no learning rate')
    if not isinstance(fingerprint, dict) or not all(
        isinstance(part, str) for pair in fingerprint.items() for part in pair
    ):
        raise ValueError('no fingerprint')
    task, arm = folder_name(about['task'], 'task'), folder_name(about['arm'], 'arm')
    return Run(stage, task, arm, seed, lr), fingerprint
