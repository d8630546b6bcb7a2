"""``python -m mkbackbones.study.worker FOLDER``: train and test the run of a folder."""

import sys

from .main import main

sys.exit(main())
