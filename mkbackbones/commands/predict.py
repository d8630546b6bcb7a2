"""``python -m mkbackbones predict``: find defects in pictures, with a trained model."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import CommandError, run_skipping
from .given_threshold import check_point, read_point
from .launch import add_weights_arguments, force_cpu
from .tile_arguments import add_tile_arguments, chosen_tiling

if TYPE_CHECKING:
    from rich.progress import Progress

    from ..predict.inputs import Picture
    from ..predict.output import Output
    from ..predict.predictor import Predictor
    from ..predict.tiles import Tiling

FORMATS = ('coco', 'csv', 'labelme', 'yolo', 'png')
EPILOG = """
exit codes: 0 all pictures, 1 some were skipped (they are named), 2 nothing could be done

examples:
  python -m mkbackbones predict my_config.py work_dirs/my_config/epoch_12.pth pictures --out found
  python -m mkbackbones predict my_config.py epoch_12.pth 'line1/*.tif' --out found --paint \\
      --tile 1024 --overlap 128
  find line1 -newer last | python -m mkbackbones predict my_config.py epoch_12.pth - --out new
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = argparse.ArgumentParser(
        prog='python -m mkbackbones predict',
        description='Find defects in pictures with a trained detector, instance segmentor or '
        'semantic segmentor. After a stop, the same command goes on where it was.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='path of a config, or the name of a shipped one')
    parser.add_argument('checkpoint', help='path or URL of the weights')
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='INPUT',
        help="files, folders, patterns such as 'line1/**/*.png', or - for a list on standard input",
    )
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        metavar='DIR',
        help='folder to write, whole or not at all',
    )
    parser.add_argument(
        '--format',
        nargs='+',
        choices=FORMATS,
        metavar='FORMAT',
        help='coco (predictions.json), csv (predictions.csv), labelme and yolo for annotation '
        'tools, png (class maps, masks); default: coco csv, and png for class maps',
    )
    parser.add_argument(
        '--paint', action='store_true', help='write pictures with what was found drawn on them'
    )
    parser.add_argument(
        '--report',
        action='store_true',
        help='write gallery.html: painted pictures to pick from by class, score and alarm, in one '
        'file',
    )
    parser.add_argument(
        '--min-score',
        type=float,
        default=0.3,
        metavar='SCORE',
        help='least score of what is painted and goes to labelme and yolo; coco, csv and png have '
        'all; default: %(default)s',
    )
    parser.add_argument(
        '--threshold',
        type=Path,
        metavar='FILE.json',
        help='from calibrate-threshold: csv and coco tell which pictures raise an alarm',
    )
    add_tile_arguments(parser, 'cut larger pictures; each tile is prepared like a picture')
    parser.add_argument(
        '--batch-size',
        type=int,
        metavar='N',
        help='pictures or tiles of one size at once; halved where the memory of the GPU does not '
        "do; default: that of the config's test loader",
    )
    parser.add_argument(
        '--device', choices=['auto', 'cpu', 'cuda'], default='auto', help='default: a GPU if any'
    )
    parser.add_argument('--amp', choices=['bf16', 'fp16'], help='compute in lower precision')
    parser.add_argument(
        '--bit-depth',
        type=int,
        choices=range(9, 17),
        default=16,
        metavar='BITS',
        help='bits that the camera uses of pictures that store 16, as in prepare-dataset; '
        'default: %(default)s',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace former predictions')
    add_weights_arguments(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_skipping(build_parser(), predict, argv)


def predict(args: argparse.Namespace) -> list[str]:
    """Predict as the parsed arguments say.

    Returns:
        list[str]: Why pictures were skipped, one sentence each.

    Raises:
        CommandError: The input cannot work, or no picture could be used.
    """
    from ..predict.inputs import find_pictures, name_pictures
    from ..predict.output import Output, check_folder

    if not 0 <= args.min_score <= 1:
        raise CommandError(f'--min-score {args.min_score:g} has to be from 0 to 1')
    check_folder(args.out, args.overwrite)
    tiling = chosen_tiling(args)
    point = None if args.threshold is None else read_point(args, tiling)
    if point is not None and not args.report and not {'coco', 'csv'} & set(args.format or ['csv']):
        raise CommandError('--threshold tells alarms in csv, coco or --report: add one of them')
    listed = sys.stdin if '-' in args.inputs else None
    pictures = name_pictures(find_pictures(args.inputs, listed, without=args.out))
    if args.device == 'cpu':  # before torch is there, and after what needs none
        force_cpu()
    predictor = build(args, tiling)
    asked = settings(args, predictor)
    if point is not None:
        check_point(point, args, predictor)
        asked['alarm_above'] = point.above
    output = Output(args.out, asked, predictor.classes, predictor.palette, args.overwrite)
    with output.opened():
        try:
            found, faults = go_on(pictures, predictor, output)
        except KeyboardInterrupt:
            print(f'the same command goes on from {output.work}', file=sys.stderr)
            raise
        if found:
            output.finish(found)
    output.clear()
    if not found:
        raise CommandError(f'none of the {len(pictures)} pictures could be used: {faults[0]}')
    print(f'{args.out}: {told(len(found))}')
    if point is not None:
        print(f'{told(output.alarms)} with an alarm, {output.rule.words()}')
    if faults:
        print(f'{told(len(faults))} skipped, named above', file=sys.stderr)
    return faults


def build(args: argparse.Namespace, tiling: Tiling | None) -> Predictor:
    """The model."""
    from ..predict.predictor import Predictor
    from ..predict.tiles import OVERLAP

    return Predictor(
        args.config,
        args.checkpoint,
        device=args.device,
        amp=args.amp,
        batch_size=args.batch_size,
        tile=args.tile,
        overlap=OVERLAP if tiling is None else tiling.overlap,
        bit_depth=args.bit_depth,
        trusted=args.trusted,
        cfg_options=args.cfg_options,
    )


def settings(args: argparse.Namespace, predictor: Predictor) -> dict[str, Any]:
    """What the output depends on, beside the pictures."""
    formats = args.format
    if formats is None:
        formats = ['coco', 'csv', *(['png'] if predictor.kind == 'segmentation' else [])]
    return dict(
        predictor.settings(),
        format=sorted(set(formats)),
        paint=args.paint,
        report=args.report,
        min_score=args.min_score,
    )


def go_on(
    pictures: Sequence[Picture], predictor: Predictor, output: Output
) -> tuple[list[Picture], list[str]]:
    """Predict what is not there yet.

    Returns:
        tuple[list[Picture], list[str]]: What is there now, and why the others are not.
    """
    todo = [picture for picture in pictures if output.done(picture) is None]
    if len(todo) < len(pictures):
        print(f'{told(len(pictures) - len(todo))} there from a run that was stopped')
    faults: dict[Picture, str] = {}
    start = time.perf_counter()
    outcomes = predictor.outcomes(picture.path for picture in todo)
    with contextlib.closing(outcomes), progress(len(todo)) as advance:
        for picture, outcome in zip(todo, outcomes):
            if outcome.prediction is None or outcome.pixels is None:
                faults[picture] = outcome.fault
                print(f'skipped: {outcome.fault}', file=sys.stderr)
            else:
                output.add(picture, outcome.prediction, outcome.pixels)
            advance()
    seconds = time.perf_counter() - start
    if todo:
        print(f'{told(len(todo))} in {seconds:.1f} s, {len(todo) / seconds:.1f} images/s')
    return [picture for picture in pictures if picture not in faults], list(faults.values())


@contextlib.contextmanager
def progress(total: int) -> Iterator[Any]:
    """A bar with images/s on a terminal; yields what to call after each picture."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar
    from rich.text import Text

    class Speed(ProgressColumn):
        """Images per second."""

        def render(self, task: Task) -> Text:
            return Text(f'{task.speed or 0:.1f} images/s')

    console = Console(stderr=True)
    columns = (
        '{task.description}',
        BarColumn(),
        MofNCompleteColumn(),
        Speed(),
        TimeRemainingColumn(),
    )
    bar: Progress
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task('predicting', total=total)
        yield lambda: bar.advance(task)


def told(count: int) -> str:
    """A number of pictures."""
    return f'{count} picture' if count == 1 else f'{count} pictures'
