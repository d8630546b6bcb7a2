"""What ``train`` and ``test`` share: arguments, the device, and the way to a config.

Nothing heavy is imported at module level: ``--help`` has to be quick, and CUDA has to be hidden
before torch looks for it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..runner.config_files import find_config, read_config
from ..runner.config_values import check_values
from ..runner.preflight import check_cv2, check_scope
from .errors import CommandError, run_command

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner

__all__ = [
    'CommandError',
    'add_launch_arguments',
    'prepare_config',
    'run_command',
    'runner_aside',
    'select_device',
    'told_in_a_sentence',
]


#: What a loader says of an image that is damaged or not there.
UNREADABLE = re.compile(
    r'(?:failed to load image: |No such file or directory: )'
    r"'?([^'\n]+\.(?:bmp|jpe?g|png|tiff?|webp))",
    re.I,
)


#: What the config of a runner is prepared with where nobody chooses it.
NOT_CHOSEN: dict[str, Any] = dict(gpus=None, launcher='none', local_rank=None, work_dir=None)


def add_weights_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what commands that run a trained model have in common."""
    parser.add_argument(
        '--cfg-options', nargs='+', action='extend', default=[], metavar='KEY=VALUE'
    )
    parser.add_argument(
        '--trusted', action='store_true', help='load a checkpoint that holds more than data'
    )


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
    parser.add_argument(
        '--trusted',
        action='store_true',
        help='load checkpoints that hold more than data, which can run code as they are read',
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
    check_values(cfg)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', path.stem)
    return cfg


@contextlib.contextmanager
def told_in_a_sentence(cfg: Config | None = None) -> Iterator[None]:
    """Let a checkpoint or an image that cannot be read end a command as bad input does.

    Args:
        cfg (Config, optional): Whose data are read: where a decoder does not name the file, it is
            looked for there.
    """
    from ..checkpoints.report import CheckpointError
    from ..runner.damaged import damaged_picture, is_of_decoder

    try:
        yield
    except CheckpointError as error:
        raise CommandError(error) from error
    except (AssertionError, FileNotFoundError) as error:
        # As mmcv's loader says it, here or within the words of a loader's process.
        found = UNREADABLE.search(str(error))
        if found is None:
            raise
        raise CommandError(f'an image cannot be read: {found[1]}') from error
    except Exception as error:
        damaged = damaged_picture(cfg) if cfg is not None and is_of_decoder(error) else None
        if damaged is None:
            raise
        raise CommandError(f'an image cannot be read: {damaged}') from error


def runner_aside(cfg: Config, checkpoint: str, trusted: bool, scratch: str) -> tuple[Runner, dict]:
    """The runner of a trained model that is looked at and not trained, without its own folder.

    Args:
        cfg (Config): Its config, changed in place.
        checkpoint (str): Its weights, which the runner will load.
        trusted (bool): Load a pickle that holds more than data.
        scratch (str): A folder for what mmengine writes.

    Returns:
        tuple: The runner; what the checkpoint holds, of tensors the shapes.

    Raises:
        InputError: The checkpoint has other classes or another model.
        CheckpointError: It cannot be read.
    """
    from ..checkpoints.source import load_file
    from ..predict.model import classes_and_palette
    from ..runner.build import build_runner
    from ..runner.evaluation import count_seen_images
    from ..runner.weights import check_complete

    content = load_file(checkpoint, trusted, shapes_only=True)
    classes_and_palette(cfg, cfg.val_dataloader.dataset, content, checkpoint)
    cfg.load_from, cfg.work_dir, cfg.log_level = checkpoint, scratch, 'WARNING'
    cfg.experiment_name = os.path.basename(scratch)  # mmengine keeps visualisers by it
    # It would save the best one of a training.
    cfg.setdefault('default_hooks', {})['checkpoint'] = None
    runner = build_runner(cfg, trusted)
    check_complete(runner.model, content, checkpoint)
    count_seen_images(runner.val_loop)
    return runner, dict(content)


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
