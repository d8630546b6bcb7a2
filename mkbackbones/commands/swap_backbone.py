"""``python -m mkbackbones swap-backbone``: write an existing config with another backbone."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..runner.config_files import apply_options, find_config, read_config
from .errors import CommandError, run_command

EXAMPLES = """
examples:
  python -m mkbackbones swap-backbone my_faster_rcnn.py my_faster_rcnn_manifold.py \\
      --backbone arch=tiny key_cfg.type=SpatialK
  python -m mkbackbones swap-backbone my_upernet.py out.py \\
      --backbone type=mkbackbones.ManifoldViT arch=base \\
      init_cfg.type=Pretrained init_cfg.checkpoint=vit_base.pth
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = argparse.ArgumentParser(
        prog='python -m mkbackbones swap-backbone',
        description='Swap the backbone of a config of mmdet or mmseg, fit to it what depends on '
        'it (input channels, normalisation, out_indices), and tell every change.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config to start from; it is left as it is')
    parser.add_argument('out', type=Path, help='config to write, .py')
    parser.add_argument(
        '--backbone',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='arguments of the new backbone; type is mkbackbones.ManifoldSwin unless given',
    )
    parser.add_argument('--force', action='store_true', help='replace OUT if it exists')
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), swap, argv)


def swap(args: argparse.Namespace) -> None:
    """Write the config and print what was changed.

    Raises:
        CommandError: The swap is not possible, or the output cannot be written.
    """
    if args.out.suffix != '.py':
        raise CommandError(f'{args.out} is not a .py file')
    if args.out.exists() and not args.force:
        raise CommandError(f'{args.out} exists; give another name or --force')
    if not args.out.parent.is_dir():
        raise CommandError(f'there is no folder {args.out.parent}')
    from mmengine.config import Config

    import mkbackbones  # noqa: F401 - registers the backbones

    from ..files import written_aside
    from ..swap import SwapError, swap_backbone

    new = Config(dict(backbone=dict(type='mkbackbones.ManifoldSwin')))
    apply_options(new, args.backbone, '--backbone', prefix='backbone.')
    try:
        result = swap_backbone(read_config(find_config(args.config), []), new.backbone)
    except SwapError as error:
        raise CommandError(f'config {args.config}: {error}') from error
    with written_aside(args.out) as work:
        work.write_text(result.cfg.pretty_text, encoding='utf-8')
    for line in result.changes:
        print(f'  {line}')
    for line in result.advice:
        print(f'note: {line}')
    print(f'wrote {args.out}')
