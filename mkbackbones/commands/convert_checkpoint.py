"""``python -m mkbackbones convert-checkpoint``: weights in another library's naming."""

from __future__ import annotations

import argparse
import sys

from .errors import CommandError, run_command

EXAMPLES = """
examples:
  python -m mkbackbones convert-checkpoint swin_tiny_patch4_window7_224.pth mm.pth --to mmdet
  python -m mkbackbones convert-checkpoint timm://vit_small_patch16_224 vit.pth --to mmpretrain

The naming of the source is detected. The backbone alone is written; heads are left out.
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = argparse.ArgumentParser(
        prog='python -m mkbackbones convert-checkpoint',
        description='Translate the weights of a ViT, DINOv3, Swin or Swin V2 backbone between '
        'timm, the official codes, mmpretrain, mmdet and mmseg; those of transformers and '
        'torchvision are read, too.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('source', metavar='SRC', help='a file, an http(s) URL, or timm://name')
    parser.add_argument('out', metavar='DST', help='file to write: .pth, .pt, .bin, .safetensors')
    namings = ('timm', 'official', 'mmdet', 'mmseg', 'mmpretrain')
    parser.add_argument('--to', required=True, choices=namings, help='naming to write')
    parser.add_argument('--prefix', help="what the backbone's names start with; default: found")
    parser.add_argument('--strict', action='store_true', help='fail if an entry cannot be placed')
    parser.add_argument('--force', action='store_true', help='replace DST if it exists')
    parser.add_argument(
        '--entry', help='which of several sets of weights in the file, e.g. state_dict_ema'
    )
    parser.add_argument(
        '--trusted', action='store_true', help='load a pickle that holds more than weights'
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), convert, argv)


def convert(args: argparse.Namespace) -> None:
    """Convert as the parsed arguments say.

    Raises:
        CommandError: If the source cannot be read or the result not be written.
    """
    from ..checkpoints.convert import convert_weights
    from ..checkpoints.report import CheckpointError
    from ..checkpoints.source import read_source
    from ..checkpoints.tensors import not_finite
    from ..checkpoints.write import check_target, pack, save_checkpoint

    try:
        out = check_target(args.out, args.force)
        state = read_source(args.source, args.trusted, args.entry)
        written, report = convert_weights(state, args.to, args.source, args.prefix, args.strict)
        packed = written if out.suffix == '.safetensors' else pack(written, args.to)
        save_checkpoint(packed, out, args.force)
    except (CheckpointError, FileNotFoundError) as error:
        raise CommandError(error) from error
    print(report)
    broken = not_finite(state)
    if broken:
        print(
            f'warning: {len(broken)} entries hold values that are not finite (NaN or infinite), '
            f'e.g. {broken[0]}',
            file=sys.stderr,
        )
    print(f'{out}: written')
