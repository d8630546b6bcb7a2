"""What sub-commands of ``study`` begin with: a study's folder, the checked study, an executor."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..garbage import collected_later
from .errors import CommandError
from .launch import select_device

if TYPE_CHECKING:
    from rich.console import Console

    from ..study.prepare.prepared import PreparedStudy
    from ..study.run.executors import Executor

__all__ = [
    'add_study_folder',
    'build_executor',
    'read_and_prepare',
    'starting',
    'study_folder',
    'study_work_dir',
]


def add_study_folder(parser: argparse.ArgumentParser) -> None:
    """Add the argument that :func:`study_folder` reads."""
    parser.add_argument('folder', type=Path, help="the study's folder, or its file")


def study_folder(path: Path) -> Path:
    """The folder of a study, where its file is named instead."""
    return Path('work_dirs/studies') / path.stem if path.suffix == '.py' else path


def study_work_dir(args: argparse.Namespace, prepared: PreparedStudy) -> Path:
    """The folder that the arguments, or the study's name, give."""
    return args.work_dir or Path('work_dirs/studies') / prepared.study.name


def read_and_prepare(
    args: argparse.Namespace, console: Console, iters: int | None = None
) -> PreparedStudy:
    """Read and check a study file; ``iters`` takes the place of its budget.

    Raises:
        CommandError: It cannot run.
    """
    from ..runner.config_files import find_config

    select_device(args)
    path = find_config(args.study)
    with console.status('reading the study') as line, collected_later():
        from ..study.define.spec import Budget, StudyError, read_study
        from ..study.prepare.prepared import prepare_study

        try:
            # Libraries print while they read annotations.
            with contextlib.redirect_stdout(io.StringIO()):
                study = read_study(path)
                if iters is not None:
                    study = dataclasses.replace(study, budget=Budget(iters=iters))
                return prepare_study(study, line.update, getattr(args, 'verify', False))
        except StudyError as error:
            raise CommandError(error) from error


@contextlib.contextmanager
def starting(args: argparse.Namespace) -> Iterator[Executor | None]:
    """Workers get ready, or Ray is asked whether it is there, before the study is read.

    Raises:
        CommandError: A flag is wrong.
    """
    select_device(args)
    if args.executor == 'slurm':  # its jobs keep their logs in the study's folder
        yield None
        return
    with contextlib.closing(build_executor(args, Path())) as executor:
        yield executor


def build_executor(args: argparse.Namespace, folder: Path) -> Executor:
    """The executor that the arguments ask for.

    Raises:
        CommandError: A flag is wrong, or a library is missing.
    """
    from ..study.run.executors import LocalExecutor, RayExecutor, SlurmExecutor

    if args.slots is not None and args.slots < 1:
        raise CommandError(f'--slots {args.slots} is too few; give at least 1')
    try:
        if args.executor == 'ray':
            return RayExecutor(args.ray_address, args.slots or 1)
        if args.executor == 'slurm':
            options = {}
            for option in args.slurm:
                key, equals, value = option.partition('=')
                if not equals:
                    raise CommandError(f'--slurm {option} is not of the form KEY=VALUE')
                options[f'slurm_{key}'] = int(value) if value.isdigit() else value
            return SlurmExecutor(folder / 'slurm', args.slots or 64, options)
    except ConnectionError as error:
        raise CommandError(f'--ray-address {args.ray_address}: {error}') from error
    except (ModuleNotFoundError, RuntimeError) as error:
        raise CommandError(
            f'--executor {args.executor}: {error}; pip install "mkbackbones[cluster]", and run it '
            'where the scheduler is'
        ) from error
    return LocalExecutor(args.slots or 1, [] if args.device == 'cpu' else None, warm=True)
