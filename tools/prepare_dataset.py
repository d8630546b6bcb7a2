"""Prepare a data set; see `python -m mkbackbones prepare-dataset --help`."""

import sys

from mkbackbones.commands.prepare_dataset import main

if __name__ == '__main__':
    sys.exit(main())
