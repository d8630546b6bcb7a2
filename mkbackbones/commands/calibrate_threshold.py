"""``python -m mkbackbones calibrate-threshold``: above which score an image raises an alarm."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runner.preflight import check_checkpoint, check_classes, check_paths
from .errors import CommandError, run_command
from .launch import add_launch_arguments, prepare_config, runner_aside, told_in_a_sentence
from .targets import check_target

if TYPE_CHECKING:
    from mmengine.runner import Runner
    from torch.utils.data import DataLoader

    from ..decide.operating_point import Wish
    from ..decide.page import Looked
    from ..study.worker.collect import Collector

EXAMPLES = """
examples:
  python -m mkbackbones calibrate-threshold my_config.py epoch_12.pth --max-false-alarms 0.01
  python -m mkbackbones calibrate-threshold my_config.py epoch_12.pth --min-recall 0.98 \\
      --out line3.json --report line3.html

The threshold comes from the validation images of the config; what it gives is told for them and,
with exact intervals, for its test images.
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = argparse.ArgumentParser(
        prog='python -m mkbackbones calibrate-threshold',
        description='Choose the score above which an image counts as defective.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='path of a config, or the name of a shipped one')
    parser.add_argument('checkpoint', help='path of the weights')
    wish = parser.add_mutually_exclusive_group(required=True)
    wish.add_argument(
        '--max-false-alarms',
        type=float,
        metavar='SHARE',
        help='of the good images, e.g. 0.005 for 5 in 1,000 parts',
    )
    wish.add_argument(
        '--min-recall', type=float, metavar='SHARE', help='of the defective images, e.g. 0.98'
    )
    parser.add_argument(
        '--out', type=Path, default=Path('threshold.json'), help='default: threshold.json'
    )
    parser.add_argument('--report', type=Path, metavar='FILE.html', help='write a page, too')
    parser.add_argument('--force', action='store_true', help='replace files that exist')
    add_launch_arguments(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), calibrate, argv)


def calibrate(args: argparse.Namespace) -> None:
    """Choose a threshold as the parsed arguments say.

    Raises:
        CommandError: If the input cannot work, or the images are too few to tell.
    """
    from ..decide.operating_point import (
        OperatingPoint,
        Wish,
        choose_threshold,
        digest_of,
        outcome_of,
    )
    from ..decide.page import described, doubt_of_groups, write_page

    try:
        wish = Wish(args.max_false_alarms, args.min_recall)
    except ValueError as error:
        raise CommandError(error) from error
    check_target(args.out, '.json', args.force)
    if args.report is not None:
        check_target(args.report, '.html', args.force)
    check_checkpoint(args.checkpoint)
    cfg = prepare_config(args)
    kinds = dict(mmdet='detection', mmseg='segmentation')
    kind = kinds.get(cfg.get('default_scope', ''))
    if kind is None:
        raise CommandError(
            f'config {args.config} has default_scope={cfg.get("default_scope")!r}; thresholds are '
            'for detectors (mmdet) and segmentors (mmseg)'
        )
    if cfg.get('val_dataloader') is None:
        raise CommandError(f'config {args.config} has no val_dataloader to choose a threshold with')
    splits = ['val'] + ['test'] * (cfg.get('test_dataloader') is not None)
    if 'test' not in splits:
        print(f'config {args.config} has no test images: nothing is told of other images')
    elif same_images(cfg):
        print('the test images are those of validation: nothing is told of other images')
        splits.remove('test')
    check_paths(cfg, tuple(splits))
    check_classes(cfg, tuple(splits))
    with tempfile.TemporaryDirectory() as scratch, told_in_a_sentence():
        runner, _ = runner_aside(cfg, args.checkpoint, args.trusted, scratch)
        opened = open_split(runner, cfg.val_dataloader, kind, Path(scratch))
        check_number(opened[1], kind, wish)
        runner.load_or_resume()
        looked = {'validation': look(runner, *opened)}
        found = looked['validation']
        try:  # before the longer look at the test images
            threshold = choose_threshold(found.score, found.defective, wish)
        except ValueError as error:
            raise CommandError(error) from error
        if 'test' in splits:
            test = open_split(runner, cfg.test_dataloader, kind, Path(scratch))
            looked['test'] = look(runner, *test)
    outcomes = {
        name: outcome_of(each.score, each.defective, each.groups, threshold)
        for name, each in looked.items()
    }
    point = OperatingPoint(
        threshold,
        wish,
        opened[1].classes,
        Path(args.checkpoint).name,
        outcomes['validation'],
        outcomes.get('test'),
        digest_of(Path(args.checkpoint)),
    )
    point.save(args.out)
    print(f'asked for: {wish}; alarm above {threshold:.6g}')
    if doubt := doubt_of_groups(looked['validation'], wish):
        print(doubt)
    for name, outcome in outcomes.items():
        for what, text in described(outcome):
            print(f'{name}: {what}: {text}')
    print(args.out)
    if args.report is not None:
        write_page(args.report, point, looked)
        print(args.report)


def same_images(cfg: Any) -> bool:
    """Whether test and validation images are the same, by what names them in the config."""
    val, test = (dict(cfg[f'{s}_dataloader'].dataset) for s in ('val', 'test'))
    for settings in (val, test):
        for name in ('pipeline', 'test_mode', 'indices'):
            settings.pop(name, None)
    return val == test


def open_split(
    runner: Runner, settings: dict, kind: Any, scratch: Path
) -> tuple[DataLoader, Collector]:
    """The images of a split, and what collects their scores.

    Raises:
        CommandError: If its annotations are not such as tell which images are good.
    """
    from ..study.worker.collect import collector_of

    # One image after the other, as predict and exported files take them: in a batch, an image is
    # padded to the size of its neighbours, and has another score.
    loader = runner.build_dataloader(dict(settings, batch_size=1))
    root = getattr(loader.dataset, 'data_root', None) or '.'
    try:
        return loader, collector_of(kind, loader.dataset, root, scratch)
    except TypeError as error:
        raise CommandError(error) from error


def check_number(collector: Collector, kind: str, wish: Wish) -> None:
    """Raise CommandError, before the network runs, where there cannot be enough images.

    Annotations of detectors tell how many are good; those of segmentors, how many there are.
    """
    most = len(collector.dataset)
    if kind == 'detection':
        good = len(collector.may_be_good())
        most = good if wish.kind == 'good' else most - good
    try:
        wish.check_number(most)
    except ValueError as error:
        raise CommandError(error) from error


def look(runner: Runner, loader: DataLoader, collector: Collector) -> Looked:
    """Score the images of a split."""
    from ..decide.page import Looked
    from ..study.worker.collect import collect

    collect(runner.model, loader, collector)
    evidence: Any = collector.evidence()
    paths = {}
    for index in range(len(collector.dataset)):
        path = Path(collector.dataset.get_data_info(index)['img_path'])
        paths[path.stem] = paths[path.name] = path
    files = [paths[image] for image in evidence.images]
    return Looked(evidence.defect_score, evidence.defective, evidence.groups, files)
