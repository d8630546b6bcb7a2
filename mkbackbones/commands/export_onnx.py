"""``python -m mkbackbones export-onnx``: a trained backbone and its neck as an ONNX file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..runner.config_files import find_config, read_config
from ..runner.preflight import check_cv2, check_scope
from .errors import CommandError, run_command
from .targets import check_target

if TYPE_CHECKING:
    from mmengine.config import Config

EXAMPLES = """
examples:
  python -m mkbackbones export-onnx faster-rcnn_swin-t-spatial_neu-det.py \\
      work_dirs/.../iter_12000.pth detector.onnx
  python -m mkbackbones export-onnx my_config.py epoch_12.pth backbone.onnx --part backbone

The file takes normalised images of any size and gives the maps; see docs/deploy.md.
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = argparse.ArgumentParser(
        prog='python -m mkbackbones export-onnx',
        description='Write the backbone, and the neck if there is one, of a trained model as an '
        'ONNX file for any image size, checked in onnxruntime.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config of the model, or name of a shipped one')
    parser.add_argument('checkpoint', help='the trained model')
    parser.add_argument('out', type=Path, help='file to write: .onnx')
    parser.add_argument(
        '--part', choices=['neck', 'backbone'], help='last part to export; default: the neck if any'
    )
    parser.add_argument('--force', action='store_true', help='replace OUT if it exists')
    parser.add_argument(
        '--trusted', action='store_true', help='load a pickle that holds more than weights'
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), export, argv)


def export(args: argparse.Namespace) -> None:
    """Export as the parsed arguments say.

    Raises:
        CommandError: If the input cannot be exported or the file not be written.
    """
    check_target(args.out, '.onnx', args.force)
    check_cv2()
    path = find_config(args.config)
    cfg = read_config(path, [])
    if not (cfg.get('model') or {}).get('backbone'):
        raise CommandError(f'config {args.config} has no model with a backbone')
    check_scope(cfg, path)

    from ..checkpoints.report import CheckpointError
    from ..export import ExportError, build_features, export_onnx, load_weights, require_packages

    try:
        require_packages()
        if args.part == 'neck' and cfg.model.get('neck') is None:
            raise CommandError('--part neck: the config has no neck; take --part backbone')
        model = build_features(cfg, with_neck=args.part != 'backbone')
        load_weights(model, args.checkpoint, args.trusted)
        differences = export_onnx(model, args.out, notes(cfg))
    except (CheckpointError, ExportError, FileNotFoundError) as error:
        raise CommandError(error) from error
    parts = 'backbone' if model.neck is None else 'backbone and neck'
    print(f'{args.out}: {parts}, {args.out.stat().st_size / 2**20:.1f} MiB')
    for size, difference in differences.items():
        print(f'  onnxruntime at {size}: differs by {difference:.1e}')


def notes(cfg: Config) -> dict[str, str]:
    """What whoever runs the file has to know: how images are normalised."""
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    wanted = ('mean', 'std', 'bgr_to_rgb', 'pad_size_divisor', 'size_divisor')
    return {name: json.dumps(preprocessor[name]) for name in wanted if name in preprocessor}
