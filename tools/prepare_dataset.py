"""Write a defect data set in the layout that mmdet and mmseg read; see ``--help``."""

from mkbackbones.commands.prepare_dataset import main

if __name__ == '__main__':
    raise SystemExit(main())
