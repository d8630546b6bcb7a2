"""Export a trained model to ONNX; see `python -m mkbackbones export --help`."""

import sys

from mkbackbones.commands.export import main

if __name__ == '__main__':
    sys.exit(main())
