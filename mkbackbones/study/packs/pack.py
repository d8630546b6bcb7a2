"""``study pack``: the finished runs of a study's folder in one file, without a path of its machine.

A zip archive: ``pack.json`` with the plan, the fingerprints and the ledger's rows, ``study.json``,
and below each run's key what the run left.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...files import written_aside
from ..records.ledger import Ledger, Row
from ..records.results import read_info
from ..records.run_folder import BEST, EVIDENCE, FOLDED, OUTPUTS, About, read_object, read_output
from ..records.study_folder import FINGERPRINTS
from .configs import CONFIG, name_tuples, read_config

if TYPE_CHECKING:
    from ..define.plan import Stage

__all__ = ['CONTENT', 'FORMAT', 'LOG', 'PackError', 'pack_study', 'without_paths']

FORMAT = 'mkbackbones study pack 1'
CONTENT = 'pack.json'
INFO = 'study.json'
LOG = 'console.log'
PREDICTIONS = 'predictions'
#: Of a log, the last bytes are taken.
LOG_BYTES = 1 << 20
#: The folders of an absolute path, as it stands in texts: ``/home/me/x``, ``C:\\Users\\me``.
PATH = re.compile(
    r'(?<![\w.<>/\\:-])(?:/|[A-Za-z]:[\\/])(?:[\w.+@ -]*[\w.+@-][\\/]+)+(?=[\w.+@*-])'
)


class PackError(ValueError):
    """A pack that cannot be written or read; the message says why."""


def pack_study(
    folder: Path, out: Path, weights: bool = False, predictions: bool = False
) -> tuple[int, int]:
    """Write the finished runs of a study to one file.

    Args:
        folder (Path): The study's folder.
        out (Path): The file, ``*.zip``.
        weights (bool): With the weights that were tested.
        predictions (bool): With what reports draw.

    Returns:
        tuple[int, int]: Runs in the file, and planned runs that are not done.

    Raises:
        PackError: There is nothing to pack.
        FileNotFoundError: There is no study in the folder.
    """
    info = read_info(folder / INFO)
    planned = read_object(folder / FINGERPRINTS)
    if planned is None:
        raise PackError(
            f'{folder / FINGERPRINTS} is missing; `study run` with this folder writes it again'
        )
    ledger = Ledger(folder, read_only=True)
    try:
        rows = ledger.rows()
    finally:
        ledger.close()
    done = {
        key: row
        for key, row in rows.items()
        if key in planned and read_output(folder / key, row.stage)[0] is not None
    }
    if not done:
        raise PackError(f'{folder} holds no finished run to pack')
    places = paths_of_this_machine(folder, [task.data_root for task in info.tasks.values()])
    content = {
        'format': FORMAT,
        'planned': planned,
        'runs': {key: entry(row, folder / key) for key, row in done.items()},
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(out) as work, zipfile.ZipFile(work, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(CONTENT, without_paths(json.dumps(content, indent=1), places))
        text = (folder / INFO).read_text(encoding='utf-8')
        archive.writestr(INFO, json.dumps(scrubbed(json.loads(text), places), indent=1))
        for key, row in done.items():
            for name, data in members(folder / key, row.stage, places, weights, predictions):
                archive.writestr(f'{key}/{name}', data)
    return len(done), len(planned) - len(done)


def entry(row: Row, folder: Path) -> dict:
    """What a pack tells of a run beside its files."""
    about = About.read(folder)
    return {
        'fingerprint': row.fingerprint,
        'kept': row.kept,
        'attempts': row.attempts,
        'started': row.started,
        'finished': row.finished,
        'machine': about.machine if about else '',
    }


def members(
    folder: Path, stage: Stage, places: dict[str, str], weights: bool, predictions: bool
) -> Iterator[tuple[str, bytes | str]]:
    """Names and contents of the files of a run."""
    output = json.loads((folder / OUTPUTS[stage]).read_text(encoding='utf-8'))
    yield OUTPUTS[stage], json.dumps(scrubbed(output, places), indent=1)
    config = read_config(folder)
    if config is not None:
        yield CONFIG, json.dumps(scrubbed(name_tuples(config), places), indent=1)
    if (folder / LOG).is_file():
        with open(folder / LOG, 'rb') as file:
            file.seek(max(file.seek(0, os.SEEK_END) - LOG_BYTES, 0))
            yield LOG, without_paths(file.read().decode(errors='replace'), places)
    if stage != 'main':
        return
    yield EVIDENCE, (folder / EVIDENCE).read_bytes()
    if predictions:
        for path in sorted((folder / PREDICTIONS).glob('*')):
            yield f'{PREDICTIONS}/{path.name}', path.read_bytes()
    if weights:
        yield BEST, bare_weights(folder / BEST)
        if (folder / FOLDED).is_file():
            yield FOLDED, bare_weights(folder / FOLDED)


def bare_weights(path: Path) -> bytes:
    """A checkpoint's weights alone: its other entries name folders."""
    import torch

    from ...checkpoints.source import load_file

    content = load_file(path)
    meta = content.get('meta') or {}
    bare = {
        'meta': {name: meta[name] for name in ('iter', 'epoch') if name in meta},
        'state_dict': content['state_dict'],
    }
    buffer = io.BytesIO()
    torch.save(bare, buffer)
    return buffer.getvalue()


def paths_of_this_machine(folder: Path, data_roots: list[str]) -> dict[str, str]:
    """Paths of this machine, and what stands for each in a pack."""
    named = {
        **{root: '<data>' for root in data_roots if root},
        str(folder): '<study>',
        str(Path(__file__).parents[2]): '<mkbackbones>',
        sys.prefix: '<python>',
        str(Path.home()): '<home>',
        str(Path.cwd()): '<here>',
    }
    found: dict[str, str] = {}
    for place, name in named.items():
        for form in {place, str(Path(place).resolve())}:
            if len(form.rstrip('/\\')) > 1 and Path(form).is_absolute():
                found.setdefault(form.rstrip('/\\'), name)
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))  # the longest first


def without_paths(text: str, places: dict[str, str]) -> str:
    """A text with names for known places of this machine, and other absolute paths cut short."""
    for place, name in places.items():
        text = re.sub(rf'(?<![\w.]){re.escape(place)}(?![\w-])', name, text)
    return PATH.sub('<path>/', text)


def scrubbed(value: object, places: dict[str, str]) -> object:
    """JSON data without absolute paths."""
    if isinstance(value, dict):
        return {without_paths(k, places): scrubbed(v, places) for k, v in value.items()}
    if isinstance(value, list):
        return [scrubbed(entry, places) for entry in value]
    return without_paths(value, places) if isinstance(value, str) else value
