"""``python -m mkbackbones calibrate-threshold``: above which score an image raises an alarm."""

from __future__ import annotations

import argparse
import contextlib
import copy
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..exported_files import SUFFIXES, check_notes, is_exported, is_program
from ..hints import did_you_mean
from ..runner.preflight import check_checkpoint, check_classes, check_paths
from .errors import CommandError, run_command
from .launch import add_launch_arguments, prepare_config, runner_aside, told_in_a_sentence
from .targets import check_target
from .tile_arguments import add_tile_arguments, chosen_tiling, predictor_in_tiles

if TYPE_CHECKING:
    from mmengine.config import Config

    from ..decide.by_class import ByClass
    from ..decide.looked import Looked
    from ..decide.thresholds import Wish
    from ..predict.tiles import Tiling
    from .threshold_images import Split

EXAMPLES = """
examples:
  python -m mkbackbones calibrate-threshold my_config.py epoch_12.pth --max-false-alarms 0.01
  python -m mkbackbones calibrate-threshold my_config.py epoch_12.pth --min-recall 0.98 \\
      --out line3.json --report line3.html
  python -m mkbackbones calibrate-threshold my_config.py epoch_12.pth --min-recall 0.9 \\
      --per-class crack=0.98
  python -m mkbackbones calibrate-threshold my_config.py epoch_12.pth --min-recall 0.98 \\
      --tile 1024 --overlap 128
  python -m mkbackbones calibrate-threshold my_config.py model_int8.onnx --max-false-alarms 0.01
  python -m mkbackbones calibrate-threshold my_config.py model.pt2 --max-false-alarms 0.01

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
    parser.add_argument(
        'checkpoint',
        help='path of the weights, or of a file that export has written: ' + ' or '.join(SUFFIXES),
    )
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
        '--per-class',
        nargs='*',
        action='extend',
        metavar='CLASS=SHARE',
        help='choose a threshold for each class, too, by the same wish or by one of its own; an '
        'image then raises an alarm if any class is above its threshold',
    )
    add_tile_arguments(
        parser,
        'cut larger images, as predict does; the threshold is then for predict with such tiles',
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
    from ..decide.by_class import decide_by_class
    from ..decide.operating_point import OperatingPoint, Tiles, digest_of
    from ..decide.page import write_page
    from ..decide.thresholds import Wish, choose_threshold, outcome_of
    from ..decide.words import told_lines

    try:
        wish = Wish(args.max_false_alarms, args.min_recall)
        own = own_wishes(args.per_class or [], wish)
    except ValueError as error:
        raise CommandError(error) from error
    tiling = chosen_tiling(args)
    check_checkpoint(args.checkpoint)
    check_file(args, tiling)
    check_target(args.out, '.json', args.force)
    if args.report is not None:
        check_target(args.report, '.html', args.force)
    cfg, kind, splits = prepare(args)
    looked: dict[str, Looked] = {}
    with (
        tempfile.TemporaryDirectory() as scratch,
        told_in_a_sentence(cfg),
        opened(args, cfg, kind, scratch, tiling) as (open_split, load),
    ):
        first = open_split(cfg.val_dataloader)
        check_number(first, wish)
        check_names(own, first.defects)
        model = load(first)
        found = looked['validation'] = first.look(model)
        try:  # before the longer look at the test images
            threshold = choose_threshold(found.score, found.defective, wish)
        except ValueError as error:
            raise CommandError(error) from error
        cut = first.cut
        if 'test' in splits:
            second = open_split(cfg.test_dataloader)
            looked['test'] = second.look(model)
            cut += second.cut
    if tiling is not None and not cut:
        print(f'no image is larger than a tile, {tiling.tile} pixels: all were looked at whole')
    outcomes = {
        name: outcome_of(each.score, each.defective, each.groups, threshold)
        for name, each in looked.items()
    }
    by_class: ByClass | None = None
    if args.per_class is not None:
        try:
            by_class = decide_by_class({n: each.scored for n, each in looked.items()}, wish, own)
        except ValueError as error:
            raise CommandError(error) from error
    point = OperatingPoint(
        threshold,
        wish,
        first.classes,
        Path(args.checkpoint).name,
        outcomes['validation'],
        outcomes.get('test'),
        digest_of(Path(args.checkpoint)),
        by_class,
        None if tiling is None else Tiles(tiling.tile, tiling.overlap),
    )
    point.save(args.out)
    print('\n'.join(told_lines(point, looked['validation'])))
    print(args.out)
    if args.report is not None:
        write_page(args.report, point, looked)
        print(args.report)


def own_wishes(given: list[str], wish: Wish) -> dict[str, Wish]:
    """Wishes of single classes, of the kind that all have.

    Raises:
        ValueError: One is no ``CLASS=SHARE``, or its share is none.
    """
    from ..decide.thresholds import Wish

    found = {}
    for text in given:
        name, _, share = text.rpartition('=')
        try:
            number = float(share)
        except ValueError:
            name = ''
        if not name:
            raise ValueError(f'--per-class {text} is no CLASS=SHARE, such as crack=0.98')
        if name in found:
            raise ValueError(f'--per-class {name} has two wishes; give one')
        is_good = wish.kind == 'good'
        found[name] = Wish(number, None) if is_good else Wish(None, number)
    return found


def check_names(own: dict[str, Wish], classes: list[str]) -> None:
    """Raise CommandError if a wish is for a class that is not there."""
    for name in own:
        if name not in classes:
            raise CommandError(
                f'--per-class {name}: the classes of defects are {", ".join(classes)}'
                f'{did_you_mean(name, classes)}'
            )


def check_file(args: argparse.Namespace, tiling: Tiling | None) -> None:
    """Raise CommandError for what does not go with an exported file."""
    if not is_exported(args.checkpoint):
        return
    if args.device == 'cuda':
        runs = 'torch' if is_program(args.checkpoint) else 'onnxruntime'
        raise CommandError(f'--device cuda: {args.checkpoint} runs in {runs} on the CPU')
    if tiling is not None:
        raise CommandError(
            f'--tile {tiling.tile}: {args.checkpoint} is an exported file, which looks at whole '
            'pictures and joins nothing that tiles show; leave out --tile, or give the checkpoint, '
            'whose threshold is then for predict --tile'
        )
    if is_program(args.checkpoint):  # before all that it takes to look at images
        try:
            check_notes(args.checkpoint)
        except ValueError as error:
            raise CommandError(
                f'{args.checkpoint} cannot be read as an exported file ({error}); a checkpoint has '
                'another suffix, such as .pth'
            ) from error


def prepare(args: argparse.Namespace) -> tuple[Config, Any, list[str]]:
    """The config, the kind of its model, and which of its splits are looked at.

    Raises:
        CommandError: One of them cannot work.
    """
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
    return cfg, kind, splits


def same_images(cfg: Any) -> bool:
    """Whether test and validation images are the same, by what names them in the config."""
    val, test = (dict(cfg[f'{s}_dataloader'].dataset) for s in ('val', 'test'))
    for settings in (val, test):
        for name in ('pipeline', 'test_mode', 'indices'):
            settings.pop(name, None)
    return val == test


@contextlib.contextmanager
def opened(
    args: argparse.Namespace, cfg: Config, kind: Any, scratch: str, tiling: Tiling | None
) -> Iterator[tuple[Callable[[dict], Split], Callable[[Split], Any]]]:
    """What opens a split, and what loads the model that is asked for its classes.

    Raises:
        CommandError: The checkpoint, or the exported file, is not one of the config.
    """
    from functools import partial

    from .threshold_images import Split, open_file

    if tiling is None and not is_exported(args.checkpoint):
        prepare_as_test(cfg)
        runner, _ = runner_aside(cfg, args.checkpoint, args.trusted, scratch)

        def load(_: Split) -> Any:
            runner.load_or_resume()
            return runner.model

        yield partial(Split, runner.build_dataloader, kind=kind, scratch=Path(scratch)), load
        return
    from mmengine.registry import DefaultScope
    from mmengine.runner import Runner

    from ..runner.config_values import settle_loaders

    settle_loaders(cfg)
    open_split = partial(Split, Runner.build_dataloader, kind=kind, scratch=Path(scratch))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        if tiling is None:
            by_class = args.per_class is not None
            yield open_split, lambda split: open_file(args.checkpoint, split.classes, by_class)
            return
        if cfg.get('test_dataloader') is None:  # by which tiles are prepared, as predict does it
            cfg.test_dataloader = cfg.val_dataloader
        predictor = predictor_in_tiles(args, cfg, tiling)
        yield open_split, lambda _: predictor


def prepare_as_test(cfg: Config) -> None:
    """Let validation images be prepared as those of the test set are, and by predict all others."""
    from ..predict.preparation import test_dataset
    from ..runner.preflight import iter_datasets

    if cfg.get('test_dataloader') is None:
        return
    pipeline = test_dataset(cfg).get('pipeline')
    for dataset in iter_datasets(cfg.val_dataloader.dataset):
        if pipeline and dataset.get('pipeline'):
            dataset['pipeline'] = copy.deepcopy(pipeline)


def check_number(split: Split, wish: Wish) -> None:
    """Raise CommandError, before the network runs, where there cannot be enough images."""
    good, defective = split.most()
    try:
        number = good if wish.kind == 'good' else defective
        wish.check_number(number, at_most=split.kind != 'detection')
    except ValueError as error:
        raise CommandError(error) from error
