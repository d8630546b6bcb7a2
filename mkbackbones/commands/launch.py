"""What the commands share: arguments, errors, and the way from a config's name to a runner.

Nothing heavy is imported at module level: ``--help`` has to be quick, and CUDA has to be hidden
before torch looks for it.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner

PACKAGE = Path(__file__).resolve().parent.parent
SCOPE_DISTRIBUTIONS = {
    'mmdet': 'onedl-mmdetection',
    'mmseg': 'onedl-mmsegmentation',
    'mmpretrain': 'onedl-mmpretrain',
}


class CommandError(Exception):
    """Bad input, told in one sentence; the command ends with exit code 2 and no traceback."""


def run_command(
    parser: argparse.ArgumentParser,
    command: Callable[[argparse.Namespace], None],
    argv: list[str] | None = None,
) -> int:
    """Parse ``argv`` (default: the command line), run ``command`` and return an exit code."""
    args = parser.parse_args(argv)
    try:
        command(args)
    except CommandError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    return 0


def add_launch_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``train`` and ``test`` have in common, under the names mmdet's tools use."""
    parser.set_defaults(program=parser.prog.removeprefix('python '))
    parser.add_argument('--work-dir', help='logs and weights; default ./work_dirs/<config name>')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        default=[],
        metavar='KEY=VALUE',
        help='override config values, e.g. randomness.seed=1 train_dataloader.batch_size=2',
    )
    parser.add_argument(
        '--device',
        choices=['auto', 'cpu', 'cuda'],
        default='auto',
        help='auto takes the accelerator if there is one (default)',
    )
    parser.add_argument('--gpus', type=int, help='0 for the CPU, 1 for one GPU (as mim passes it)')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes of a distributed run were started',
    )
    # torch.distributed.launch passes --local-rank; torchrun sets the environment instead.
    parser.add_argument('--local_rank', '--local-rank', type=int, help=argparse.SUPPRESS)


def prepare_config(args: argparse.Namespace) -> Config:
    """Go from parsed arguments to a config that is ready for a runner.

    Raises:
        CommandError: if the device, the launcher, the config, an override or the config's scope
            cannot work.
    """
    select_device(args)
    check_cv2()
    path = find_config(args.config)
    cfg = read_config(path, args.cfg_options)
    check_scope(cfg, path)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', path.stem)
    return cfg


def build_runner(cfg: Config) -> Runner:
    """Build the runner that ``cfg`` describes."""
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner

    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def select_device(args: argparse.Namespace) -> None:
    """Apply ``--device``, ``--gpus`` and ``--launcher`` to this process."""
    if args.local_rank is not None:
        os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cpu = args.device == 'cpu' or (args.device == 'auto' and args.gpus == 0)

    if args.gpus is not None and args.gpus < 0:
        raise CommandError(f'--gpus {args.gpus} is negative; give 0 for the CPU or 1 for one GPU')
    if args.launcher == 'none' and not cpu and (args.gpus or 0) > 1:
        raise CommandError(
            f'--gpus {args.gpus} needs one process a GPU: '
            f'torchrun --nproc_per_node={args.gpus} {args.program} {args.config} --launcher pytorch'
        )
    if args.launcher != 'none' and cpu:
        raise CommandError(
            f'the CPU runs in one process; leave out --launcher {args.launcher} or --device cpu'
        )
    if args.launcher == 'pytorch' and 'RANK' not in os.environ:
        raise CommandError(
            '--launcher pytorch is for a process that torchrun started: '
            f'torchrun --nproc_per_node=GPUS {args.program} {args.config} --launcher pytorch'
        )
    if cpu:
        force_cpu()
    elif args.device == 'cuda':
        import torch

        if not torch.cuda.is_available():
            raise CommandError('--device cuda: torch sees no CUDA device; use --device cpu')


def force_cpu() -> None:
    """Keep torch and mmengine off every accelerator."""
    os.environ['CUDA_VISIBLE_DEVICES'] = ''
    import mmengine.device.utils

    # mmengine fixes its device on import, and knows accelerators that CUDA's variable doesn't hide.
    mmengine.device.utils.DEVICE = 'cpu'


def check_cv2() -> None:
    """Raise CommandError, with the command that mends it, if OpenCV cannot load libGL.

    opencv-python and opencv-python-headless unpack into the same folder and the one installed last
    wins; the former needs libGL, which servers seldom have.
    """
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        if 'lib' not in str(error) or '.so' not in str(error):
            return  # cv2 is missing or broken otherwise: whoever needs it says so
        try:
            version = importlib.metadata.version('opencv-python-headless')
        except importlib.metadata.PackageNotFoundError:
            version = '4.12.0.88'
        raise CommandError(
            f'OpenCV cannot be imported ({error}); install its build without a display: python -m '
            f'pip install --force-reinstall --no-deps opencv-python-headless=={version}'
        ) from error


