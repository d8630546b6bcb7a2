"""``python -m mkbackbones profile-backbone``: time and memory of backbones, side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CommandError, run_command

if TYPE_CHECKING:
    from ..profiling.presets import Job

EXAMPLES = """
backbones: [library:]arch[/Key][:option=value ...]
  library  none for ours; mmdet, mmseg, mmpretrain, timm
  arch     swin, swinv2, vit or dinov3, with the size: swin-t, swin-s, swin-b, swin-l; dinov3-sp
  Key      SpatialK, VanillaK, KUA, SimpleK, LinearK, MLPK; none for the stock key
  options  charts=N  width=full|half|1/H  act=gelu|none  base=yes|no  fold=yes (of a key)
           cp=yes (activation checkpointing)  compile=yes|graphs  fused=yes|no (timm's attention)
           recorded=yes (passes as CUDA graphs)  loop=plain (autograd in a thread of its own)

examples:
  python -m mkbackbones profile-backbone --preset goals --check
  python -m mkbackbones profile-backbone --backbones swin-t mmdet:swin-t timm:swin-t:fused=yes \\
      swin-t/SpatialK swin-t/VanillaK:charts=4 --sizes detection 2x1024x1024 --compile
  python -m mkbackbones profile-backbone --device cpu --backbones vit-t vit-t/KUA --rounds 3
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = argparse.ArgumentParser(
        prog='python -m mkbackbones profile-backbone',
        description='Measure train step, inference, memory, operations and kernel launches of '
        'backbones in turn, and how far they are from the floor of the device.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('--backbones', nargs='+', metavar='NAME', help='what to run side by side')
    what.add_argument(
        '--preset',
        choices=['goals', 'charts', 'peers', 'compiled'],
        help='goals: what --check needs; charts: 1 to 16 charts of every width; peers: the stock '
        'backbones at all sizes as used; compiled: keys and peers as they are and as CUDA graphs',
    )
    parser.add_argument(
        '--sizes',
        nargs='+',
        metavar='BxHxW',
        help='or detection, lsj, segmentation, classification; default: all four, on a CPU '
        '1x224x224',
    )
    parser.add_argument(
        '--precision',
        nargs='+',
        choices=['fp32', 'bf16', 'fp16'],
        help='default: bf16, on a CPU fp32',
    )
    parser.add_argument('--charts', nargs='+', type=int, default=[], metavar='N')
    parser.add_argument('--chart-width', nargs='+', choices=['full', 'half', '1/H'], default=[])
    parser.add_argument('--compile', action='store_true', help='also run each one compiled')
    parser.add_argument('--optimizer', action='store_true', help="train steps with AdamW's step")
    parser.add_argument('--rounds', type=int, default=10, help='default: %(default)s')
    parser.add_argument('--device', choices=['auto', 'cpu', 'cuda'], default='auto')
    parser.add_argument('--check', action='store_true', help='fail unless all goals hold')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/profile'), metavar='DIR')
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), profile_backbone, argv)


def profile_backbone(args: argparse.Namespace) -> None:
    """Profile as the parsed arguments say.

    Raises:
        CommandError: If an argument cannot work, or with ``--check`` a goal does not hold.
    """
    import torch
    from rich.progress import Progress

    from ..profiling.goals import check_goals
    from ..profiling.render import markdown, plot
    from ..profiling.run import count_launches, new_profile, run_job

    if args.rounds < 1:
        raise CommandError(f'--rounds {args.rounds} is too few; give at least 1, better 10')
    device = select_device(args.device)
    jobs = plan(args, device == 'cuda')
    args.out.mkdir(parents=True, exist_ok=True)
    settings = dict(device=device, rounds=args.rounds, optimizer=args.optimizer)
    profile = new_profile(torch.device(device), [j.precision for j in jobs], settings)

    def save() -> None:
        profile.save(args.out / 'profile.json')

    # No thread of its own draws the progress: it would disturb what is measured.
    with Progress(auto_refresh=False) as progress:
        cases = []
        for job in jobs:
            cases += run_job(job, profile, args.rounds, args.optimizer, save, progress)
        count_launches(cases, save)
    verdicts = check_goals(profile) if args.check else []
    report = markdown(profile, verdicts)
    write_report(args.out / 'profile.md', report)
    plot(profile, args.out / 'profile.png')
    print(f'{args.out}: profile.json, profile.md and profile.png written\n')
    print(report)
    if failed := [verdict for verdict in verdicts if not verdict.holds]:
        missed = sum(verdict.holds is False for verdict in failed)
        raise CommandError(
            f'of {len(verdicts)} goals {missed} are missed and {len(failed) - missed} not measured'
        )


def select_device(wanted: str) -> str:
    """``cuda`` or ``cpu``; ``auto`` takes a GPU if there is one.

    Raises:
        CommandError: If there is no GPU but one is asked for.
    """
    import torch

    available = torch.cuda.is_available()
    if wanted == 'cuda' and not available:
        raise CommandError('--device cuda: torch sees no CUDA device; use --device cpu')
    return 'cuda' if available and wanted != 'cpu' else 'cpu'


def plan(args: argparse.Namespace, cuda: bool) -> list[Job]:
    """The jobs that the arguments ask for.

    Raises:
        CommandError: If a name is not understood, or arguments do not go together.
    """
    from ..profiling.presets import PRESETS, Job
    from ..profiling.sizes import SIZES, parse_size
    from ..profiling.spec import SpecError, expand, parse_spec

    try:
        sizes = args.sizes and ['x'.join(map(str, parse_size(size))) for size in args.sizes]
        specs = [parse_spec(name) for name in args.backbones or []]
    except SpecError as error:
        raise CommandError(error) from error
    if bad := [number for number in args.charts if number < 1]:
        raise CommandError(f'--charts {bad[0]} is not allowed; give at least 1')
    if args.preset:
        jobs = PRESETS[args.preset]()
        if sizes:
            jobs = [Job(j.specs, size, j.precision) for j in jobs for size in sizes]
        if args.precision:
            jobs = [Job(j.specs, j.size, p) for j in jobs for p in args.precision]
    else:
        sizes = sizes or (list(SIZES.values()) if cuda else ['1x224x224'])
        precisions = args.precision or ['bf16' if cuda else 'fp32']
        jobs = [Job(tuple(specs), size, p) for size in sizes for p in precisions]
    axes = args.charts, args.chart_width, args.compile
    return [Job(tuple(expand(job.specs, *axes)), job.size, job.precision) for job in jobs]


def write_report(path: Path, text: str) -> None:
    """Write a text, whole or not at all."""
    from ..files import written_aside

    with written_aside(path) as work:
        work.write_text(text, encoding='utf-8')
