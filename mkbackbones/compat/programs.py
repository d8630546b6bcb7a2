"""Programs of ``torch.export`` that are run."""

import inspect
from typing import Any

from torch import nn

__all__ = ['without_guards']


def without_guards(program: Any) -> nn.Module:
    """A program as a module that takes sizes at which strides are other than while it was traced.

    Args:
        program (torch.export.ExportedProgram): The program.
    """
    if 'check_guards' in inspect.signature(program.module).parameters:
        return program.module(check_guards=False)
    return program.module()  # an older release, which has no guards
