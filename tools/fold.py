"""Fold linear manifold keys; see `python -m mkbackbones fold --help`."""

import sys

from mkbackbones.commands.fold import main

if __name__ == '__main__':
    sys.exit(main())
