"""Simulated studies whose seeds test on group folds, with true differences that are known.

``python -m tests.test_study.simulated_folds [REPEATS [TABLE ...]]`` prints the tables on folds of
docs/statistics.md, with 4000 repeats in about four minutes of one core.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy import stats

from mkbackbones.study.evidence import DetectionEvidence
from mkbackbones.study.prepare.folds import deal
from mkbackbones.study.statistics.folded import folded_mean
from mkbackbones.study.statistics.paired import PairedMean
from mkbackbones.study.statistics.sequential import nominal_level

from .simulated import print_tables

#: How many groups (strips) of each size a class has, in the whole sets.
INCLUSION = {58: 1, 23: 1, 13: 2, 12: 1, 11: 1, 10: 1, 9: 1, 8: 1, 7: 1, 6: 2, 5: 3, 4: 3, 3: 4}
INCLUSION |= {2: 16, 1: 53}
SCRATCHES = {17: 2, 16: 1, 14: 2, 12: 1, 9: 1, 7: 1, 6: 2, 4: 3, 3: 10, 2: 32, 1: 76}
NEU_SEG = {
    'inclusion': INCLUSION,
    'patches': {7: 1, 6: 4, 5: 3, 4: 5, 3: 12, 2: 31, 1: 135},
    'scratches': SCRATCHES,
}
NEU_DET = {
    'crazing': {10: 1, 7: 5, 6: 3, 5: 4, 4: 8, 3: 20, 2: 32, 1: 61},
    'inclusion': INCLUSION,
    'patches': {7: 1, 6: 4, 5: 3, 4: 5, 3: 13, 2: 30, 1: 135},
    'pitted_surface': {
        67: 1, 39: 1, 26: 1, 23: 1, 18: 1, 12: 1, 9: 2, 6: 1, 5: 4, 4: 6, 3: 3, 2: 13, 1: 12,
    },
    'rolled-in_scale': {9: 4, 7: 1, 6: 5, 5: 2, 4: 15, 3: 6, 2: 26, 1: 87},
    'scratches': SCRATCHES,
}  # fmt: skip
SETS = {'NEU-DET': NEU_DET, 'NEU-Seg': NEU_SEG}


@cache
def dealt(name, num_folds):
    """Sizes of the groups, (G,), and what each weighs in a fold's mean over classes, (k, G)."""
    classes, sizes = [], []
    for label, counts in enumerate(SETS[name].values()):
        for size, count in counts.items():
            classes += [label] * count
            sizes += [size] * count
    group = np.repeat(np.arange(len(sizes)), sizes)
    names = [f'{i:05d}' for i in range(len(group))]
    labels = [frozenset([classes[g]]) for g in group]
    weights = np.zeros((num_folds, len(sizes)))
    folds = deal(names, labels, [str(g) for g in group], num_folds, 0.125)
    for fold, splits in enumerate(folds):
        np.add.at(weights[fold], group[splits['test']], 1)
        present = {classes[g] for g in np.flatnonzero(weights[fold])}
        for label in present:
            mine = np.array(classes) == label
            weights[fold, mine] /= weights[fold, mine].sum() * len(present)
    return np.array(sizes), weights


@dataclass(frozen=True)
class FoldedStrips:
    """A study on folds of a set's groups; effects are normal, in points, of single arms.

    Args:
        name (str): The set.
        num_folds (int): Folds k.
        effect (float): True difference.
        arm_group (float): Standard deviation of what an arm is good at, by group.
        arm_image (float): The same by image.
        arm_seed (float): Of what a seed does to an arm.
        arm_seed_image (float): Of what arm and seed do to single images.
        training (float): Of what a training set does to an arm.
        shared (float): Share of the variance of the latter that all training sets have in common.
    """

    name: str
    num_folds: int = 5
    effect: float = 0.0
    arm_group: float = 8.0
    arm_image: float = 8.0
    arm_seed: float = 1.0
    arm_seed_image: float = 8.0
    training: float = 0.0
    shared: float = 0.0

    @property
    def v_images(self):
        """Variance that the draw of the images gives to a run's difference, by fold, (k,)."""
        sizes, weights = dealt(self.name, self.num_folds)
        return weights**2 @ (2 * (self.arm_group**2 + self.arm_image**2 / sizes))

    def differences(self, num_seeds, repeats, rng):
        """Difference of each seed, (repeats, n)."""
        sizes, weights = dealt(self.name, self.num_folds)
        fold = np.arange(num_seeds) % self.num_folds
        images = rng.normal(0, np.sqrt(self.v_images), (repeats, self.num_folds))
        common = np.sqrt(self.shared) * rng.normal(0, 1, (repeats, 1))
        own = np.sqrt(1 - self.shared) * rng.normal(0, 1, images.shape)
        training = np.sqrt(2) * self.training * (common + own)
        v_seed = 2 * self.arm_seed**2 + weights**2 @ (2 * self.arm_seed_image**2 / sizes)
        seeds = np.sqrt(v_seed[fold]) * rng.normal(0, 1, (repeats, num_seeds))
        return self.effect + (images + training)[:, fold] + seeds


