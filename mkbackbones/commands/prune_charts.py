"""``python -m mkbackbones prune-charts``: take charts out of a trained model."""

from __future__ import annotations

import argparse
import copy
import math
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import CommandError, run_command
from .launch import NOT_CHOSEN, prepare_config, runner_aside, told_in_a_sentence

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner

    from ..compress.prune.blocks import BlockPrune
    from ..compress.prune.choice import Choice
    from ..compress.prune.clock import LayerClock

EXAMPLES = """
examples:
  python -m mkbackbones prune-charts my_config.py epoch_12.pth fewer.pth --budget 0.5
  python -m mkbackbones prune-charts my_config.py epoch_12.pth fewer.pth --budget-ms 4
  python -m mkbackbones prune-charts my_config.py epoch_12.pth fewer.pth --keep-metric 0.2

Charts go whose loss changes attention least for the operations (or milliseconds) that it saves,
measured on training images; base chart, output scale and the other charts are refitted, block by
block. fewer.py, which is written beside fewer.pth, has a key_cfg for each block:

  python -m mkbackbones test fewer.py fewer.pth
  python -m mkbackbones train fewer.py --cfg-options load_from=fewer.pth

Charts that cost nothing, such as those that ChartSparsityHook has set to zero, go in any case;
--budget 1 takes them alone (docs/compress.md).
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = argparse.ArgumentParser(
        prog='python -m mkbackbones prune-charts',
        description='Take charts out of a trained model (SpatialK, SimpleK, VanillaK, KUA) and '
        'refit the others on training images. Blocks that lose all charts become stock ones.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config of the model, or name of a shipped one')
    parser.add_argument('checkpoint', help='the trained model')
    parser.add_argument(
        'out', help='file to write: .pth, .pt, .bin or .safetensors; the config goes beside it, .py'
    )
    goal = parser.add_mutually_exclusive_group(required=True)
    goal.add_argument(
        '--budget',
        type=float,
        metavar='SHARE',
        help='share of the operations (FLOPs) of all charts that may stay, e.g. 0.5: their maps, '
        'convolutions, gates and projections; base charts, attention and MLPs do not count',
    )
    goal.add_argument(
        '--budget-ms',
        type=float,
        metavar='MS',
        help='milliseconds that all charts together may add to the forward pass of one picture on '
        'this machine and --device, e.g. 4: measured block by block with each number of charts, '
        'in float32 as predict computes; what they take before is printed',
    )
    goal.add_argument(
        '--keep-metric',
        type=float,
        metavar='POINTS',
        help="points (per cent) of the validation metric that may be lost, e.g. 0.2: the config's "
        'save_best; else mIoU, or what its evaluator gives first',
    )
    parser.add_argument(
        '--images', type=int, default=200, help='how many to calibrate with (default: 200)'
    )
    parser.add_argument('--device', choices=['auto', 'cpu', 'cuda'], default='auto')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        default=[],
        metavar='KEY=VALUE',
        help='override config values, e.g. val_dataloader.batch_size=2',
    )
    parser.set_defaults(**NOT_CHOSEN)
    parser.add_argument(
        '--force', action='store_true', help='replace OUT and its .py if they exist'
    )
    parser.add_argument(
        '--trusted', action='store_true', help='load a pickle that holds more than weights'
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), prune_charts, argv)


def check_options(args: argparse.Namespace) -> None:
    """Raise CommandError for a number that is not allowed."""
    if args.images < 1:
        raise CommandError(f'--images {args.images} is not allowed; it must be at least 1')
    if args.budget is not None and not 0 <= args.budget <= 1:
        raise CommandError(
            f'--budget {args.budget} is not allowed; it must be a share from 0 to 1, e.g. 0.5'
        )
    if args.budget_ms is not None and not 0 <= args.budget_ms < math.inf:
        raise CommandError(
            f'--budget-ms {args.budget_ms} is not allowed; it must be a number of milliseconds of '
            'at least 0, e.g. 4'
        )
    if args.keep_metric is not None and not 0 <= args.keep_metric < math.inf:
        raise CommandError(
            f'--keep-metric {args.keep_metric} is not allowed; it must be a number of points of at '
            'least 0, e.g. 0.2'
        )


def prune_charts(args: argparse.Namespace) -> None:
    """Prune as the parsed arguments say.

    Raises:
        CommandError: If the input cannot be pruned or the output not be written.
    """
    check_options(args)
    from ..checkpoints.write import check_target
    from ..compress.calibration import calibration_batches, calibration_dataset
    from ..compress.prune.blocks import order_of
    from ..compress.prune.checkpoint import DROPPED, is_dropped, pruned_config, stock_where_empty
    from ..cost import count_cost
    from ..runner.preflight import check_checkpoint, check_classes, check_paths

    with told_in_a_sentence():
        out = check_target(args.out, args.force)
    beside = out.with_suffix('.py')
    if beside.exists() and not args.force:
        raise CommandError(f'{beside} exists, where the config goes; --force replaces it')
    check_checkpoint(args.checkpoint)
    cfg = prepare_config(args)
    if not (cfg.get('model') or {}).get('backbone', {}).get('key_cfg'):
        raise CommandError(f'config {args.config} has no model.backbone.key_cfg to prune')
    if Path(cfg.filename).resolve() == beside.resolve():
        raise CommandError(f'{beside} is the config itself; choose another name than {out.name}')
    calibration_dataset(cfg)
    if cfg.get('val_evaluator') is None:
        raise CommandError(f'config {args.config} has no val_evaluator to measure the loss with')
    check_paths(cfg, ('train', 'val'))
    check_classes(cfg, ('val',))
    with tempfile.TemporaryDirectory() as scratch, told_in_a_sentence(cfg):
        given = copy.deepcopy(cfg)  # the runner changes its own
        runner, content = runner_aside(cfg, args.checkpoint, args.trusted, scratch)
        model: Any = runner.model
        try:
            batches = calibration_batches(runner, cfg, args.images)
            order_of(model, batches)
            size = size_of_inputs(model, batches[0])
            cost = count_cost(model.backbone, size)
            whole = sum(p.numel() for p in model.parameters())
            before = runner.val()
            timed = None
            if args.budget_ms is not None:
                timed = Timed(model, calibration_batches(runner, cfg, 1)[0])
            found, after = pruned(args, runner, given, batches, before, timed)
        except ValueError as error:
            raise CommandError(error) from error
        config = pruned_config(model, given, found)
        stock_where_empty(model, found)
        if timed is not None:
            timed.compare(model)
        lower = count_cost(model.backbone, size)
        left = sum(p.numel() for p in model.parameters())
        check_strict(config, model)
        meta = {n: v for n, v in dict(content.get('meta') or {}).items() if n != 'cfg'}
        meta.setdefault('dataset_meta', dict(runner.val_dataloader.dataset.metainfo))
        meta['cfg'] = config.pretty_text
        write(out, beside, model.cpu().state_dict(), meta, args.force)
    print(told(found))
    for name, value in before.items():
        if value >= 0:  # COCO's -1: there are no such objects
            print(f'{name}: {value:.4f} before, {after[name]:.4f} after (validation images)')
    print(f'parameters: {whole / 1e6:.2f} M before, {left / 1e6:.2f} M after')
    print(
        f'backbone at {size[0]}x{size[1]}: {cost.flops / 1e9:.2f} GFLOPs before, '
        f'{lower.flops / 1e9:.2f} after'
    )
    if timed is not None:
        print(timed.told())
    if any(map(is_dropped, given.get('custom_hooks') or [])):
        print(f'{DROPPED} is left out of {beside}: it would take charts away again')
    total, stay = sum(each.before for each in found), sum(each.after for each in found)
    print(f'{out}: {stay} of {total} charts stay; {beside} is its config')


class Timed:
    """What ``--budget-ms`` measures.

    Args:
        model (nn.Module): The model, with all of its charts.
        batch (Any): One picture, as ``test_step`` takes it.

    Attributes:
        charts (tuple[float, float]): Milliseconds of all charts, before and after.
        networks (list[float]): The same of the whole network.
    """

    def __init__(self, model: Any, batch: Any) -> None:
        self.batch = batch
        self.whole = copy.deepcopy(model)
        self.device = next(model.parameters()).device
        self.size = size_of_inputs(model, batch)
        self.charts = 0.0, 0.0
        self.networks: list[float] = []

    def clock(self) -> LayerClock:
        """What tells the time of each layer."""
        from ..compress.prune.blocks import charted
        from ..compress.prune.clock import LayerClock

        return LayerClock(self.whole, charted(self.whole), self.batch)

    def compare(self, model: Any) -> None:
        """Time the network as it was and as it is now, in turn."""
        from ..compress.prune.clock import in_turn

        runs = [partial(each.eval().test_step, self.batch) for each in (self.whole, model)]
        self.networks = in_turn(runs, self.device)

    def told(self) -> str:
        """What was measured, in a sentence each."""
        (charts, stay), (before, after) = self.charts, self.networks
        picture = 'one picture of {}x{} on '.format(*self.size) + self.device.type
        return (
            f'charts: {charts:.3g} ms before, {stay:.3g} after, block by block ({picture})\n'
            f'whole network: {before:.4g} ms before, {after:.4g} after (in turn)'
        )


def pruned(
    args: argparse.Namespace,
    runner: Runner,
    cfg: Config,
    batches: list,
    before: dict[str, float],
    timed: Timed | None,
) -> tuple[list[BlockPrune], dict[str, float]]:
    """Take charts out of the runner's model; what became of them, and the metrics then.

    Raises:
        CommandError: No chart goes.
        ValueError: They cannot be pruned.
    """
    from rich.progress import track

    from ..compress.prune.blocks import costs_of_charts
    from ..compress.prune.choice import choices
    from ..compress.prune.search import Pruner, fewest, tried

    if args.keep_metric is not None:
        name, factor = metric_of(cfg, before)
    clock = None if timed is None else timed.clock()
    costs = costs_of_charts(runner.model, batches, partial(track, description='weighing'), clock)
    found = choices(costs, args.budget, args.budget_ms)
    pruner = Pruner(runner.model, batches, costs, partial(track, description='pruning'))
    whole = tuple(each.charts for each in costs)
    measured: dict[Choice, dict[str, float]] = {}
    if args.keep_metric is not None:
        lost: dict[Choice, float] = {}
        most = args.keep_metric + 1e-9

        def allowed(choice: Choice) -> bool:
            pruner(choice)
            measured[choice] = runner.val_loop.run()
            points = lost[choice] = (before[name] - measured[choice][name]) * factor
            stay = f'{choice.share:.1%} of the operations of charts'
            print(f'{stay}: {points:.2f} points of {name} less', flush=True)
            return points <= most

        found = [choice for choice in found if choice.counts != whole]
        last = fewest(found, allowed)
        if lost:
            print(tried(lost, most, found))
        if last < 0:
            raise CommandError(
                f'no chart can go: {name} loses more than {args.keep_metric} points in each choice '
                'that was tried, also without the chart that changes least; nothing is written'
            )
        choice = found[last]
    else:
        choice = found[-1]
        asked = f'--budget {args.budget}'
        if timed is not None:
            timed.charts = sum(each.ms[-1] for each in costs if each.ms), choice.ms or 0.0
            asked = f'--budget-ms {args.budget_ms} (they take {choice.ms:.3g} ms)'
        if choice.counts == whole:
            raise CommandError(
                f'no chart goes: none is without effect, and {asked} asks for no more; nothing is '
                'written'
            )
    blocks = pruner(choice)
    return blocks, measured.get(choice) or runner.val_loop.run()


def metric_of(cfg: Config, metrics: dict[str, float]) -> tuple[str, float]:
    """The validation metric that counts, and its factor to points.

    Raises:
        CommandError: If less of it is better.
    """
    checkpoint = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    name = checkpoint.get('save_best')
    name = name[0] if isinstance(name, list | tuple) and name else name
    if checkpoint.get('rule') == 'less':
        raise CommandError(
            f'of {name} less is better (default_hooks.checkpoint.rule), which --keep-metric does '
            'not know; use --budget'
        )
    if name not in metrics:
        name = 'mIoU' if 'mIoU' in metrics else next(iter(metrics))
    # mmdet gives shares, mmseg and our classifiers per cent.
    return name, 100.0 if cfg.get('default_scope') == 'mmdet' else 1.0


def size_of_inputs(model: Any, batch: Any) -> tuple[int, int]:
    """Height and width of what the backbone is given of a batch."""
    sizes: list[tuple[int, int]] = []
    hook = model.backbone.register_forward_pre_hook(
        lambda _, inputs: sizes.append(tuple(inputs[0].shape[-2:]))
    )
    try:
        model.test_step(batch)
    finally:
        hook.remove()
    return sizes[0]


def check_strict(config: Config, model: Any) -> None:
    """Raise RuntimeError if the config does not build what the weights are of."""
    from mmengine.registry import MODELS, DefaultScope

    with DefaultScope.overwrite_default_scope(config.get('default_scope')):
        built = MODELS.build(config.model)
    theirs, ours = (
        {name: tuple(value.shape) for name, value in each.state_dict().items()}
        for each in (built, model)
    )
    if theirs != ours:
        differ = sorted(set(theirs.items()) ^ set(ours.items()))
        raise RuntimeError(f'the pruned config and its weights differ: {differ[:3]}')


def write(out: Path, beside: Path, state: dict, meta: dict, force: bool) -> None:
    """Write weights and config: both, or none.

    Raises:
        CheckpointError: If they cannot be written.
    """
    from ..checkpoints.report import CheckpointError
    from ..checkpoints.write import save_checkpoint
    from ..files import written_aside

    result: dict = state if out.suffix == '.safetensors' else dict(state_dict=state, meta=meta)
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(beside) as work:
            work.write_text(meta['cfg'], encoding='utf-8')
            save_checkpoint(result, out, force)
    except OSError as error:
        raise CheckpointError(f'{beside} cannot be written: {error}') from error


def told(found: Sequence[BlockPrune]) -> str:
    """The blocks as a table."""
    width = max(len(each.layer) for each in found)
    head = f'{"layer":<{width}}  charts  variance kept  attention changed by'
    rows = [
        f'{each.layer:<{width}}  {f"{each.before} > {each.after}":>6}  {each.share:>13.2%}  '
        + ('-' if each.divergence is None else f'{each.divergence:.2g} nats')
        for each in found
    ]
    return '\n'.join([head, *rows])
