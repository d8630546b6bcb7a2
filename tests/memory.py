"""Peak memory of every test process, and which files it grew in, at the end of a test run."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
from collections import Counter

import pytest

MIB = 2**20
#: Growth of the memory that stays after a file's last test, by file.
GROWTH: Counter[str] = Counter()
#: Peak memory of each process, by its name, and the file whose tests raised it the most.
PEAKS: dict[str, tuple[int, str]] = {}
RISES: Counter[str] = Counter()


def resident() -> int:
    """Memory of this process in bytes, 0 where the system does not tell."""
    try:
        with open('/proc/self/statm', encoding='ascii') as file:
            return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
    except OSError:
        return 0


def peak() -> int:
    """Highest memory of this process so far, in bytes."""
    if sys.platform == 'win32':
        return 0
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == 'darwin' else used * 1024


def release() -> None:
    """Let go of what a file's tests have left: compiled graphs, cycles, freed heap.

    What is left then, imported libraries nearly all of it, is not looked through again: that took
    half a second each time somebody collects garbage, and every data set of mmengine does.
    """
    torch = sys.modules.get('torch')
    if torch is not None and 'torch._dynamo' in sys.modules:
        torch._dynamo.reset()
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError, AttributeError):  # other C libraries do so by themselves
        ctypes.CDLL('libc.so.6').malloc_trim(0)


def highest_rise() -> str:
    """The file whose tests raised the peak the most."""
    return ''.join(name for name, _ in RISES.most_common(1))


@pytest.fixture(scope='module', autouse=True)
def _memory(request: pytest.FixtureRequest):
    before, highest = resident(), peak()
    yield
    release()
    GROWTH[request.node.nodeid] += resident() - before
    RISES[request.node.nodeid] += peak() - highest


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, 'workeroutput', None)
    if output is not None:
        output['memory'] = (peak(), dict(GROWTH), highest_rise())


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    found = getattr(node, 'workeroutput', {}).get('memory')
    if found:
        PEAKS[node.gateway.id] = (found[0], found[2])
        GROWTH.update(found[1])


def pytest_terminal_summary(terminalreporter: object) -> None:
    peaks = PEAKS or {'this process': (peak(), highest_rise())}
    terminalreporter.section('memory')
    for name, (used, where) in sorted(peaks.items()):
        terminalreporter.write_line(f'peak of {name}: {used / MIB:,.0f} MiB, most by {where}')
    for name, grown in GROWTH.most_common(10):
        if grown > 50 * MIB:
            terminalreporter.write_line(f'{grown / MIB:6,.0f} MiB stay after {name}')