def by_fold(values, num_folds):
    """Differences of the seeds of each fold that was tested."""
    return [values[fold::num_folds] for fold in range(min(num_folds, len(values)))]


def coverage_of_folds(strips, num_seeds, repeats, seed=0):
    """Shares of intervals that cover: ours, Student's t over seeds, and one with known images.

    The last one is the best that could be had from seeds within folds: their spread, and the true
    variance that the images give to a mean over folds.
    """
    rng, k, n = np.random.default_rng(seed), strips.num_folds, num_seeds
    counts = dict.fromkeys(('folds', 'seeds', 'images known'), 0.0)
    width = 0.0
    for values in strips.differences(n, repeats, rng):
        parts = by_fold(values, k)
        low, high = folded_mean(parts, k).interval()
        counts['folds'] += low <= strips.effect <= high
        width += high - low
        half = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)
        counts['seeds'] += abs(values.mean() - strips.effect) <= half
        if n >= 2 * k:
            within = sum(((part - part.mean()) ** 2).sum() for part in parts) / (n - k)
            se = np.sqrt(within / n + strips.v_images.sum() / k**2)
            half = stats.t.ppf(0.975, n - k) * se
            counts['images known'] += abs(values.mean() - strips.effect) <= half
    if n < 2 * k:
        counts['images known'] = np.nan
    return {name: count / repeats for name, count in counts.items()} | {'width': width / repeats}


def shares_of_folded_looks(strips, looks, repeats, seed=0, margin=None):
    """False positives, coverage and seeds used of studies that stop at the look that decides."""
    rng, k = np.random.default_rng(seed), strips.num_folds
    level, wide = (nominal_level(alpha, looks) for alpha in (0.05, 0.1))
    counts = dict.fromkeys(('found', 'covered', 'seeds', 'equivalent'), 0.0)
    for values in strips.differences(looks[-1], repeats, rng):
        for n in looks:
            estimate = folded_mean(by_fold(values[:n], k), k)
            low, high = estimate.interval(level)
            found = low > 0 or high < 0
            inner = max(abs(end) for end in estimate.interval(wide))
            equivalent = not found and margin is not None and inner <= margin
            if found or equivalent or n == looks[-1]:
                counts['found'] += found
                counts['equivalent'] += equivalent
                counts['covered'] += low <= strips.effect <= high
                counts['seeds'] += n
                break
    return {name: count / repeats for name, count in counts.items()}


WORLDS = {
    'groups and images': {},
    'seeds': dict(arm_group=0.0, arm_image=0.0, arm_seed=3.0),
    'both': dict(arm_group=3.0, arm_image=3.0, arm_seed=3.0),
}
TRAINING = {'none': {}, 'own': dict(training=1.0), 'shared': dict(training=1.0, shared=0.75)}


def table_of_rounds(repeats):
    for name in SETS:
        for k in (5, 10):
            for kind, changes in WORLDS.items():
                strips = FoldedStrips(name, k, **changes)
                for n in (3, 5, 7, 10, 15, 20):
                    found = coverage_of_folds(strips, n, repeats)
                    shares = (found['folds'], found['seeds'], found['images known'])
                    cells = ' | '.join('' if np.isnan(s) else f'{100 * s:.1f}' for s in shares)
                    print(f'| {name} | {k} | {kind} | {n} | {cells} |', flush=True)


def coverage_of_one_split(strips, num_seeds, repeats, seed=0):
    """The same effects where all seeds test on the first fold, whose part is known, and share a
    training set."""
    rng, n = np.random.default_rng(seed), num_seeds
    alike = replace(strips, shared=1.0)
    images = float(strips.v_images[0])
    covered = 0
    for values in alike.differences(strips.num_folds * n, repeats, rng):
        values = values[:: strips.num_folds]
        v_seed = values.var(ddof=1) / n
        estimate = PairedMean(values.mean(), n, v_seed, images)
        low, high = estimate.interval()
        covered += low <= strips.effect <= high
    return covered / repeats


def table_of_training(repeats):
    for kind, changes in WORLDS.items():
        for training, more in TRAINING.items():
            cells = []
            for n in (5, 10, 20):
                strips = FoldedStrips('NEU-DET', 5, **changes, **more)
                found = coverage_of_folds(strips, n, repeats)
                cells.append(f'{100 * found["folds"]:.1f}')
            cells.append(f'{100 * coverage_of_one_split(strips, 10, repeats):.1f}')
            print(f'| {kind} | {training} | {" | ".join(cells)} |', flush=True)