def config_root() -> Path:
    """The folder of the shipped configs: the checkout's, or the installed copy."""
    installed = PACKAGE / '.mim' / 'configs'
    return installed if installed.is_dir() else PACKAGE.parent / 'configs'


def find_config(name: str) -> Path:
    """Find a config by path or, among the shipped ones, by name.

    Args:
        name (str): a path, or the name (or the end of the path) of a shipped config.

    Raises:
        CommandError: if there is none, or more than one, with the closest names.
    """
    if os.path.isfile(name):
        return Path(name)
    root = config_root()
    shipped = {
        'configs/' + path.relative_to(root).as_posix(): path for path in sorted(root.rglob('*.py'))
    }
    wanted = Path(name).as_posix()
    wanted = wanted if wanted.endswith('.py') else f'{wanted}.py'
    found = [key for key in shipped if f'/{key}'.endswith(f'/{wanted}')]
    if len(found) == 1:
        print(f'config {name}: using the shipped {shipped[found[0]]}')
        return shipped[found[0]]
    if found:
        raise CommandError(f'config {name} is ambiguous; give one of {", ".join(found)}')
    stems = sorted({path.name for key, path in shipped.items() if '/_base_/' not in key})
    close = difflib.get_close_matches(Path(wanted).name, stems, n=3, cutoff=0.5)
    hint = f'did you mean {" or ".join(close)}?' if close else f'shipped: {", ".join(stems)}'
    raise CommandError(f'config {name} is neither a file nor a shipped config; {hint}')


def read_config(path: Path, options: list[str]) -> Config:
    """Read a config and apply ``KEY=VALUE`` overrides.

    Raises:
        CommandError: if the file or an override cannot be read.
    """
    from mmengine.config import Config, DictAction

    for option in options:
        if '=' not in option:
            raise CommandError(f'--cfg-options {option} is not of the form KEY=VALUE')
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is a program: it may raise anything
        raise CommandError(f'config {path}: {one_line(error)}') from error
    if options:
        parser = argparse.ArgumentParser()
        parser.add_argument('--cfg-options', nargs='+', action=DictAction)
        try:
            overrides = parser.parse_args(['--cfg-options', *options]).cfg_options
            cfg.merge_from_dict(overrides)
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise CommandError(f'--cfg-options {" ".join(options)}: {one_line(error)}') from error
    return cfg


def check_scope(cfg: Config, path: Path) -> None:
    """Raise CommandError if the library that the config belongs to is not installed."""
    scope = cfg.get('default_scope')
    if scope and importlib.util.find_spec(scope) is None:
        package = SCOPE_DISTRIBUTIONS.get(scope, scope)
        raise CommandError(
            f'config {path} belongs to {scope} (its default_scope), which is not installed: '
            f'pip install {package}'
        )


def check_paths(cfg: Config, loaders: tuple[str, ...]) -> None:
    """Raise CommandError if local data or weights that ``cfg`` names do not exist.

    Args:
        cfg (Config): config of mmdet, mmseg, mmpretrain or mmengine.
        loaders (tuple[str, ...]): keys of the data loaders that the command will use.
    """
    for loader in loaders:
        for dataset in iter_datasets((cfg.get(loader) or {}).get('dataset')):
            if dataset.get('backend_args'):
                continue  # not on this file system
            for file in dataset_paths(dataset):
                if not os.path.exists(file):
                    raise CommandError(
                        f'{loader}: {file} does not exist; `python -m mkbackbones prepare-dataset '
                        f'--help` tells how to prepare data, --cfg-options {loader}.dataset.'
                        'data_root=PATH where it lies elsewhere'
                    )
    check_checkpoint(cfg.get('load_from'))


def check_checkpoint(checkpoint: str | None) -> None:
    """Raise CommandError if ``checkpoint`` is a local path without a file."""
    if checkpoint and '://' not in checkpoint and not os.path.isfile(checkpoint):
        raise CommandError(f'checkpoint {checkpoint} does not exist')


def iter_datasets(dataset: Any) -> Iterator[dict]:
    """Yield the innermost data set configs below wrappers (``dataset=``, ``datasets=``)."""
    if isinstance(dataset, (list, tuple)):
        for item in dataset:
            yield from iter_datasets(item)
    elif isinstance(dataset, dict):
        inner = dataset.get('dataset') or dataset.get('datasets')
        if inner:
            yield from iter_datasets(inner)
        else:
            yield dataset


def dataset_paths(dataset: dict) -> Iterator[str]:
    """Yield the paths of one data set config, joined the way mmengine's BaseDataset does."""
    root = dataset.get('data_root') or ''
    prefix = dataset.get('data_prefix') or {}
    prefixes = prefix.values() if isinstance(prefix, dict) else [prefix]
    for path in (dataset.get('ann_file'), *prefixes):
        if isinstance(path, str) and path and '://' not in path:
            yield os.path.join(root, path)


def one_line(error: Exception) -> str:
    """Tell an exception in one line."""
    text = ' '.join(str(error).split())
    return f'{type(error).__name__}: {text}' if text else type(error).__name__
