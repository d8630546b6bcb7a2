"""Profile training whole models; see `python -m mkbackbones profile-training --help`."""

import sys

from mkbackbones.commands.profile_training import main

if __name__ == '__main__':
    sys.exit(main())
