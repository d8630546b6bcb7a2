"""Pre-trained with and without the charts, fine-tuned with and without: which of it is the gain?

Four arms of a task that starts from another one, K the key and S the stock key: ``SS`` (the
baseline) and ``KK`` go on with their own networks, ``KS`` starts from K's network with its key
folded into a stock one, ``SK`` from the stock network with K's charts added. Our definition; a
2 x 2 factorial design, paired by seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..records.results import ArmInfo, StudyInfo, StudyResults
from .analysis import Crossed
from .compare import AnyJackknife, estimate_contrast
from .paired import ALPHA
from .sequential import nominal_level

__all__ = ['Square', 'crossed_effects', 'find_squares']


@dataclass(frozen=True)
class Square:
    """The four arms; the first letter is the key of pre-training, the second that of the task.

    Args:
        ss (str): The baseline.
        kk (str): The arm with the key in both.
        ks (str): The key in pre-training alone.
        sk (str): The key in the task alone.
    """

    ss: str
    kk: str
    ks: str
    sk: str

    def effects(self) -> dict[str, list[tuple[str, str, float]]]:
        """Each effect as a weighted sum of differences: arm, reference, weight."""
        kk, ks, sk, ss = self.kk, self.ks, self.sk, self.ss
        return {
            'pre-trained with it': [(kk, sk, 0.5), (ks, ss, 0.5)],
            'fine-tuned with it': [(kk, ks, 0.5), (sk, ss, 0.5)],
            'both beyond either': [(kk, ks, 1.0), (sk, ss, -1.0)],
        }


def find_squares(info: StudyInfo) -> list[Square]:
    """The squares of a study, by their arms' ``initial_arm`` and keys."""
    base = info.baseline
    found = []
    for kk, about in info.arms.items():
        if kk == base or about.initial_arm:
            continue
        untaught = {a: b for a, b in info.arms.items() if not b.teacher}
        ks = [a for a, b in untaught.items() if b.initial_arm == kk and same(b, info.arms[base])]
        sk = [a for a, b in untaught.items() if b.initial_arm == base and same(b, about)]
        if ks and sk:
            found.append(Square(base, kk, ks[0], sk[0]))
    return found


def same(one: ArmInfo, other: ArmInfo) -> bool:
    """Whether two arms have the same backbone, with or without a base chart behind the key."""

    def without_base(arm: ArmInfo) -> dict:
        key = arm.backbone.get('key_cfg')
        if not isinstance(key, dict):
            return arm.backbone
        return {**arm.backbone, 'key_cfg': {k: v for k, v in key.items() if k != 'base'}}

    return without_base(one) == without_base(other)


def crossed_effects(
    results: StudyResults, task: str, jackknife: AnyJackknife | None
) -> list[Crossed]:
    """The effects of each square on a task's primary metric, over seeds that have all four arms.

    Args:
        results (StudyResults): The study.
        task (str): Key of the task.
        jackknife (AnyJackknife | None): None where runs left no evidence.
    """
    info = results.info
    found: list[Crossed] = []
    if info.tasks[task].source is None:
        return found
    metric = info.tasks[task].primary
    for square in find_squares(info):
        runs = {arm: results.of(task, arm) for arm in (square.ss, square.kk, square.ks, square.sk)}
        seeds = [seed for seed in info.seeds if all(seed in mine for mine in runs.values())]
        for effect, terms in square.effects().items():
            per_seed = {
                seed: sum(
                    weight * (runs[arm][seed].metrics[metric] - runs[ref][seed].metrics[metric])
                    for arm, ref, weight in terms
                )
                for seed in seeds
            }
            by_fold = info.by_fold(task, per_seed)
            if not by_fold:
                continue
            crossed = Crossed(task, square.kk, effect, float(np.mean(list(by_fold.values()))))
            crossed.num_seeds = len(seeds)
            estimate = None
            if len(by_fold) > 1:
                estimate, _ = estimate_contrast(info, task, metric, per_seed, terms, jackknife)
            if estimate is not None and estimate.standard_error:
                level = nominal_level(ALPHA, info.looks)
                crossed.low, crossed.high = estimate.interval(level)
                crossed.p = estimate.p()
            found.append(crossed)
    return found
