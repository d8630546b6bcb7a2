"""``python -m mkbackbones study``: arms x tasks x seeds from one file, and what came out."""

from __future__ import annotations

import argparse

from .errors import run_command
from .study_numbers import add_export, add_power
from .study_parts import add_pack_and_merge
from .study_run import add_run_and_plan
from .study_show import add_compare, add_report, add_status

__all__ = ['build_parser', 'main']

EXAMPLES = """
examples:
  python -m mkbackbones study plan configs/studies/neu_scratch.py
  python -m mkbackbones study plan configs/studies/neu_scratch.py --untimed
  python -m mkbackbones study plan configs/studies/neu_scratch.py --measure
  python -m mkbackbones study run configs/studies/neu_scratch.py --slots 3
  python -m mkbackbones study run my_planned_study.py --until decided
  python -m mkbackbones study status work_dirs/studies/neu_scratch
  python -m mkbackbones study report work_dirs/studies/neu_scratch
  python -m mkbackbones study compare work_dirs/studies/before work_dirs/studies/after
  python -m mkbackbones study export work_dirs/studies/neu_scratch --out numbers.csv
  python -m mkbackbones study export work_dirs/studies/neu_scratch --evidence evidence
  python -m mkbackbones study power configs/studies/neu_scratch.py --effect AP=1
  python -m mkbackbones study run my_study.py --executor slurm --slurm partition=gpu
  python -m mkbackbones study run my_study.py --part 1/2
  python -m mkbackbones study pack work_dirs/studies/my_study --out first_half.zip
  python -m mkbackbones study merge first_half.zip second_half.zip --into work_dirs/studies/both
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser, one sub-command for each thing to do with a study."""
    parser = argparse.ArgumentParser(
        prog='python -m mkbackbones study',
        description='Train every arm on every task with every seed, fairly, and compare.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    add_run_and_plan(commands)
    add_status(commands)
    add_report(commands)
    add_compare(commands)
    add_export(commands)
    add_power(commands)
    add_pack_and_merge(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), lambda args: args.function(args), argv)
