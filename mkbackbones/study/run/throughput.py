"""How many runs to do at the same time: short trainings side by side, measured."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from rich.table import Table

from ...cores import usable_cores
from ..define.plan import Run
from ..prepare.prepared import PreparedStudy
from ..records.plain_config import write_config
from ..records.run_folder import read_error, read_object, write_json
from ..worker.measuring import MEASURED, STAGE
from .executors import LocalExecutor

__all__ = ['FILE', 'Throughput', 'measure', 'recommend', 'throughput_table', 'write_throughput']

FILE = 'throughput.json'
SECONDS = 10.0
#: Of the best number of images a second, what a smaller number of slots may lack.
SLACK = 0.05
#: Of a device's memory, what runs may take together.
MEMORY_SHARE = 0.95


@dataclass
class Throughput:
    """What runs side by side do.

    Args:
        slots (int): Runs on each device.
        step_seconds (list[float]): Seconds an iteration, of each run on all devices.
        images_per_second (float): Images a second of each device, by all runs on it.
        memory (int): Bytes taken of the fullest GPU, or of this machine's memory by all runs.
        memory_total (int): Bytes that there are; 0 where that is not known.
        error (str): Why there are no numbers; empty where there are.
    """

    slots: int
    step_seconds: list[float]
    images_per_second: float = 0.0
    memory: int = 0
    memory_total: int = 0
    error: str = ''


def measure(
    prepared: PreparedStudy,
    task: str,
    gpus: list[str],
    folder: Path,
    note: Callable[[str], None] = lambda text: None,
    seconds: float | None = None,
) -> Iterator[Throughput]:
    """Train the baseline of a task in 1, 2, 4, 8, ... processes a device at the same time.

    It ends where there are no more cores, no more memory, or no more runs in the study.

    Args:
        prepared (PreparedStudy): The study.
        task (str): Key of the task.
        gpus (list[str]): GPUs as ``CUDA_VISIBLE_DEVICES`` names them; empty for the CPU.
        folder (Path): Empty folder to work in.
        note (Callable): Told what is being done, for a status line.
        seconds (float | None): How long to count iterations, after a warm-up; default 10.

    Yields:
        Throughput: For each number of slots.
    """
    study, devices, slots = prepared.study, max(len(gpus), 1), 1
    most = max(min(usable_cores(), len(study.seeds) * len(study.arms) * len(study.tasks)), 1)
    while slots == 1 or slots * devices <= most:
        note(f'measuring {slots} at a time')
        found = measure_slots(prepared, task, gpus, folder / str(slots), slots, seconds or SECONDS)
        yield found
        if found.error or 2 * found.memory > MEMORY_SHARE * (found.memory_total or float('inf')):
            return
        slots *= 2


def measure_slots(
    prepared: PreparedStudy, task: str, gpus: list[str], folder: Path, slots: int, seconds: float
) -> Throughput:
    """Measure one number of slots; see :func:`measure`."""
    runs = slots * max(len(gpus), 1)
    folders = [folder / str(index) for index in range(runs)]
    with contextlib.closing(LocalExecutor(slots, gpus, warm=True)) as executor:
        jobs = []
        for place in folders:
            place.mkdir(parents=True)
            write_config(place, measured_config(prepared, task, runs, seconds))
            jobs.append(executor.submit(place))
        ended: list[str | None] = [None] * runs
        while None in ended:
            ended = [job.poll() for job in jobs]
            for place, reason in zip(folders, ended):
                error = reason or read_error(place)
                if error:  # the others would wait
                    return Throughput(slots, [], error=error)
            time.sleep(0.1)
    content: list[dict[str, Any]] = []
    for place in folders:
        measured = read_object(place / MEASURED)
        if measured is None:
            lost = (place / 'console.log').read_text(encoding='utf-8', errors='replace')
            return Throughput(slots, [], error=lost.strip()[-300:])
        content.append(measured)
    taken = [entry['memory'] for entry in content]
    return Throughput(
        slots,
        [entry['step_seconds'] for entry in content],
        sum(entry['images_per_second'] for entry in content) / max(len(gpus), 1),
        max(taken) if gpus else sum(taken),
        content[0].get('memory_total') or (0 if gpus else machine_memory()),
    )


def measured_config(prepared: PreparedStudy, task: str, runs: int, seconds: float) -> Config:
    """Config of a run that is measured: the baseline's, training until all have counted."""
    study = prepared.study
    cfg = prepared.config(Run('timing', task, study.baseline.key, study.seeds[0]))
    never = 10**9
    cfg.train_cfg.update(max_iters=never, val_interval=never)
    cfg.default_hooks = dict(cfg.get('default_hooks') or {}, checkpoint=dict(interval=never))
    cfg.study.update(gpus=1, stage=STAGE, measure=dict(runs=runs, seconds=seconds))
    return cfg


def machine_memory() -> int:
    """Bytes of this machine's memory; 0 where that is not known."""
    try:
        lines = Path('/proc/meminfo').read_text(encoding='ascii').splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith('MemTotal'))
    except (OSError, StopIteration, ValueError):
        return 0


def recommend(found: list[Throughput]) -> Throughput | None:
    """The smallest number of slots within 5 per cent of the best; None without any numbers."""
    measured = [entry for entry in found if not entry.error]
    best = max((entry.images_per_second for entry in measured), default=0.0)
    enough = (entry for entry in measured if entry.images_per_second >= (1 - SLACK) * best)
    return next(enough, None)


def throughput_table(found: list[Throughput], task: str) -> Table:
    """A line for each number of slots."""
    table = Table(title=f'throughput of task {task}, baseline', box=None)
    for name in ('slots', 's/iteration each', 'images/s a device', 'memory'):
        table.add_column(name, justify='right')
    for entry in found:
        if entry.error:
            table.add_row(str(entry.slots), entry.error)
            continue
        steps = entry.step_seconds
        each = f'{statistics.median(steps):.3g}'
        if len(steps) > 1:
            each += f' ({min(steps):.3g} to {max(steps):.3g})'
        memory = f'{entry.memory / 2**30:.1f}'
        if entry.memory_total:
            memory += f' of {entry.memory_total / 2**30:.0f}'
        rate = f'{entry.images_per_second:,.{0 if entry.images_per_second >= 100 else 1}f}'
        table.add_row(str(entry.slots), each, rate, f'{memory} GiB')
    best = recommend(found)
    table.caption = f'recommended: --slots {best.slots}' if best else 'nothing could be measured'
    return table


def write_throughput(folder: Path, found: list[Throughput], task: str, devices: int) -> Path:
    """Write what was measured to a study's folder, and return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    best = recommend(found)
    content = {
        'task': task,
        'devices': devices,
        'cores': usable_cores(),
        'recommended': best.slots if best else None,
        'measured': [asdict(entry) for entry in found],
    }
    write_json(folder / FILE, content)
    return folder / FILE
