"""Find shared pictures; see `python -m mkbackbones check-leakage --help`."""

import sys

from mkbackbones.commands.check_leakage import main

if __name__ == '__main__':
    sys.exit(main())
