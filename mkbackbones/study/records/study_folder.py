"""A study's folder: who holds it, what is planned in it, and its ledger."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..define.plan import Run
from .ledger import FILE, Ledger, LedgerError

__all__ = ['FINGERPRINTS', 'LOCK', 'open_ledger', 'planned_in_json']

LOCK = 'study.lock'
#: What each planned run depends on, so that folders of one study can be told from others.
FINGERPRINTS = 'fingerprints.json'


def open_ledger(folder: Path) -> tuple[Ledger, list[str]]:
    """The ledger of a study, a new one where it is damaged, and what there is to say of it."""
    lost = not (folder / FILE).is_file() and (folder / 'runs').is_dir()
    try:
        gone = f'{folder / FILE} is gone; it is made again from the folders of the runs'
        return Ledger(folder), [gone] if lost else []
    except LedgerError as error:
        for path in folder.glob(f'{FILE}*'):
            path.replace(path.with_name(f'damaged-{path.name}'))
        return Ledger(folder), [f'{error}; it is made again from the folders of the runs']


def planned_in_json(planned: Iterable[tuple[Run, dict[str, str]]]) -> dict[str, dict]:
    """Planned runs in their order, each with its fingerprint."""
    return {
        run.key: {
            **{name: getattr(run, name) for name in ('stage', 'task', 'arm', 'seed', 'lr')},
            'fingerprint': fingerprint,
        }
        for run, fingerprint in planned
    }
