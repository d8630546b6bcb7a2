"""What a planned study can find, from the results of a pilot."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..define.precision import POWER
from ..define.spec import Study
from ..records.results import StudyResults, TaskInfo
from .analyse import analyse_tasks
from .folded import FoldedMean
from .left_out import load_jackknife
from .paired import ALPHA, PairedMean, SeedsNeeded, seeds_needed
from .sequential import nominal_level
from .verdicts import margin_of_images

if TYPE_CHECKING:
    from .analysis import Covers

__all__ = ['Prospect', 'images_needed', 'prospects']

MOST_IMAGES = 1000.0
#: Numbers of folds that a study on one split is told of.
FOLDS = (5, 10)


@dataclass
class Prospect:
    """What a planned study can say of one arm and task.

    Args:
        task (str): Key of the task.
        arm (str): Key of the arm.
        metric (str): Primary metric.
        pilot_seeds (int): Seeds of the pilot that it follows from.
        seeds (int): Planned seeds.
        smallest (float): Smallest true difference that is found with the planned power.
        smallest_range (tuple[float, float]): Its 95 per cent interval.
        margin (float | None): Margin of equivalence that the study names.
        least_margin (float): Least margin that ever more seeds could show on such test images.
        least_margin_range (tuple[float, float]): Its 95 per cent interval.
        effect (float | None): The difference that is wanted.
        power (float | None): Power to find it as planned.
        needed (SeedsNeeded | None): Seeds that would find it with the planned power.
        images (float | None): How many times the test images that it would take with the planned
            seeds; None where no number of images is enough.
        covers (Covers): What the pilot's intervals take as random.
        by_folds (dict[int, float]): What ``smallest`` would be with so many folds, 0 being one
            split; from a pilot on one split with evidence alone.
    """

    task: str
    arm: str
    metric: str
    pilot_seeds: int
    seeds: int
    smallest: float
    smallest_range: tuple[float, float]
    margin: float | None
    least_margin: float
    least_margin_range: tuple[float, float]
    effect: float | None = None
    power: float | None = None
    needed: SeedsNeeded | None = None
    images: float | None = None
    covers: Covers = 'seeds'
    by_folds: dict[int, float] = field(default_factory=dict)


def prospects(
    study: Study, pilot: StudyResults, effects: dict[str, float]
) -> tuple[list[Prospect], list[str]]:
    """What a planned study can find.

    Args:
        study (Study): The plan: arms, tasks, seeds, looks.
        pilot (StudyResults): Results with the same tasks and arms; few seeds will do.
        effects (dict[str, float]): Differences that are wanted, in points, by metric or task.

    Returns:
        tuple: One prospect for each arm and task that the pilot has, and a sentence for each that
        it cannot tell of.

    Raises:
        ValueError: The pilot contradicts itself.
    """
    tasks = {task: load_jackknife(pilot, task) for task in pilot.info.tasks}
    _, primary = analyse_tasks(pilot, tasks)
    arms = [arm for arm in study.arms if arm != study.baseline.key]
    looks = tuple(study.plan.looks) if study.plan else ()
    power = study.plan.power if study.plan else POWER
    alpha = nominal_level(ALPHA / study.num_comparisons, looks)
    found, missing = [], []
    for task in study.tasks.values():
        for arm in [arm for arm in arms if arm in study.arms_of(task.key)]:
            comparison = primary.get((task.key, arm, study.baseline.key))
            if comparison is None or comparison.difference.metric != task.primary:
                missing.append(f'{task.key}, {arm}: the pilot has no {task.primary} of it')
                continue
            if comparison.estimate is None:
                why = (
                    'has one seed' if comparison.difference.num_seeds < 2 else 'has too few groups'
                )
                missing.append(f'{task.key}, {arm}: the pilot {why}, which tells no variance')
                continue
            estimate = comparison.estimate
            if not estimate.standard_error:
                missing.append(f'{task.key}, {arm}: no seed of the pilot differs from another')
                continue
            if task.folds == 0 and pilot.info.tasks[task.key].folds:
                missing.append(
                    f'{task.key}, {arm}: the pilot is on folds and the study is not, so that the '
                    'part of the test images is unknown'
                )
                continue
            about = pilot.info.tasks[task.key]
            planned = on_folds(estimate, about, task.folds, len(study.seeds))
            least, least_range = margin_of_images(planned, looks)
            prospect = Prospect(
                task=task.key,
                arm=arm,
                metric=task.primary,
                pilot_seeds=int(estimate.num_seeds),
                seeds=len(study.seeds),
                smallest=planned.smallest_effect(alpha, power),
                smallest_range=planned.smallest_effect_range(alpha, power),
                margin=study.plan.margin.get(task.key) if study.plan else None,
                least_margin=least,
                least_margin_range=least_range,
                covers=comparison.difference.covers,
            )
            if not about.folds and comparison.difference.test_sd is not None:
                prospect.by_folds = {
                    folds: on_folds(estimate, about, folds, len(study.seeds)).smallest_effect(
                        alpha, power
                    )
                    for folds in sorted({0, task.folds, *FOLDS})
                }
            effect = effects.get(task.key, effects.get(task.primary))
            if effect is not None:
                prospect.effect = effect
                prospect.power = planned.power(effect, alpha)
                prospect.needed = seeds_needed(planned, alpha, power, effect)
                prospect.images = images_needed(planned, alpha, power, effect)
            found.append(prospect)
    return found, missing


def on_folds(estimate: PairedMean, about: TaskInfo, folds: int, num_seeds: int) -> PairedMean:
    """What a pilot tells of a study with other seeds, on folds or on one split.

    The variance that test images give to a run goes down as their number goes up, and that of a
    mean over folds with the number of folds, whose images differ.

    Args:
        estimate (PairedMean): Of the pilot.
        about (TaskInfo): The task in the pilot.
        folds (int): Folds of the study; 0 for the pilot's split.
        num_seeds (int): Seeds of the study.
    """
    if folds == about.folds:
        return estimate.with_seeds(num_seeds)
    total = sum(about.num_images.values())
    tested = about.num_images.get('test', 0)
    size = total / folds  # of the test images of a run
    share = tested / size if total and tested else 1.0
    if isinstance(estimate, FoldedMean):
        share *= estimate.tested
    share /= min(folds, num_seeds)
    low, high = estimate.test_ends()
    return FoldedMean(
        mean=estimate.mean,
        num_seeds=num_seeds,
        v_seed=estimate.v_seed * estimate.num_seeds / num_seeds,
        v_test=share * estimate.v_test,
        test_range=(share * low, share * high),
        seed_df=estimate.known_seed_df,
        folds=folds,
        tested=min(folds, num_seeds),
    )


def images_needed(planned: PairedMean, alpha: float, power: float, effect: float) -> float | None:
    """How many times the test images it takes to find an effect with the planned seeds.

    Args:
        planned (PairedMean): The study as planned.
        alpha (float): Level of the test.
        power (float): Power.
        effect (float): True difference.

    Returns:
        float | None: From 1; None where even 1000 times as many are not enough.
    """

    def enough(factor: float) -> bool:
        with_more = replace(
            planned, v_test=planned.v_test / factor, test_df=planned.test_df * factor
        )
        return with_more.power(effect, alpha) >= power

    if enough(1.0):
        return 1.0
    if not enough(MOST_IMAGES):
        return None
    low, high = 1.0, MOST_IMAGES
    while high / low > 1.01:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
