"""``study merge``: take finished runs from packs into a study's folder."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...arguments import short
from ..define.entries import StudyError
from ..records.ledger import Ledger
from ..records.progress import is_alive, take_lock
from ..records.results import StudyInfo, read_info
from ..records.run_folder import read_object, read_output, write_json
from ..records.study_folder import FINGERPRINTS, LOCK, planned_in_json
from .configs import put_places, read_config, write_data
from .pack import INFO, PackError
from .unpack import Pack, Planned, parse_planned

if TYPE_CHECKING:
    from ..define.plan import Stage

__all__ = ['Difference', 'DifferentStudies', 'Merged', 'merge_packs']

#: What may differ between machines; it is noted with the run.
MAY_DIFFER = ('versions',)
#: Entries of a result that differ whenever a run is done again, or elsewhere.
MEASURED = ('step_seconds', 'train_seconds', 'inference_seconds', 'peak_memory', 'environment')


@dataclass(frozen=True)
class Difference:
    """Something that is not the same here and in a pack.

    Args:
        what (str): ``config``, ``code``, ``data``, ...
        runs (int): In how many runs.
        example (str): Key of one of them.
        here (str): Value here.
        there (str): Value in the pack.
        pack (str): Name of the pack.
    """

    what: str
    runs: int
    example: str
    here: str
    there: str
    pack: str


class DifferentStudies(PackError):
    """Packs that do not belong together; ``differences`` are rows for a table."""

    def __init__(self, differences: list[Difference]) -> None:
        self.differences = differences
        super().__init__('nothing was merged: the runs were not done alike')


@dataclass(frozen=True)
class Merged:
    """What came from a pack.

    Args:
        pack (str): Its name.
        taken (int): Runs that are new here.
        known (int): Runs that were here already.
        device (str): The cards that did them.
    """

    pack: str
    taken: int
    known: int
    device: str


def merge_packs(paths: list[Path], folder: Path) -> list[Merged]:
    """Take the runs of packs into a folder: all of them, or none.

    Args:
        paths (list[Path]): The packs.
        folder (Path): Folder of the study; a new one is made from the first pack.

    Raises:
        PackError: A pack is damaged or is none, or the folder cannot take it.
        DifferentStudies: Config, code or data of runs differ, or one run has two results.
    """
    with contextlib.ExitStack() as stack:
        packs = [stack.enter_context(contextlib.closing(Pack(path))) for path in paths]
        new = not (folder / FINGERPRINTS).exists()
        if new and folder.exists() and any(folder.iterdir()):
            raise PackError(
                f'{folder} is no study that `study run` has opened with this version; name a new '
                'folder, or run the study file there first'
            )
        here = packs[0].planned if new else read_planned(folder)
        plan = plan_of(packs[0].info() if new else read_info(folder / INFO))
        differences = [entry for pack in packs for entry in differences_of(pack, here, plan)]
        if differences:
            raise DifferentStudies(differences)
        existed = folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder):
                return write_runs(packs, folder, here, new)
        except BaseException:
            if not existed:
                shutil.rmtree(folder, ignore_errors=True)
            raise


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep others from running the study."""
    try:
        lock = take_lock(folder / LOCK)
    except BlockingIOError as error:
        raise PackError(
            f'{folder} is being run by another process; merge when it is done'
        ) from error
    with contextlib.closing(lock):
        yield


def read_planned(folder: Path) -> Planned:
    """The plan of a folder.

    Raises:
        PackError: It is damaged.
    """
    try:
        content = read_object(folder / FINGERPRINTS) or {}
        found = {key: parse_planned(about) for key, about in content.items()}
        if found:
            return found
        raise ValueError('it is empty')
    except (StudyError, TypeError, KeyError, ValueError) as error:
        raise PackError(
            f'{folder / FINGERPRINTS} is damaged; `study run` with this folder writes it again'
        ) from error


def plan_of(info: StudyInfo) -> str:
    """The plan of a study in words, with its hash."""
    return f'{info.plan.in_words()} ({info.plan.digest})' if info.plan else 'none'


