"""Run jobs: set every backbone up, then measure all of them in turn, round after round."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Protocol, TypeVar

import torch
from rich.progress import Progress
from torch import nn

from ..version import __version__
from .build import Unavailable, build_backbone
from .floor import floor_ms, measure_rates, operations_and_traffic
from .measure import KINDS, Case, StepKind, allocated, free
from .presets import Job
from .results import Profile, Row
from .sizes import parse_size
from .spec import Precision, Spec

T = TypeVar('T')
DISTRIBUTIONS = (
    'torch',
    'triton',
    'timm',
    'onedl-mmdetection',
    'onedl-mmsegmentation',
    'onedl-mmpretrain',
    'mmdet',
    'mmsegmentation',
    'mmpretrain',
)


def new_profile(device: torch.device, precisions: Sequence[Precision], settings: dict) -> Profile:
    """A profile without measurements: the environment and the measured rates of the device."""
    rates = measure_rates(device, list(dict.fromkeys(precisions)))
    return Profile(environment(device), settings, rates)


def environment(device: torch.device) -> dict:
    """What a reader needs to judge the numbers."""
    versions = dict(mkbackbones=__version__)
    for name in DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    cuda = device.type == 'cuda'
    return dict(
        date=datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d'),
        device=torch.cuda.get_device_name(device) if cuda else platform.machine() + ' CPU',
        memory_mib=torch.cuda.get_device_properties(device).total_memory // 2**20 if cuda else None,
        cuda=torch.version.cuda if cuda else None,
        threads=torch.get_num_threads(),
        float32_matmul_precision=torch.get_float32_matmul_precision(),
        versions=versions,
    )


def run_job(
    job: Job,
    profile: Profile,
    rounds: int,
    optimizer: bool,
    save: Callable[[], None],
    progress: Progress,
) -> list[tuple[Row, Case]]:
    """Measure the backbones of a job and add their rows to ``profile``.

    What cannot be built or run, out of memory included, is noted in its row and left out.

    Args:
        job (Job): The backbones.
        profile (Profile): Where the rows go.
        rounds (int): Samples of each backbone.
        optimizer (bool): Whether AdamW's step is part of a train step.
        save (Callable): Called after each set-up and each round.
        progress (Progress): Where progress is shown.

    Returns:
        list[tuple[Row, Case]]: Row and backbone of what ran, moved to the CPU, for
        :func:`count_launches` once all jobs are through.
    """
    device = torch.device(profile.settings['device'])
    batch, height, width = parse_size(job.size)
    images = torch.randn(batch, 3, height, width, device=device)
    cases: list[tuple[Row, Case]] = []
    what = f'{job.size} {job.precision}'
    task = progress.add_task(what, total=len(job.specs) * (rounds + 1))
    for spec in job.specs:
        progress.update(task, description=f'{what}: set up {spec}', refresh=True)
        row = Row(str(spec), job.size, job.precision)
        profile.rows.append(row)
        case = set_up(spec, row, images, optimizer, profile.rates)
        if case is not None:
            cases.append((row, case))
        save()
        progress.advance(task)
    for number in range(rounds):
        progress.update(task, description=f'{what}: round {number + 1} of {rounds}', refresh=True)
        for row, case in cases:
            for kind in list(case.repeats):
                milliseconds = attempt(row, kind, partial(case.sample, kind))
                if milliseconds is None:
                    case.drop(kind)
                else:
                    getattr(row, f'{kind}_ms').append(milliseconds)
            progress.advance(task)
        save()
    for _, case in cases:
        case.move('cpu')
    free(device)
    progress.update(task, description=what, completed=len(job.specs) * (rounds + 1))
    return cases


def count_launches(cases: list[tuple[Row, Case]], save: Callable[[], None]) -> None:
    """Fill in launches and the time of the kernels, behind the last sample of all jobs.

    PyTorch's profiler stays attached to the driver once it has run, and slows every later launch.

    Args:
        cases (list[tuple[Row, Case]]): What :func:`run_job` returned.
        save (Callable): Called after each backbone.
    """
    for row, case in cases:
        case.move(case.device)
        for kind in case.repeats:
            launches, busy = attempt(row, kind, partial(case.trace, kind)) or (None, None)
            setattr(row, f'{kind}_launches', launches)
            setattr(row, f'{kind}_busy_ms', busy)
        case.move('cpu')
        free(case.device)
        save()


def set_up(spec: Spec, row: Row, images: torch.Tensor, optimizer: bool, rates: dict) -> Case | None:
    """Build and warm up a backbone, and fill what is measured once.

    Returns:
        Case | None: What can be sampled; None if nothing can, for the reason in ``row.note``.
    """
    size = (images.shape[0], *images.shape[2:])
    resident = allocated(images.device)
    with images.device:  # a GPU draws the random weights in no time
        model = attempt(row, '', lambda: build_backbone(spec, size[1:]))
    if model is None:
        return None
    row.parameters = sum(p.numel() for p in model.parameters())
    attempt(row, 'operations', lambda: set_floor(spec, model, row, size, rates))
    compiled: Any = spec.get('compile', 'no')  # one of Compiled, or it would be no spec
    loop: Any = spec.get('loop', 'ours')
    how = compiled, spec.get('recorded') == 'yes', loop
    build_case = partial(Case, model, *how, images, row.precision, optimizer, resident)
    case = attempt(row, '', build_case)
    if case is None:
        return None
    for kind in KINDS:
        prepared = attempt(row, kind, partial(prepare, case, kind))
        if prepared is None:
            case.drop(kind)
        else:
            setattr(row, f'{kind}_peak_mib', prepared[0])
    return case if case.repeats else None


def prepare(case: Case, kind: StepKind) -> tuple[float | None]:
    """Prepare a kind of step; not None, which is for what cannot be done."""
    return (case.prepare(kind),)


class Noted(Protocol):
    """A row that says why something is missing."""

    note: str


def attempt(row: Noted, what: str, run: Callable[[], T]) -> T | None:
    """Return what ``run`` returns; if it fails, note why in the row and return None.

    Whatever fails in one backbone, the others are still to be measured.
    """
    try:
        return run()
    except torch.cuda.OutOfMemoryError:
        reason = 'out of memory'
    except (Unavailable, ValueError) as error:
        reason = one_line(error)
    except Exception as error:
        reason = f'{type(error).__name__}: {one_line(error)}'
    note = f'{what}: {reason}' if what else reason
    row.note = f'{row.note}; {note}' if row.note else note
    return None


def one_line(error: Exception, limit: int = 200) -> str:
    """The start of an error's text."""
    return ' '.join(str(error).split())[:limit]


def set_floor(
    spec: Spec, model: nn.Module, row: Row, size: tuple[int, int, int], rates: dict
) -> None:
    """Fill the operations of the backbone itself, and the floor of the function it computes."""
    floor = floor_ms(*function_work(spec.function(), size), row.precision, rates)
    if floor is not None:
        row.inference_floor_ms, row.train_floor_ms = floor, 3 * floor
    row.gflops = operations_and_traffic(model, size)[0] / 1e9


@cache
def function_work(function: Spec, size: tuple[int, int, int]) -> tuple[int, int]:
    """Operations and moved elements of our backbone."""
    with torch.device('meta'):
        model = build_backbone(function, size[1:])
    return operations_and_traffic(model, size)
