"""What runs take from the runs before them: iterations, a learning rate, a checkpoint."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from pathlib import Path

from ..define.plan import Run
from ..define.spec import StudyError
from ..prepare.prepared import PreparedStudy
from ..records.run_folder import BEST, FOLDED, OUTPUTS, read_output

__all__ = ['Needs']


@dataclass
class Needs:
    """What a run needs to know before it can start.

    Args:
        prepared (PreparedStudy): The study.
        folder (Path): Its folder.
        runs (dict[str, Run]): All its runs by key.
    """

    prepared: PreparedStudy
    folder: Path
    runs: dict[str, Run]

    def iterations(self, run: Run) -> int | None:
        """Iterations of a run; for a budget in minutes, as many as its timing allows."""
        planned = self.prepared.planned_iterations(run)
        if planned is not None or run.stage == 'timing':
            return planned
        timing = self.output(Run('timing', run.task, run.arm, self.prepared.study.seeds[0]))
        seconds = 60 * (self.prepared.study.budget.minutes or 0.0)
        return max(int(seconds / timing['step_seconds']), 1)

    def learning_rate(self, run: Run) -> float | None:
        """Learning rate of a run: its own, the best of the trials, or None for the config's.

        Raises:
            StudyError: Every trial diverged.
        """
        rates = self.prepared.study.learning_rates
        if run.stage != 'main' or not rates.grid:
            return run.lr
        means = {
            lr: statistics.fmean(
                self.output(Run('trial', run.task, run.arm, seed, lr))['score']
                for seed in rates.seeds
            )
            for lr in sorted(rates.grid)
        }
        best = max(means, key=means.__getitem__)
        if means[best] == -math.inf:
            raise StudyError(
                f'task {run.task}, arm {run.arm}: every learning rate of the grid diverged; '
                'add lower ones'
            )
        return best

    def output(self, run: Run) -> dict:
        """What a timing or trial left."""
        content, damaged = read_output(self.folder / run.key, run.stage)
        if content is None:
            raise StudyError(f'{self.folder / run.key / (damaged or OUTPUTS[run.stage])} is gone')
        return content

    def source(self, run: Run) -> str | None:
        """Checkpoint that a run starts from, of another task.

        Raises:
            StudyError: It is gone.
        """
        folded = self.prepared.study.arms[run.arm].initial_arm is not None
        source = self.prepared.study.tasks[run.task].source
        hint = ', and if it was done before an arm started from it, remove it' if folded else ''
        return self.network(run, source, FOLDED if folded else BEST, 'it starts from', hint)

    def teacher(self, run: Run) -> str | None:
        """Checkpoint of a run's teacher, of the same task.

        Raises:
            StudyError: It is gone.
        """
        return self.network(run, run.task, BEST, 'its teacher has', '')

    def network(self, run: Run, task: str | None, file: str, use: str, hint: str) -> str | None:
        """A checkpoint of the main run of a task that a run needs; None where it needs none."""
        mains = [need for need in run.needs if self.runs[need].stage == 'main']
        found = [need for need in mains if self.runs[need].task == task]
        if not found:
            return None
        path = self.folder / found[0] / file
        if not path.is_file():
            raise StudyError(
                f'{path}, which {use}, is not there; if {found[0]} was merged, pack it again with '
                f'--weights{hint}'
            )
        return str(path.resolve())