def differences_of(pack: Pack, here: Planned, plan: str) -> list[Difference]:
    """How the runs of a pack were done, or planned, otherwise than they are planned here."""
    found: dict[tuple[str, str, str], list[str]] = {}
    if (other_plan := plan_of(pack.info())) != plan:
        found['plan', plan, other_plan] = list(pack.runs)
    for key, (about, _) in pack.runs.items():
        if key not in here:
            found.setdefault(('plan', 'not planned', 'done'), []).append(key)
            continue
        mine = here[key][1]
        for name in sorted({*mine, *about.fingerprint} - set(MAY_DIFFER)):
            values = mine.get(name, 'none'), about.fingerprint.get(name, 'none')
            if values[0] != values[1]:
                # Each run has a config of its own: one line for all of them.
                pair = ('', '') if name in ('config', 'initial weights') else values
                found.setdefault((name, *pair), []).append(key)
    return [
        Difference(
            name,
            len(keys),
            keys[0],
            one or here[keys[0]][1].get(name, 'none'),
            other or pack.runs[keys[0]][0].fingerprint.get(name, 'none'),
            pack.name,
        )
        for (name, one, other), keys in found.items()
    ]


def write_runs(packs: list[Pack], folder: Path, here: Planned, new: bool) -> list[Merged]:
    """Write the runs aside, look for two results of one run, and put them in their places."""
    work = folder / '.merge.partial'
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    merged: list[Merged] = []
    differences: list[Difference] = []
    origin: dict[str, tuple[Path, Pack]] = {}
    try:
        for pack in packs:
            taken, known, cards = 0, 0, set()
            for key in pack.runs:
                if not new and is_alive(folder / key):
                    raise PackError(f'{folder / key} is being trained; merge when it is done')
                aside = work / f'{len(origin)}-{taken + known}'
                aside.mkdir()
                pack.write_run(key, aside)
                stage = here[key][0].stage
                cards.add(device_of(aside, stage))
                other = origin[key][0] if key in origin else folder / key
                if read_output(other, stage)[0] is None and key not in origin:
                    origin[key] = (aside, pack)
                    taken += 1
                    continue
                known += 1
                if values := other_result(other, aside, stage):
                    differences.append(Difference(values[0], 1, key, *values[1:], pack.name))
            merged.append(Merged(pack.name, taken, known, ', '.join(sorted(cards - {''}))))
        if differences:
            raise DifferentStudies(differences)
        if new:
            write_json(folder / INFO, asdict(packs[0].info()))
            write_json(folder / FINGERPRINTS, planned_in_json(here.values()))
        place(folder, here, origin)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return merged


def place(
    folder: Path,
    here: Planned,
    origin: dict[str, tuple[Path, Pack]],
) -> None:
    """Move runs to their places and enter them in the ledger."""
    tasks = read_info(folder / INFO).tasks
    data = {
        key: {'<data>': task.data_root.rstrip('/')} for key, task in tasks.items() if task.data_root
    }
    with contextlib.closing(Ledger(folder)) as ledger:
        known = set(ledger.rows())
        if not known:
            ledger.plan(run for run, _ in here.values())
        for key, (aside, pack) in origin.items():
            run, fingerprint = here[key]
            about, finished = pack.runs[key]
            changed = [
                f'{name} changed ({about.fingerprint.get(name, "none")} to {fingerprint[name]})'
                for name in MAY_DIFFER
                if about.fingerprint.get(name) != fingerprint.get(name)
            ]
            kept = '; '.join(filter(None, [about.kept, *changed]))
            about = replace(about, fingerprint=fingerprint, kept=kept)
            about.save(aside)
            give_places(aside, {'<study>': str(folder.resolve()), **data.get(run.task, {})})
            target = folder / key
            if target.exists():  # begun, and without a result
                shutil.rmtree(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            aside.rename(target)
            ledger.take_over(key, about, finished)


def give_places(folder: Path, places: dict[str, str]) -> None:
    """Let the config of a run name folders of this machine, where they are known."""
    config = read_config(folder)
    if config is not None:
        write_data(folder, put_places(config, places))


def device_of(folder: Path, stage: Stage) -> str:
    """The card that a main run was done with."""
    content = read_output(folder, stage)[0] or {}
    environment = content.get('environment')
    return str(environment.get('device', '')) if isinstance(environment, dict) else ''


def other_result(here: Path, there: Path, stage: Stage) -> tuple[str, str, str] | None:
    """What two outcomes of one run first differ in, and both values; times and cards may differ."""
    one, other = (read_output(folder, stage)[0] or {} for folder in (here, there))
    for name in sorted(one.keys() | other.keys()):
        mine, theirs = one.get(name), other.get(name)
        if name in MEASURED or mine == theirs:
            continue
        if isinstance(mine, dict) and isinstance(theirs, dict):
            name, mine, theirs = next(
                (f'{name}: {key}', mine.get(key), theirs.get(key))
                for key in sorted(mine.keys() | theirs.keys())
                if mine.get(key) != theirs.get(key)
            )
        return f'result: {name}', short(mine), short(theirs)
    return None
