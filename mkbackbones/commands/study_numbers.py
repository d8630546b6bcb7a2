"""Sub-commands of ``study`` that compute: export and power."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CommandError
from .study_setup import add_study_folder, study_folder

if TYPE_CHECKING:
    from argparse import _SubParsersAction as SubCommands

    from rich.console import Console

    from ..study.define.spec import Study

__all__ = ['add_export', 'add_power']

POWER_EXAMPLES = """
examples:
  python -m mkbackbones study power studies/demo.py --pilot work_dirs/demo --effect top1=2
  python -m mkbackbones study power studies/demo.py --effect top1=2 detection=1.5
"""


def add_export(commands: SubCommands) -> None:
    """Add ``study export``."""
    parser = commands.add_parser('export', help='write the numbers of a study, or its evidence')
    add_study_folder(parser)
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument('--out', type=Path, help='a .json or a .csv file')
    wanted.add_argument(
        '--evidence',
        type=Path,
        metavar='FOLDER',
        help='a new folder for what the intervals follow from, some kilobytes a run; `report` and '
        '`export` take it like a study',
    )
    parser.set_defaults(function=export)


def add_power(commands: SubCommands) -> None:
    """Add ``study power``."""
    parser = commands.add_parser(
        'power',
        help='what a planned study can find, from the first seeds or a pilot',
        description='Say from the results of a pilot what a planned study can find, and how many '
        'seeds or test images a wanted effect takes.',
        epilog=POWER_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('study', help='path of a study file, or the name of a shipped one')
    parser.add_argument(
        '--pilot',
        type=Path,
        metavar='FOLDER',
        help='a study with the same tasks and arms and two seeds or more; default: what is there '
        'of the study itself',
    )
    parser.add_argument(
        '--effect',
        nargs='+',
        default=[],
        metavar='METRIC=POINTS',
        help='differences that matter, by primary metric or by task, e.g. AP=1',
    )
    parser.set_defaults(function=power)


def export(args: argparse.Namespace) -> None:
    """Write every number of a study, or its evidence.

    Raises:
        CommandError: The format is unknown, there is no study, or the file cannot be written.
    """
    from rich.console import Console

    if args.evidence is not None:
        export_small(study_folder(args.folder), args.evidence, Console(markup=False))
        return
    from ..files import written_aside
    from ..study.records.results import load_results
    from ..study.report.numbers import to_csv, to_json
    from ..study.statistics import analyse

    formats = {'.json': to_json, '.csv': to_csv}
    if args.out.suffix not in formats:
        raise CommandError(f'--out {args.out} has to end in {" or ".join(formats)}')
    console = Console(markup=False)
    try:
        with console.status('computing statistics'):
            results = load_results(study_folder(args.folder))
            text = formats[args.out.suffix](results, analyse(results))
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(args.out) as work:
            work.write_text(text, encoding='utf-8')
    except (OSError, ValueError) as error:
        raise CommandError(error) from error
    console.print(f'numbers: {args.out}', soft_wrap=True)


def export_small(folder: Path, out: Path, console: Console) -> None:
    """Write the evidence of a study.

    Raises:
        CommandError: There is no study, or no evidence, or the folder has files in it.
    """
    from ..study.records.results import load_results
    from ..study.statistics.left_out import export_evidence

    try:
        results = load_results(folder)
        with console.status('exporting') as line:
            size = export_evidence(results, out, line.update)
    except (OSError, ValueError) as error:
        raise CommandError(error) from error
    each = size / len(results.runs) / 1000
    console.print(f'evidence: {out} ({len(results.runs)} runs, {each:.0f} kB each)', soft_wrap=True)


def power(args: argparse.Namespace) -> None:
    """Say what a planned study can find.

    Raises:
        CommandError: The study file or an effect is wrong, or there is no pilot.
    """
    from rich.console import Console

    from ..runner.config_files import find_config
    from ..study.define.spec import StudyError, read_study
    from ..study.records.results import load_results
    from ..study.report.console.power_table import power_table
    from ..study.statistics.power import prospects

    console = Console(markup=False)
    try:
        study = read_study(find_config(args.study))
        effects = parse_effects(args.effect, study)
        folder = args.pilot or Path('work_dirs/studies') / study.name
        with console.status('computing statistics'):
            found, missing = prospects(study, load_results(folder), effects)
    except StudyError as error:
        raise CommandError(error) from error
    except FileNotFoundError as error:
        raise CommandError(
            f'{error}; run two seeds of the study, or name another one with --pilot FOLDER'
        ) from error
    except (OSError, ValueError) as error:
        raise CommandError(error) from error
    if not found:
        raise CommandError(f'the pilot tells nothing: {"; ".join(missing)}')
    console.print(power_table(study, found, missing))


def parse_effects(effects: list[str], study: Study) -> dict[str, float]:
    """Read ``METRIC=POINTS`` arguments.

    Raises:
        CommandError: One is malformed, or names neither a task nor a primary metric.
    """
    from ..hints import did_you_mean

    known = [*study.tasks, *dict.fromkeys(task.primary for task in study.tasks.values())]
    found = {}
    for text in effects:
        name, _, value = text.partition('=')
        try:
            found[name] = abs(float(value))
        except ValueError:
            found[name] = 0.0
        if not 0 < found[name] < float('inf'):
            raise CommandError(f'--effect {text} is not of the form METRIC=POINTS, e.g. AP=1')
        if name not in known:
            raise CommandError(
                f'--effect {text}: the study has no {name!r}; it has {", ".join(known)}'
                f'{did_you_mean(name, known)}'
            )
    return found
