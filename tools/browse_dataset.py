"""Draw a contact sheet; see `python -m mkbackbones browse-dataset --help`."""

import sys

from mkbackbones.commands.browse_dataset import main

if __name__ == '__main__':
    sys.exit(main())
