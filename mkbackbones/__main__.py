"""``python -m mkbackbones COMMAND``: run one of the package's commands."""

from __future__ import annotations

import importlib
import sys

from .hints import did_you_mean
from .late_imports import Needed, put_off, start_again
from .openmmlab.sentences import explain
from .version import __version__

# The module of each command offers main(argv) -> exit code; only the one asked for is imported.
COMMANDS = {
    'train': ('train', 'train a model from a config'),
    'test': ('test', 'evaluate a checkpoint'),
    'predict': ('predict', 'find defects in pictures, with a trained model'),
    'explain': ('explain', 'show what the charts of a trained model do in pictures'),
    'prepare-dataset': ('prepare_dataset', 'convert a data set and split it by group'),
    'check-leakage': ('check_leakage', 'find pictures that share content across splits'),
    'browse-dataset': (
        'browse_dataset',
        'draw a contact sheet of a data set or of what a model sees',
    ),
    'swap-backbone': ('swap_backbone', 'write an existing config with another backbone'),
    'convert-checkpoint': ('convert_checkpoint', "write weights in another library's naming"),
    'fold': ('fold', 'turn a trained model with linear keys into a stock one'),
    'prune-charts': ('prune_charts', 'take charts out of a trained model'),
    'export': ('export', 'write a trained model as one ONNX file'),
    'calibrate-threshold': (
        'calibrate_threshold',
        'choose the score above which an image raises an alarm',
    ),
    'profile-backbone': ('profile_backbone', 'time and memory of backbones, side by side'),
    'profile-training': ('profile_training', 'train throughput with different backbones'),
    'study': ('study', 'compare arms on tasks over seeds, from one file'),
    'doctor': ('doctor', 'tell versions, devices and what is wrong, for a bug report'),
    'demo': ('demo', 'train and compare tiny models on synthetic defects, on a CPU if need be'),
}

#: Names of commands that still work.
FORMER = {'export-onnx': 'export_onnx'}


def usage() -> str:
    """Return the help text."""
    lines = ['usage: python -m mkbackbones COMMAND [--help] ...', '', 'commands:']
    lines += [f'  {name:<19} {text}' for name, (_, text) in COMMANDS.items()]
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> int:
    """Dispatch to a command and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    name = argv[0] if argv else None
    if name in ('-h', '--help'):
        print(usage())
        return 0
    if name == '--version':
        print(__version__)
        return 0
    module_name = FORMER.get(name or '') or COMMANDS.get(name or '', ('',))[0]
    if not module_name:
        if name is None:
            print(usage(), file=sys.stderr)
        else:
            hint = did_you_mean(name, COMMANDS) or f'; commands: {", ".join(COMMANDS)}'
            print(f'error: there is no command {name!r}{hint}', file=sys.stderr)
        return 2
    try:
        module = importlib.import_module(f'mkbackbones.commands.{module_name}')
    except ImportError as error:  # pip was told to leave out what the package requires
        sentence = explain(error)
        if sentence is None:
            raise
        print(f'error: {sentence}', file=sys.stderr)
        return 2
    return module.main(argv[1:])


if __name__ == '__main__':
    put_off()
    try:
        sys.exit(main())
    except Needed:
        start_again()
