"""Kill a study at random moments and look at what it leaves."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .tiny import ROOT

#: Entries of a result that are measured times and so differ between any two runs.
TIMES = ('step_seconds', 'train_seconds', 'inference_seconds')


def start(study: Path, out: Path) -> subprocess.Popen:
    """Start a study in a process group of its own."""
    command = [sys.executable, '-m', 'mkbackbones', 'study', 'run', str(study)]
    command += ['--work-dir', str(out), '--slots', '2', '--device', 'cpu']
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    log = open(out.with_suffix('.log'), 'ab')  # noqa: SIM115 - the child keeps it
    return subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)


def finished(out: Path) -> dict[str, int]:
    """Results of a study, and when each was written."""
    return {
        str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.rglob('result.json')
    }


def numbers(out: Path) -> dict[str, dict]:
    """Results of a study without the measured times, and the scores of every test image."""
    found = {}
    for name in finished(out):
        result = json.loads((out / name).read_text())
        found[name] = {key: value for key, value in result.items() if key not in TIMES}
        found[name]['environment'].pop('commit')  # whoever works on the checkout changes it
        with np.load((out / name).with_name('evidence.npz')) as evidence:
            found[name]['scores'] = evidence['scores'].tolist()
    return found


def wait_for_training(process: subprocess.Popen, out: Path, known: float) -> None:
    """Wait until a worker that was started after ``known`` trains, or the study ends."""
    while process.poll() is None:
        for path in out.rglob('progress.json'):
            try:
                fresh = path.stat().st_mtime > known
                if fresh and json.loads(path.read_text())['phase'] != 'starting':
                    return
            except (OSError, ValueError):
                continue
        time.sleep(0.02)


def undisturbed(study: Path, out: Path) -> float:
    """Run a study to its end; return the seconds from its first iteration on."""
    process = start(study, out)
    wait_for_training(process, out, 0.0)
    begin = time.monotonic()
    assert process.wait(1200) == 0, out.with_suffix('.log').read_text()[-2000:]
    return time.monotonic() - begin


def kill_repeatedly(
    study: Path,
    out: Path,
    kills: int,
    span: float,
    seed: int,
    finish: Callable[[Path, Path], object] = undisturbed,
) -> dict[str, int]:
    """Kill a study, process group and all, at random moments, then let it end.

    Args:
        study (Path): Study file.
        out (Path): Folder; once a study in it is done, the next one gets a folder of its own.
        kills (int): How often.
        span (float): Up to this many seconds after the first iteration of a life.
        seed (int): Of the moments.
        finish (Callable): Lets a study end: its file, its folder.

    Returns:
        dict[str, int]: Kills, finished runs that were lost or done again, and studies completed.
    """
    rng = random.Random(seed)
    counts = {'kills': 0, 'lost': 0, 'studies': 0}
    folder, seen = out / '0', {}
    out.mkdir(parents=True, exist_ok=True)
    while counts['kills'] < kills:
        process = start(study, folder)
        if rng.random() < 0.85:
            wait_for_training(process, folder, time.time())
        time.sleep(rng.uniform(0, span))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            counts['kills'] += 1
        code = process.wait(1200)
        assert code in (0, -signal.SIGKILL), folder.with_suffix('.log').read_text()[-2000:]
        now = finished(folder)
        counts['lost'] += sum(now.get(name) != when for name, when in seen.items())
        seen = now
        if code == 0:
            counts['studies'] += 1
            folder, seen = out / str(counts['studies']), {}
    finish(study, folder)
    now = finished(folder)
    counts['lost'] += sum(now.get(name) != when for name, when in seen.items())
    counts['studies'] += 1
    return counts
