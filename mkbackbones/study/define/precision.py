"""What a study decides before its first run: margins, power, and when it looks at its results."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from ...arguments import is_number
from ...hints import did_you_mean
from .entries import StudyError, allow, positive

__all__ = ['POWER', 'Plan', 'parse_plan', 'settle_plan']

POWER = 0.8


@dataclass
class Plan:
    """The plan of a study.

    Args:
        margin (dict[str, float]): Points of the primary metric below which arms are taken as
            equivalent, by task; a task without one makes no claim of it.
        power (float): Probability with which an effect is to be found.
        looks (list[int]): Numbers of seeds after which results are looked at, rising; none is one
            look at the end.
        digest (str): Hash of the plan and of what it decides on.
        deviations (list[str]): What was done otherwise, in sentences.
    """

    margin: dict[str, float] = field(default_factory=dict)
    power: float = POWER
    looks: list[int] = field(default_factory=list)
    digest: str = ''
    deviations: list[str] = field(default_factory=list)

    def margin_beforehand(self, task: str) -> float | None:
        """The margin of a task, unless the plan was made or changed when runs had been started."""
        return None if self.deviations else self.margin.get(task)

    def in_words(self) -> str:
        """The plan in a sentence for the report."""
        margins = ', '.join(f'{task} ±{margin:g} points' for task, margin in self.margin.items())
        looks = ', '.join(map(str, self.looks))
        return (
            f'margin of equivalence: {margins or "none"}; power {100 * self.power:.0f} %; '
            f'looks: {f"after {looks} seeds" if looks else "one, at the end"}'
        )

    def hashed(self, **decided: Any) -> Plan:
        """The plan with the hash of itself and of what it decides on, e.g. arms and metrics."""
        content = {**asdict(self), **decided, 'digest': '', 'deviations': []}
        text = json.dumps(content, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return Plan(self.margin, self.power, self.looks, digest, list(self.deviations))


def parse_plan(plan: Any, tasks: list[str], seeds: list[int]) -> Plan | None:
    """The entry ``plan`` of a study file; None without one.

    Args:
        plan (Any): The entry.
        tasks (list[str]): Keys of the tasks.
        seeds (list[int]): Seeds of the study.

    Raises:
        StudyError: The entry is malformed, or its looks are not those of the study's seeds.
    """
    if plan is None:
        return None
    if not isinstance(plan, dict) or not plan:
        raise StudyError(f'plan={plan!r}; give dict(margin=0.5, power=0.8, looks=[5, 10, 15, 20])')
    allow(plan, ('margin', 'power', 'looks'), 'plan')
    power = plan.get('power', POWER)
    if not is_number(power) or not 0.5 <= power < 1:
        raise StudyError(f'plan.power={power!r}; it must be a number from 0.5 to below 1')
    parsed = Plan(
        margin=parse_margin(plan.get('margin', {}), tasks),
        power=float(power),
        looks=parse_looks(plan.get('looks', []), len(seeds)),
    )
    if not parsed.margin and not parsed.looks:
        raise StudyError(f'plan={plan!r} plans nothing; give a margin, looks or both')
    return parsed


def parse_margin(margin: Any, tasks: list[str]) -> dict[str, float]:
    """One margin for every task, or one by task."""
    by_task = margin if isinstance(margin, dict) else dict.fromkeys(tasks, margin)
    for task, value in by_task.items():
        if task not in tasks:
            raise StudyError(
                f'plan.margin names the task {task!r}; the study has {", ".join(tasks)}'
                f'{did_you_mean(task, tasks)}'
            )
        if not is_number(value) or not 0 < value < math.inf:
            where = f'plan.margin.{task}' if isinstance(margin, dict) else 'plan.margin'
            raise StudyError(f'{where}={value!r}; it must be a number of points above 0')
    return {task: float(value) for task, value in by_task.items()}


def parse_looks(looks: Any, num_seeds: int) -> list[int]:
    """Rising numbers of seeds, the last one being all."""
    if not isinstance(looks, list | tuple):
        raise StudyError(f'plan.looks={looks!r}; give numbers of seeds, e.g. [5, 10, 15, 20]')
    for look in looks:
        positive(look, 'plan.looks')
    rising = None not in looks and sorted(set(looks)) == list(looks)
    if looks and (not rising or looks[0] < 2 or looks[-1] != num_seeds):
        raise StudyError(
            f'plan.looks={list(looks)}; give rising numbers of seeds, the first at least 2 and the '
            f'last the number of seeds of the study, {num_seeds}'
        )
    return list(looks)


def settle_plan(new: Plan | None, old: Plan | None, started: int) -> Plan | None:
    """The plan to keep: what has changed since runs were started is a deviation from it.

    Args:
        new (Plan | None): Of the study file.
        old (Plan | None): What ``study.json`` has.
        started (int): Main runs that were started before.
    """
    if not started or new == old:
        return new
    if new is None:
        if old is None:
            return None
        gone = f'The plan is gone from the study file after {started} runs had been started.'
        return _deviates(old, old.deviations, gone)
    if old is None:
        return _deviates(new, [], f'The plan was made after {started} runs had been started.')
    if new.digest == old.digest:
        return old
    changed = (
        'The plan, or the arms, tasks, metrics or seeds that it is for, was changed after '
        f'{started} runs had been started; it was: {old.in_words()}.'
    )
    return _deviates(new, old.deviations, changed)


def _deviates(plan: Plan, before: list[str], sentence: str) -> Plan:
    deviations = [*before, *([] if sentence in before else [sentence])]
    return Plan(plan.margin, plan.power, plan.looks, plan.digest, deviations)
