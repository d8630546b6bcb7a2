"""Test a model; see `python -m mkbackbones test --help`."""

import sys

from mkbackbones.commands.test import main

if __name__ == '__main__':
    sys.exit(main())
