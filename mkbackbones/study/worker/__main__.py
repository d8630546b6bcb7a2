"""``python -m mkbackbones.study.worker FOLDER``: train and test the run of a folder."""

import sys
from pathlib import Path

from ...late_imports import asks, put_off
from ..records.run_folder import config_of

if not asks(config_of(Path(sys.argv[1]))):
    put_off()

from .main import main  # with it comes mmengine

sys.exit(main())
