"""How a command ends: an exit code, and one sentence where the input cannot work."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from ..openmmlab.sentences import explain, tell_faults
from ..runner.errors import InputError


class CommandError(InputError):
    """Bad input of a command; it ends with exit code 2 and no traceback."""


def run_command(
    parser: argparse.ArgumentParser,
    command: Callable[[argparse.Namespace], None],
    argv: list[str] | None = None,
) -> int:
    """Parse ``argv`` (default: the command line), run ``command`` and return an exit code."""
    args = parser.parse_args(argv)
    tell_faults()
    try:
        command(args)
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except ImportError as error:
        sentence = explain(error)
        if sentence is None:
            raise
        print(f'error: {sentence}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    return 0


def run_skipping(
    parser: argparse.ArgumentParser,
    command: Callable[[argparse.Namespace], list[str]],
    argv: list[str] | None = None,
) -> int:
    """:func:`run_command` of a command that tells which pictures it had to skip: then 1."""
    skipped: list[str] = []
    code = run_command(parser, lambda args: skipped.extend(command(args)), argv)
    return code or int(bool(skipped))
