"""Imports the libraries one by one and tells how that went; run in a process of its own.

A broken library may raise anything, print anything, or end the process: what was found until then
has been written. Nothing of the package is imported before it is asked for.

Writes lines of JSON: ``{"start": NAME}`` and ``{"name": NAME, "value": ...}`` or
``{"name": NAME, "error": SENTENCE}``.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from typing import IO, Any

__all__ = ['LIBRARIES', 'main']

#: In the order in which they need one another.
LIBRARIES = (
    *('numpy', 'torch', 'torchvision', 'timm', 'cv2', 'mmengine', 'mmcv', 'mmdet', 'mmseg'),
    'triton',
)


def version(name: str) -> str:
    """Import a library; return what it calls its version."""
    return str(getattr(importlib.import_module(name), '__version__', 'without a version'))


def torch_build() -> dict[str, Any]:
    """What torch was built with."""
    import torch

    return {
        'cuda': torch.version.cuda,
        'hip': torch.version.hip,
        'cudnn': torch.backends.cudnn.version(),
        'cuda_available': torch.cuda.is_available(),
        'mps_available': torch.backends.mps.is_available(),
    }


def devices() -> list[dict[str, Any]]:
    """The GPUs that torch sees."""
    import torch

    found = []
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        found.append(
            {
                'name': about.name,
                'memory': about.total_memory,
                'capability': f'{about.major}.{about.minor}',
            }
        )
    return found


def operators() -> str:
    """What mmcv's operators run on, once they have been imported."""
    from ..ops import backend

    found = backend()
    if found != 'none':
        importlib.import_module('mmcv.ops')
    return found


def kernels() -> list[str]:
    """What speaks against the Triton kernels on each GPU; empty strings where they serve."""
    import torch

    from ..kernels.support import why_not

    return [why_not(index) for index in range(torch.cuda.device_count())]


STEPS: dict[str, Callable[[], Any]] = {
    'torch_build': torch_build,
    'devices': devices,
    'operators': operators,
    'kernels': kernels,
}


def main(out: IO[str]) -> None:
    """Try everything, and write what came of it."""
    steps = {name: lambda name=name: version(name) for name in LIBRARIES}
    for name, step in {**steps, **STEPS}.items():
        print(json.dumps({'start': name}), file=out, flush=True)
        try:
            found = {'name': name, 'value': step()}
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # libraries that are broken raise anything
            text = ' '.join(str(error).split())
            found = {'name': name, 'error': f'{type(error).__name__}: {text}'[:500]}
        print(json.dumps(found), file=out, flush=True)


if __name__ == '__main__':
    # What libraries print as they are imported is no answer.
    answers = os.fdopen(os.dup(1), 'w', encoding='utf-8')
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    main(answers)
    answers.flush()
    os._exit(0)  # nor is what they do as they end
