"""Export a backbone and its neck to ONNX; see `python -m mkbackbones export-onnx --help`."""

import sys

from mkbackbones.commands.export_onnx import main

if __name__ == '__main__':
    sys.exit(main())
