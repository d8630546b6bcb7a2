"""``python -m mkbackbones fold``: turn a trained model with linear keys into a stock one."""

from __future__ import annotations

import argparse
import re

from ..runner.config_files import find_config, read_config
from .errors import CommandError, run_command

EXAMPLES = """
examples:
  python -m mkbackbones fold work_dirs/run/epoch_12.pth folded.pth --to mmdet
  python -m mkbackbones fold my_config.py weights.pth backbone.safetensors --to timm

The config is needed only for checkpoints that do not store it; those of a runner do. With mmdet,
mmseg or mmpretrain naming the whole model is written, with timm or official naming the backbone.
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = argparse.ArgumentParser(
        prog='python -m mkbackbones fold',
        description='Fold linear manifold keys (LinearK; VanillaK and SimpleK with act_cfg=None) '
        'into plain layers, and write a checkpoint that the stock backbone loads strictly.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', nargs='?', help='config of the model, or name of a shipped one')
    parser.add_argument('checkpoint', help='the trained model')
    parser.add_argument('out', help='file to write: .pth, .pt, .bin or .safetensors')
    namings = ('timm', 'official', 'mmdet', 'mmseg', 'mmpretrain')
    parser.add_argument('--to', required=True, choices=namings, help='naming to write')
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
    left = sorted(set(re.findall(r'mkbackbones\.\w+', folded.meta.get('cfg', ''))))
    if left:
        print(f'the config in {out} still names other parts of mkbackbones: {", ".join(left)}')
