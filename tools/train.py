"""Train a model; see `python -m mkbackbones train --help`."""

import sys

from mkbackbones.commands.train import main

if __name__ == '__main__':
    sys.exit(main())
