"""Tell versions, devices and what is wrong; see `python -m mkbackbones doctor --help`."""

import sys

from mkbackbones.commands.doctor import main

if __name__ == '__main__':
    sys.exit(main())
