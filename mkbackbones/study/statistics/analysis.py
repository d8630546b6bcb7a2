"""What the statistics of a study say: plain data for reports."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal

from .paired import SeedsNeeded

__all__ = [
    'Analysis',
    'ArmSummary',
    'CarryOver',
    'Cost',
    'Covers',
    'Crossed',
    'Difference',
    'Efficiency',
    'SplitGroups',
    'Standing',
    'Verdict',
    'VerdictKind',
]


#: What an interval takes as random; seeds alone where runs on one split left no evidence.
Covers = Literal['seeds', 'seeds and test images']
#: What is said of an arm, see :class:`Verdict`.
VerdictKind = Literal['gains in both', 'better', 'worse', 'equivalent', 'undecided', 'no verdict']
#: How a candidate stands against a control.
Standing = Literal['better', 'worse', 'undecided', 'no verdict']
#: What a gain may cost, as results name it.
Cost = Literal['parameters', 'flops', 'step_seconds', 'inference_seconds', 'peak_memory']


@dataclass
class ArmSummary:
    """One arm on one metric of one task.

    Args:
        task (str): Key of the task.
        metric (str): Name of the metric.
        arm (str): Key of the arm.
        mean (float): Mean over the seeds.
        sd (float | None): Standard deviation over the seeds; None with one seed.
        per_seed (dict[int, float]): The metric by seed.
        missing (list[int]): Planned seeds without a finished run.
    """

    task: str
    metric: str
    arm: str
    mean: float
    sd: float | None
    per_seed: dict[int, float]
    missing: list[int] = field(default_factory=list)

    @property
    def num_seeds(self) -> int:
        """Seeds with a finished run."""
        return len(self.per_seed)


@dataclass
class Difference:
    """An arm less a reference on one metric of one task, paired by seed.

    With one seed there is a mean and nothing else: every statistic is None.

    Args:
        task (str): Key of the task.
        metric (str): Name of the metric.
        arm (str): Key of the arm.
        reference (str): Key of the arm that it is compared to.
        primary (bool): Whether the metric is the task's primary one, which alone decides.
        per_seed (dict[int, float]): Difference by seed, of the seeds that both arms finished; with
            folds, each on test images of its own.
        missing (list[int]): Planned seeds that one of them did not finish.
        mean (float): Mean difference, in points of the metric; of all folds alike, where there are
            some.
        low (float | None): Lower end of the 95 per cent interval.
        high (float | None): Upper end.
        standard_error (float | None): Standard error of the mean difference.
        seed_sd (float | None): Standard deviation of the difference over seeds; with folds, that
            over test images is in it.
        test_sd (float | None): Standard deviation of the mean difference that test images add for
            every seed alike (with folds, the part of the whole that they account for); None where
            it is unknown.
        covers (Covers): What the interval takes as random.
        effective_groups (float | None): Number of equally large groups of test images that would
            weigh the same in this metric; None without evidence. Below 8 there is no interval.
        p (float | None): Two-sided p of the t test that belongs to the interval.
        p_holm (float | None): The same, corrected for planned looks and after Holm: on a primary
            metric over all arms and tasks, else over the arms of the task.
        p_sign_flip (float | None): Two-sided exact sign-flip test over the seeds, for this test
            set; not below ``2 / 2 ** num_seeds``. With folds, over their means.
        smallest_effect (float | None): Estimate of the smallest true difference that a study like
            this one finds with 80 per cent power (or the planned one), with the first step of
            Holm's correction.
        smallest_effect_range (tuple[float, float] | None): Its 95 per cent interval.
        rules_out (float | None): Differences beyond this many points, up or down, are rejected at
            5 per cent (two one-sided tests). It shows equivalence where a margin of at least as
            many points was named beforehand.
    """

    task: str
    metric: str
    arm: str
    reference: str
    primary: bool
    per_seed: dict[int, float]
    missing: list[int]
    mean: float
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None
    seed_sd: float | None = None
    test_sd: float | None = None
    covers: Covers = 'seeds'
    effective_groups: float | None = None
    p: float | None = None
    p_holm: float | None = None
    p_sign_flip: float | None = None
    smallest_effect: float | None = None
    smallest_effect_range: tuple[float, float] | None = None
    rules_out: float | None = None

    @property
    def num_seeds(self) -> int:
        """Seeds that both arms finished."""
        return len(self.per_seed)

    @property
    def found(self) -> bool:
        """Whether the corrected test finds a difference at 5 per cent."""
        return self.p_holm is not None and self.p_holm <= 0.05


@dataclass
class CarryOver:
    """Downstream gain over classification gain of one arm, against the baseline.

    Args:
        task (str): Key of the downstream task.
        classification (str): Key of the classification task.
        arm (str): Key of the arm.
        ratio (float | None): Points of the downstream primary metric for each point of
            classification; None where the classification gain is exactly 0.
        low (float | None): Lower end of Fieller's 95 per cent interval; None if it is unbounded.
        high (float | None): Upper end.
        unbounded (bool): The classification gain cannot be told from zero, so that the ratio may
            be anything.
        num_seeds (int): Seeds with both gains.
        correlation (float | None): Correlation of the two gains over seeds (folds), from four on.
            It says something only where a seed's downstream run starts from its classification
            run.
        correlation_low (float | None): Lower end of its 95 per cent interval.
        correlation_high (float | None): Upper end.
    """

    task: str
    classification: str
    arm: str
    ratio: float | None
    low: float | None
    high: float | None
    unbounded: bool
    num_seeds: int
    correlation: float | None = None
    correlation_low: float | None = None
    correlation_high: float | None = None


@dataclass
class Verdict:
    """What the study says of one arm on one task.

    Args:
        task (str): Key of the task.
        arm (str): Key of the arm.
        kind (VerdictKind): ``'gains in both'`` (better than the baseline here and in
            classification), ``'better'`` (here; no classification stage, or no gain found there),
            ``'worse'``, ``'equivalent'`` (within the margin that was named beforehand),
            ``'undecided'``, or ``'no verdict'``.
        sentence (str): The verdict in words, with numbers.
        seeds_needed (SeedsNeeded | None): For ``'undecided'``: seeds that would find the observed
            difference with 80 per cent power (or the planned one), were it the true one.
        against_controls (dict[str, Standing]): For a candidate, by key of each control.
        missing (str | None): For ``'no verdict'``: what it would take, in two or three words.
    """

    task: str
    arm: str
    kind: VerdictKind
    sentence: str
    seeds_needed: SeedsNeeded | None = None
    against_controls: dict[str, Standing] = field(default_factory=dict)
    missing: str | None = None


@dataclass
class Efficiency:
    """What an arm's gain costs, against the baseline.

    Args:
        task (str): Key of the task.
        arm (str): Key of the arm.
        cost (Cost): What it costs more of.
        baseline (float): The baseline's cost, median over seeds.
        value (float): The arm's.
        increase (float): Additional cost in per cent of the baseline's.
        gain (float): Mean difference in the primary metric, in points.
        gain_per_10 (float | None): Points for each 10 per cent of additional cost; None where the
            cost rises by less than 1 per cent.
        low (float | None): Lower end of its 95 per cent interval, the cost taken as known.
        high (float | None): Upper end.
    """

    task: str
    arm: str
    cost: Cost
    baseline: float
    value: float
    increase: float
    gain: float
    gain_per_10: float | None
    low: float | None
    high: float | None


@dataclass
class SplitGroups:
    """How the test images of a task are grouped.

    Args:
        count (int): Number of groups.
        effective (float | None): Number of equally large groups that would weigh the same in the
            primary metric.
        worst_class (str): The class with the fewest effective groups; empty without classes.
        worst_effective (float | None): How many it has.
    """

    count: int
    effective: float | None
    worst_class: str = ''
    worst_effective: float | None = None

    def __str__(self) -> str:
        text = f'{self.count} groups'
        if self.effective is not None:
            text += f', as good as {self.effective:.0f} equal ones'
        if self.worst_class:
            text += f'; of class {self.worst_class}, {self.worst_effective:.1f}'
        return text


@dataclass
class Crossed:
    """One effect of a design that crosses pre-training with fine-tuning.

    Args:
        task (str): Key of the task.
        arm (str): Key of the arm that has the key in both.
        effect (str): What it is the effect of.
        mean (float): Points of the primary metric, mean over seeds.
        low (float | None): Lower end of its 95 per cent interval; None with too few seeds or test
            images.
        high (float | None): Upper end.
        p (float | None): Two-sided p, not corrected.
        num_seeds (int): Seeds that have all four arms.
    """

    task: str
    arm: str
    effect: str
    mean: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    num_seeds: int = 0


@dataclass
class Analysis:
    """The statistics of a study.

    Args:
        study (str): Name of the study.
        baseline (str): Key of the baseline arm.
        controls (list[str]): Keys of the control arms, to which candidates are compared too.
        labels (dict[str, str]): Label of each arm.
        primary (dict[str, str]): Primary metric of each task.
        summaries (list[ArmSummary]): Every arm, task and metric.
        differences (list[Difference]): Every arm against the baseline, and candidates against the
            controls, on every task and metric.
        carry_over (list[CarryOver]): Every downstream task and arm, where there is a
            classification task.
        verdicts (list[Verdict]): Every task and arm but the baseline.
        efficiency (list[Efficiency]): Every task, arm and cost.
        notes (list[str]): How it was computed and what is missing, in sentences for the report.
        test_groups (dict[str, SplitGroups]): Groups of test images, of each task with evidence.
        scored_worst (list[str]): Task, arm, seed and metric of each number that was none and counts
            as 0, the worst.
        good_images (dict[str, int]): Test images without a defect, where a task has any.
        crossed (list[Crossed]): Effects of pre-training and of fine-tuning with a key, where the
            study has the arms for it.
    """

    study: str
    baseline: str
    controls: list[str]
    labels: dict[str, str]
    primary: dict[str, str]
    summaries: list[ArmSummary]
    differences: list[Difference]
    carry_over: list[CarryOver]
    verdicts: list[Verdict]
    efficiency: list[Efficiency]
    notes: list[str]
    test_groups: dict[str, SplitGroups] = field(default_factory=dict)
    scored_worst: list[str] = field(default_factory=list)
    good_images: dict[str, int] = field(default_factory=dict)
    crossed: list[Crossed] = field(default_factory=list)

    def difference(
        self, task: str, arm: str, reference: str | None = None, metric: str | None = None
    ) -> Difference | None:
        """One difference, to the baseline on the primary metric unless stated; None without it."""
        wanted = (task, arm, reference or self.baseline, metric or self.primary[task])
        for d in self.differences:
            if (d.task, d.arm, d.reference, d.metric) == wanted:
                return d
        return None

    def verdict(self, task: str, arm: str) -> Verdict | None:
        """The verdict on one arm and task; None without one."""
        return next((v for v in self.verdicts if (v.task, v.arm) == (task, arm)), None)

    def to_dict(self) -> dict:
        """Everything as plain data that ``json`` writes."""
        return asdict(self)
