"""``python -m mkbackbones fold``: turn a trained model with linear keys into a stock one."""

from __future__ import annotations

import argparse
import copy
import re
import tempfile
from functools import partial
from typing import TYPE_CHECKING

from ..runner.config_files import find_config, read_config
from .errors import CommandError, run_command
from .launch import NOT_CHOSEN, prepare_config, runner_aside, told_in_a_sentence

if TYPE_CHECKING:
    from ..checkpoints.fold import Folded
    from ..compress.fold_calibrated import BlockFold

OWN = 'mkbackbones'  # the naming in which blocks may keep their keys

EXAMPLES = """
examples:
  python -m mkbackbones fold work_dirs/run/epoch_12.pth folded.pth --to mmdet
  python -m mkbackbones fold my_config.py weights.pth backbone.safetensors --to timm

  python -m mkbackbones fold my_config.py epoch_12.pth folded.pth --to mmdet --calibrate
  python -m mkbackbones fold my_config.py epoch_12.pth fewer.pth --to mkbackbones --calibrate \\
      --images 100 --keep-worse-than 0.9

With --calibrate keys with charts are folded, too: each becomes the linear key that comes closest to
it on training images, block by block. What that changes is printed for each block, and as the
metrics of the validation images before and after (docs/deploy.md).

The config is needed only for checkpoints that do not store it; those of a runner do. With mmdet,
mmseg or mmpretrain naming the whole model is written, with timm or official naming the backbone.
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = argparse.ArgumentParser(
        prog='python -m mkbackbones fold',
        description='Fold linear manifold keys (LinearK; VanillaK and SimpleK with act_cfg=None; '
        'any key with --calibrate) into plain layers, and write a checkpoint that the stock '
        'backbone loads strictly.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', nargs='?', help='config of the model, or name of a shipped one')
    parser.add_argument('checkpoint', help='the trained model')
    parser.add_argument('out', help='file to write: .pth, .pt, .bin or .safetensors')
    namings = ('timm', 'official', 'mmdet', 'mmseg', 'mmpretrain', OWN)
    parser.add_argument(
        '--to',
        required=True,
        choices=namings,
        help=f'naming to write; {OWN} for what has kept some of its keys',
    )
    parser.add_argument(
        '--calibrate',
        action='store_true',
        help='fit linear keys to training images of the config where keys have nonlinear charts',
    )
    parser.add_argument('--images', type=int, help='how many to calibrate with (default: 200)')
    parser.add_argument(
        '--keep-worse-than',
        type=float,
        metavar='SHARE',
        help='leave keys as they are of whose charts a linear one explains less, e.g. 0.9; '
        f'needs --to {OWN}',
    )
    parser.add_argument(
        '--device', choices=['auto', 'cpu', 'cuda'], default='auto', help='for --calibrate'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        default=[],
        metavar='KEY=VALUE',
        help='for --calibrate: override config values, e.g. val_dataloader.batch_size=2',
    )
    parser.set_defaults(**NOT_CHOSEN)
    parser.add_argument('--force', action='store_true', help='replace OUT if it exists')
    parser.add_argument(
        '--trusted', action='store_true', help='load a pickle that holds more than weights'
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), fold, argv)


def fold(args: argparse.Namespace) -> None:
    """Fold as the parsed arguments say.

    Raises:
        CommandError: If the input cannot be folded or the output not be written.
    """
    check_options(args)
    if args.calibrate:
        return fold_with_images(args)
    import mkbackbones  # noqa: F401 - registers the backbones

    from ..checkpoints.fold import WHOLE, fold_checkpoint
    from ..checkpoints.report import CheckpointError, format_table
    from ..checkpoints.source import load_file
    from ..checkpoints.write import check_target, pack, save_checkpoint

    model_cfg = scope = None
    if args.config is not None:
        cfg = read_config(find_config(args.config), [])
        model_cfg, scope = cfg.get('model'), cfg.get('default_scope')
        if model_cfg is None:
            raise CommandError(f'config {args.config} has no model')
    try:
        out = check_target(args.out, args.force)
        checkpoint = load_file(args.checkpoint, args.trusted)
        folded = fold_checkpoint(checkpoint, args.to, model_cfg, scope)
        result = pack(folded.state, args.to)
        if out.suffix == '.safetensors':
            result = folded.state
        elif args.to in WHOLE:
            result['meta'] = folded.meta
        save_checkpoint(result, out, args.force)
    except (CheckpointError, FileNotFoundError) as error:
        raise CommandError(error) from error
    if folded.entries:
        print(format_table(folded.entries))
    print(f'{out}: {len(folded.layers)} manifold keys folded, {args.to} naming')
    if folded.backbone_cfg:
        print(f'stock backbone: {folded.backbone_cfg}')
    tell_what_is_left(args, folded)


def tell_what_is_left(args: argparse.Namespace, folded: Folded) -> None:
    """Print which parts of mkbackbones the stored config of a stock model still names."""
    left = sorted(set(re.findall(r'mkbackbones\.\w+', folded.meta.get('cfg', ''))))
    if left and args.to != OWN:
        print(f'the config in {args.out} still names other parts of mkbackbones: {", ".join(left)}')


def check_options(args: argparse.Namespace) -> None:
    """Raise CommandError where options do not go together."""
    if not args.calibrate:
        for name in ('images', 'keep_worse_than', 'cfg_options'):
            if getattr(args, name) not in (None, []):
                raise CommandError(f'--{name.replace("_", "-")} is for --calibrate')
        if args.to == OWN:
            raise CommandError(
                f'--to {OWN} is for --calibrate, which may leave keys; without it take '
                'convert-checkpoint'
            )
        return
    if args.config is None:
        raise CommandError('--calibrate needs the config, for the model and its images')
    args.images = 200 if args.images is None else args.images
    if args.images < 1:
        raise CommandError(f'--images {args.images} is not allowed; it must be at least 1')
    if args.keep_worse_than is not None:
        if not 0 < args.keep_worse_than <= 1:
            raise CommandError(
                f'--keep-worse-than {args.keep_worse_than} is not allowed; it must be a share '
                'above 0 and at most 1, e.g. 0.9'
            )
        if args.to != OWN:
            raise CommandError(
                f'--keep-worse-than leaves keys that {args.to} has no names for; add --to {OWN}'
            )


def fold_with_images(args: argparse.Namespace) -> None:
    """Fold keys with charts by calibration, and write the checkpoint.

    Raises:
        CommandError: If the input cannot be folded or the output not be written.
    """
    from rich.progress import track

    from ..checkpoints.fold import WHOLE
    from ..checkpoints.write import check_target, pack, save_checkpoint
    from ..compress.calibration import calibration_batches, calibration_dataset
    from ..compress.checkpoint import checkpoint_of
    from ..compress.fold_calibrated import check_tokens, fold_calibrated
    from ..runner.preflight import check_checkpoint, check_classes, check_paths

    with told_in_a_sentence():
        out = check_target(args.out, args.force)
    check_checkpoint(args.checkpoint)
    cfg = prepare_config(args)
    if not (cfg.get('model') or {}).get('backbone', {}).get('key_cfg'):
        raise CommandError(f'config {args.config} has no model.backbone.key_cfg to fold')
    calibration_dataset(cfg)
    if cfg.get('val_evaluator') is None:
        raise CommandError(f'config {args.config} has no val_evaluator to measure the loss with')
    check_paths(cfg, ('train', 'val'))
    check_classes(cfg, ('val',))
    with tempfile.TemporaryDirectory() as scratch, told_in_a_sentence(cfg):
        given = copy.deepcopy(cfg)  # the runner changes its own
        runner, content = runner_aside(cfg, args.checkpoint, args.trusted, scratch)
        try:
            batches = calibration_batches(runner, cfg, args.images)
            check_tokens(runner.model, batches)
            before = runner.val()
            found = fold_calibrated(
                runner.model, batches, args.keep_worse_than, partial(track, description='folding')
            )
        except ValueError as error:
            raise CommandError(error) from error
        after = runner.val_loop.run()
        meta = {
            name: value for name, value in dict(content.get('meta') or {}).items() if name != 'cfg'
        }
        meta.setdefault('dataset_meta', dict(runner.val_dataloader.dataset.metainfo))
        folded = checkpoint_of(runner.model.cpu(), given, found, args.to, meta)
        result: dict = folded.state
        if out.suffix != '.safetensors':
            result = pack(folded.state, args.to)
            if args.to in (*WHOLE, OWN):
                result = dict(state_dict=folded.state, meta=folded.meta)
        save_checkpoint(result, out, args.force)
    print(told(found))
    for name, value in before.items():
        if value >= 0:  # COCO's -1: there are no such objects
            print(f'{name}: {value:.4f} before, {after[name]:.4f} after (validation images)')
    print(f'{out}: {len(folded.layers)} of {len(found)} keys folded, {args.to} naming')
    if folded.backbone_cfg:
        print(f'backbone: {folded.backbone_cfg}')
    tell_what_is_left(args, folded)


def told(found: list[BlockFold]) -> str:
    """The blocks as a table."""
    width = max(len(each.layer) for each in found)
    head = f'{"layer":<{width}}  key explained  charts explained  attention changed by'
    rows = [
        f'{each.layer:<{width}}  {percent(each.key_share):>13}  {percent(each.charts_share):>16}  '
        + ('-' if each.divergence is None else f'{each.divergence:.2g} nats')
        + ('' if each.folded else ', kept')
        for each in found
    ]
    return '\n'.join([head, *rows])


def percent(share: float | None) -> str:
    """A share in per cent, - where it is not known."""
    return '-' if share is None else f'{share:.2%}'
