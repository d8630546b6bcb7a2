"""Swap the backbone of a config; see `python -m mkbackbones swap-backbone --help`."""

import sys

from mkbackbones.commands.swap_backbone import main

if __name__ == '__main__':
    sys.exit(main())
