"""Profile backbones side by side; see `python -m mkbackbones profile-backbone --help`."""

import sys

from mkbackbones.commands.profile_backbone import main

if __name__ == '__main__':
    sys.exit(main())
