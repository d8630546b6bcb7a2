"""``python -m mkbackbones export-onnx``: what ``export --part neck`` was called before."""

from __future__ import annotations

import argparse
import sys

from .errors import run_command
from .export import build_parser as build_export_parser
from .export import export

__all__ = ['build_parser', 'main']


def build_parser() -> argparse.ArgumentParser:
    """Build the parser: without --part, the neck if there is one."""
    return build_export_parser('export-onnx', None)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    print('note: export-onnx is now called export, which writes whole models', file=sys.stderr)
    return run_command(build_parser(), export, argv)
