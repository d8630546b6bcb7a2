"""Convert a checkpoint; see `python -m mkbackbones convert-checkpoint --help`."""

import sys

from mkbackbones.commands.convert_checkpoint import main

if __name__ == '__main__':
    sys.exit(main())
