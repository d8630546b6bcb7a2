"""transformers, which mmengine and mmdet import for whoever may use it: only for whoever does.

Where transformers is installed, mmengine imports it for one optimiser, and mmdet for detectors that
read text: 9 of the 12 seconds that a command or a worker took to start (measured on a GPU host).
Both do without where it is missing, so it is missing for them, until a config asks for it. Modules
that have begun without it stay so, therefore the process starts again then.

A class of the user's own that derives from one of theirs may ask for it by a name that is not known
here: ``MKBACKBONES_PUT_OFF=nothing`` in the environment lets everybody import at once.
"""

from __future__ import annotations

import os
import re
import sys
from importlib.util import find_spec

__all__ = ['Needed', 'NotYet', 'asks', 'bring_in', 'is_put_off', 'put_off', 'start_again']

PUT_OFF = 'transformers'
#: Modules that import it within try and except.
ASKING = (
    'mmengine.optim.optimizer.builder',
    'mmdet.datasets.transforms.text_transformers',
    'mmdet.models.dense_heads.atss_vlfusion_head',
    'mmdet.models.language_models.bert',
    'mmdet.models.utils.vlfuse_helper',
)
#: What a config has in it that needs it: the types of these modules, and of detectors with them.
NEEDS = re.compile(
    'Adafactor|ATSSVLFusion|Bert|GLIP|GroundingDINO|LoadTextAnnotations|RandomSamplingNegPos|'
    + PUT_OFF
)
#: Environment variable of a process that puts nothing off.
SWITCH, NOTHING = 'MKBACKBONES_PUT_OFF', 'nothing'


class Needed(BaseException):
    """A config asks for what was put off: the command has to start again."""


class NotYet:
    """An import finder to which transformers is not installed while one of those modules asks."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Leave every import to the other finders, but that one."""
        if name == PUT_OFF and any(map(is_starting, ASKING)):
            raise ModuleNotFoundError(f'{PUT_OFF} is imported when a config asks for it')


def is_starting(module: str) -> bool:
    """Whether a module is being imported at this moment."""
    spec = getattr(sys.modules.get(module), '__spec__', None)
    return getattr(spec, '_initializing', False)


def put_off() -> None:
    """Let mmengine and mmdet start without transformers; for processes that are ours alone."""
    # Windows cannot replace a process by another one.
    if os.environ.get(SWITCH) != NOTHING and os.name != 'nt' and not is_put_off():
        sys.meta_path.insert(0, NotYet())


def is_put_off() -> bool:
    """Whether this process has begun without it."""
    return any(isinstance(finder, NotYet) for finder in sys.meta_path)


def asks(text: str) -> bool:
    """Whether the text of a config names something that needs it, and it can be had."""
    return bool(NEEDS.search(text)) and find_spec(PUT_OFF) is not None


def bring_in(content: object) -> None:
    """See to it that a config gets what it asks for.

    Args:
        content (object): The config, or a part of it.

    Raises:
        Needed: It was put off.
    """
    if is_put_off() and asks(repr(content)):
        raise Needed


def start_again() -> None:
    """Become the same command, with nothing put off."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, sys.orig_argv, {**os.environ, SWITCH: NOTHING})
