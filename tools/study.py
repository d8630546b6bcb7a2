"""Run a study; see `python -m mkbackbones study --help`."""

import sys

from mkbackbones.commands.study import main

if __name__ == '__main__':
    sys.exit(main())
