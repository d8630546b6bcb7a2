"""Python as Windows has it, as far as that can be had elsewhere: for every process that sees this.

No fcntl, no fork, no process groups; locks by msvcrt; processes are spawned. Not changed:
``os.name``, paths, signals, that open files can be replaced, and the module resource, which
mmengine imports wherever the platform is not Windows.
"""

import fcntl
import getpass  # noqa: F401 - it and subprocess take a msvcrt for Windows: they come first
import multiprocessing
import os
import subprocess  # noqa: F401
import sys
import types


def locking(file, mode, count):
    """What msvcrt does: a lock on bytes from where the file stands, for this opening of it."""
    place = os.lseek(file, 0, os.SEEK_CUR)
    assert mode == msvcrt.LK_NBLCK and count == 1 and place >= 1 << 20
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise PermissionError(error.errno, error.strerror) from None


msvcrt = types.ModuleType('msvcrt')
msvcrt.LK_NBLCK, msvcrt.locking = 2, locking
sys.modules['msvcrt'] = msvcrt
sys.modules['fcntl'] = None
multiprocessing.set_start_method('spawn')
for name in ('fork', 'forkpty', 'killpg', 'getpgrp', 'setsid', 'waitid', 'sched_getaffinity'):
    if hasattr(os, name):
        delattr(os, name)
