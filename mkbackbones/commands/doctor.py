"""``python -m mkbackbones doctor``: versions, devices, and what is wrong."""

from __future__ import annotations

import argparse
import json

from ..doctor import examine, render

EXAMPLES = """
examples:
  python -m mkbackbones doctor
  python -m mkbackbones doctor --json

Nothing is changed, and nothing is sent anywhere. The home folder is shown as ~, the user's name in
paths as USER. The exit code is 1 if something is wrong.
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = argparse.ArgumentParser(
        prog='python -m mkbackbones doctor',
        description='Tell versions, the OpenMMLab line, operators, kernels, devices and settings, '
        'for a bug report; and what is wrong, with the command that mends it.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--json', action='store_true', help='as JSON, for programs')
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = build_parser().parse_args(argv)
    about = examine()
    print(json.dumps(about, indent=1) if args.json else render(about))
    return int(bool(about['wrong']))
