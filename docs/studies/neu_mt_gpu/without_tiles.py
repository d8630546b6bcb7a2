"""Start a part of the study without the runs of the magnetic tiles, in a checkout of d0a3347:
python docs/studies/neu_mt_gpu/without_tiles.py --slots 7 --part 3/12 --work-dir s2
"""

import sys

from mkbackbones.__main__ import main
from mkbackbones.late_imports import put_off
from mkbackbones.study.run import schedule

put_off()
whole = schedule.part_of
schedule.part_of = lambda *args: {
    key for key in whole(*args) if not key.startswith('runs/tiles/')
}
sys.exit(main(['study', 'run', 'configs/studies/neu_mt_gpu.py', *sys.argv[1:]]))
