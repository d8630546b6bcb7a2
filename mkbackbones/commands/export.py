"""``python -m mkbackbones export``: a trained model as one file, ONNX or a PyTorch program."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..exported_files import ONNX, SUFFIXES, is_program
from ..runner.config_files import find_config, read_config
from ..runner.preflight import check_cv2, check_scope
from .errors import CommandError, run_command
from .export_lower import export_lower, lower_config, size_of, tell_left_out
from .given_threshold import check_point, read_point
from .launch import add_weights_arguments
from .targets import check_target

if TYPE_CHECKING:
    from mmengine.config import Config

    from ..decide.operating_point import OperatingPoint

EXAMPLES = """
examples:
  python -m mkbackbones export faster-rcnn_swin-t-spatial_neu-det.py \\
      work_dirs/.../iter_12000.pth detector.onnx
  python -m mkbackbones export my_config.py epoch_12.pth model.onnx --images line1 \\
      --threshold threshold.json
  python -m mkbackbones export my_config.py epoch_12.pth model.pt2
  python -m mkbackbones export my_config.py epoch_12.pth maps.onnx --part backbone

The file takes pictures of any size as OpenCV reads them, and gives boxes, scores, labels and masks,
or class maps and scores; with --part neck or backbone it takes normalised images and gives maps.
See docs/deploy.md.
"""


def build_parser(name: str = 'export', part: str | None = 'model') -> argparse.ArgumentParser:
    """Build the parser.

    Args:
        name (str): Of the command.
        part (str | None): What is exported if nothing else is said; None: the neck if there is one.
    """
    parser = argparse.ArgumentParser(
        prog=f'python -m mkbackbones {name}',
        description='Write a trained detector or segmentor as one file for any picture size, ONNX '
        'or a program of torch.export, which takes its place only if onnxruntime, or torch, finds '
        'with it what the model finds.',
        epilog=EXAMPLES.replace('mkbackbones export ', f'mkbackbones {name} '),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config of the model, or name of a shipped one')
    parser.add_argument('checkpoint', help='the trained model')
    parser.add_argument('out', type=Path, help=f'file to write: {" or ".join(SUFFIXES)}')
    parser.add_argument(
        '--part',
        choices=['model', 'neck', 'backbone'],
        default=part,
        help='the whole model, or up to which part; default: '
        + ('%(default)s' if part else 'the neck if any'),
    )
    parser.add_argument(
        '--images',
        nargs='+',
        action='extend',
        default=[],
        metavar='INPUT',
        help='files, folders or patterns: pictures on which file and model are compared; default: '
        'the test set of the config',
    )
    parser.add_argument(
        '--threshold',
        type=Path,
        metavar='FILE.json',
        help='from calibrate-threshold: the file says above which score a picture raises an alarm',
    )
    lower = parser.add_mutually_exclusive_group()
    lower.add_argument(
        '--fp16',
        action='store_true',
        help='backbone and neck in float16; the metric of the validation images before and after '
        'is told',
    )
    lower.add_argument(
        '--int8',
        nargs='?',
        type=int,
        const=100,
        metavar='PICTURES',
        help='backbone and neck in int8, calibrated with so many training pictures (%(const)s); '
        'the metric is told, too',
    )
    parser.add_argument('--force', action='store_true', help='replace OUT if it exists')
    add_weights_arguments(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), export, argv)


def export(args: argparse.Namespace) -> None:
    """Export as the parsed arguments say.

    Raises:
        CommandError: If the input cannot be exported or the file not be written.
    """
    check_target(args.out, SUFFIXES, args.force)
    check_cv2()
    check_program(args)
    path = find_config(args.config)
    cfg = read_config(path, args.cfg_options)
    if not (cfg.get('model') or {}).get('backbone'):
        raise CommandError(f'config {args.config} has no model with a backbone')
    check_scope(cfg, path)
    whole = args.part == 'model'
    point = read_point(args, None) if whole and args.threshold is not None else None

    from ..checkpoints.report import CheckpointError
    from ..export import ExportError
    from ..predict import PictureError

    try:
        if whole:
            export_whole(args, cfg, point)
        else:
            export_part(args, cfg)
    except (CheckpointError, ExportError, FileNotFoundError, PictureError) as error:
        raise CommandError(error) from error


def check_program(args: argparse.Namespace) -> None:
    """Raise CommandError for what is no program of torch.export."""
    if not is_program(args.out):
        return
    if args.part != 'model':
        raise CommandError(
            f'{args.out} is for whole models; maps (--part) are written to a file that ends with '
            f'{ONNX}'
        )
    if args.fp16 or args.int8 is not None:
        raise CommandError(
            f'{args.out} is in float32; --fp16 and --int8 are for a file that ends with {ONNX}'
        )


def export_whole(
    args: argparse.Namespace, cfg: Config, point: OperatingPoint | None = None
) -> None:
    """Write a whole model."""
    from ..export import require_packages
    from ..export.model import export_model
    from ..export.pictures import pictures_to_check
    from ..predict import Predictor

    if not is_program(args.out):
        require_packages()
    lower_cfg = lower_config(args) if args.fp16 or args.int8 is not None else None
    predictor = Predictor(cfg, args.checkpoint, device='cpu', trusted=args.trusted)
    more: dict[str, Any] = {}
    if point is not None:
        check_point(point, args, predictor, is_kept=True)
        more['alarm_above'] = point.threshold
        if point.by_class is not None:
            more['alarm_above_by_class'] = point.by_class.limits
        if lower_cfg is not None:
            print(
                f'the threshold {point.threshold:.6g} was chosen in float32: in lower precision '
                'scores differ, and it promises nothing for this file; calibrate-threshold '
                f'{args.config} {args.out} chooses one for it'
            )
    pictures, lacking = pictures_to_check(predictor, args.images)
    if lacking:
        print(lacking)
    if lower_cfg is None:
        agreement = export_model(predictor, args.out, pictures, more)
        tell_left_out(agreement)
        print(f'{args.out}: the whole model, {size_of(args.out)}')
        print(f'  {agreement}')
        if point is not None:
            limits = more.get('alarm_above_by_class', {'score': point.threshold})
            told = ', '.join(f'{value:.6g} ({name})' for name, value in limits.items())
            print(f'  alarm above {told}')
        return
    export_lower(args, lower_cfg, predictor, pictures, more)


def export_part(args: argparse.Namespace, cfg: Config) -> None:
    """Write a backbone, or a backbone and its neck."""
    from ..export import build_features, export_onnx, load_weights, require_packages

    require_packages()

    for name in ('images', 'threshold', 'fp16', 'int8'):
        if getattr(args, name) or (name == 'int8' and args.int8 is not None):
            raise CommandError(f'--{name} is for whole models; --part {args.part} gives maps')
    if args.part == 'neck' and cfg.model.get('neck') is None:
        raise CommandError('--part neck: the config has no neck; take --part backbone')
    model = build_features(cfg, with_neck=args.part != 'backbone')
    load_weights(model, args.checkpoint, args.trusted)
    differences = export_onnx(model, args.out, notes(cfg))
    parts = 'backbone' if model.neck is None else 'backbone and neck'
    print(f'{args.out}: {parts}, {size_of(args.out)}')
    for size, difference in differences.items():
        print(f'  onnxruntime at {size}: differs by {difference:.1e}')


def notes(cfg: Config) -> dict[str, str]:
    """What whoever runs a file of maps has to know: how images are normalised."""
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    wanted = ('mean', 'std', 'bgr_to_rgb', 'pad_size_divisor', 'size_divisor')
    return {name: json.dumps(preprocessor[name]) for name in wanted if name in preprocessor}