def table_of_folded_looks(repeats):
    for name in SETS:
        for k, looks in ((5, (5, 10, 15, 20)), (10, (5, 10, 15, 20)), (10, (5, 10))):
            for kind, changes in WORLDS.items():
                strips = FoldedStrips(name, k, **changes)
                null = shares_of_folded_looks(strips, looks, repeats)
                cells = f'{100 * null["found"]:.1f} | {100 * null["covered"]:.1f}'
                told = ', '.join(map(str, looks))
                print(f'| {name} | {k} | {told} | {kind} | {cells} |', flush=True)


def table_of_gain(repeats):
    """Effect that is found in four of five studies, by number of folds; one split is a fold."""
    for name in SETS:
        for kind, changes in WORLDS.items():
            for n in (5, 10, 20):
                cells = []
                strips = FoldedStrips(name, 5, **changes)
                sizes, weights = dealt(name, 5)
                v_seed = 2 * strips.arm_seed**2
                v_seed += float((weights**2 @ (2 * strips.arm_seed_image**2 / sizes)).mean())
                one = PairedMean(0.0, n, v_seed / n, float(strips.v_images.mean()), 20)
                cells.append(f'{one.smallest_effect():.1f}')
                for k in (5, 10):
                    strips = replace(strips, num_folds=k)
                    cells.append(f'{found_in_four_of_five(strips, n, repeats):.1f}')
                print(f'| {name} | {kind} | {n} | {" | ".join(cells)} |', flush=True)


def found_in_four_of_five(strips, num_seeds, repeats):
    """True difference that is found with 80 per cent power, from simulated studies."""
    rng, k = np.random.default_rng(0), strips.num_folds
    ends = np.array(
        [
            (estimate.mean, estimate.critical(0.05) * estimate.standard_error)
            for values in strips.differences(num_seeds, repeats, rng)
            for estimate in [folded_mean(by_fold(values, k), k)]
        ]
    )
    # A study with the difference e finds it where mean + e exceeds the half width.
    return float(np.quantile(ends[:, 1] - ends[:, 0], 0.8))


def folded_detections(rng, num_folds=5, num_images=120):
    """What a network of each fold finds in its images: objects, image, score, hits."""
    found = []
    for _ in range(num_folds):
        truths = rng.integers(1, 4, num_images)
        image = np.repeat(np.arange(num_images), 2 * truths)
        real = np.concatenate([np.arange(2 * t) < t for t in truths])
        quality = 1 + rng.normal(0, 0.6, num_images)[image] + rng.normal(0, 0.7, len(image))
        score = stats.norm.cdf(quality - np.where(real, 0, 2) + rng.normal(0, 1, len(image)))
        hit = real[:, None] & (quality[:, None] > np.linspace(0, 3, 10))
        found.append((truths, image, score, hit))
    return found


def average_precision(truths, image, score, hit):
    names, n = [str(i) for i in range(len(truths))], len(truths)
    evidence = DetectionEvidence(
        names, names, image, np.zeros(len(image), int), score, hit, np.zeros_like(hit),
        truths[:, None], np.zeros(n), truths > 0,
    )  # fmt: skip
    return evidence.metrics(['a'])['AP']


def pooled_and_mean(rng, spread):
    """AP of all folds at once, and the mean of theirs, where networks are scaled differently.

    The scores of a network are raised to a power of its own: within its fold nothing changes.
    """
    folds = folded_detections(rng)
    scales = np.exp(rng.normal(0, spread, len(folds)))
    folds = [(t, i, s**scale, h) for (t, i, s, h), scale in zip(folds, scales)]
    mean = np.mean([average_precision(*fold) for fold in folds])
    first = np.cumsum([0, *(len(truths) for truths, *_ in folds)])
    shifted = [(t, i + start, s, h) for (t, i, s, h), start in zip(folds, first)]
    return average_precision(*map(np.concatenate, zip(*shifted))), mean


def table_of_pooling(repeats):
    for spread in (0.0, 0.25, 0.5, 1.0):
        rng = np.random.default_rng(0)
        found = [pooled_and_mean(rng, spread) for _ in range(max(1, repeats // 40))]
        pooled, mean = np.mean(found, 0)
        print(f'| {spread:g} | {mean:.1f} | {pooled:.1f} |', flush=True)


if __name__ == '__main__':
    tables = (
        table_of_rounds,
        table_of_training,
        table_of_folded_looks,
        table_of_gain,
        table_of_pooling,
    )
    print_tables(tables, 4000)
