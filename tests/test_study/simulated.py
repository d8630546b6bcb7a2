"""Simulated studies whose true differences are known.

An image is classified correctly if a latent score is positive: skill of the arm, plus normal
effects of the seed, of the arm and seed, of the image group and the image (hard or easy for all),
of the arm and group (what one arm is good at, with every seed), and of arm, seed, group and image.
The expected accuracy, over seeds and test images, is a normal probability.

``python -m tests.test_study.simulated [REPEATS [TABLE ...]]`` prints the tables of
docs/statistics.md, with 1000 repeats in about half an hour of one core.
"""

import sys
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from mkbackbones.study.evidence import (
    ClassificationEvidence,
    DetectionEvidence,
    SegmentationEvidence,
)
from mkbackbones.study.records.results import ArmInfo, RunResult, StudyInfo, StudyResults, TaskInfo
from mkbackbones.study.statistics import analyse_evidence
from mkbackbones.study.statistics.jackknife import image_groups
from mkbackbones.study.statistics.paired import PairedMean, paired_mean
from mkbackbones.study.statistics.sequential import nominal_level

NUM_RESAMPLES = 300  # of the bootstraps that others might have taken

#: Sizes of the groups of test images (strips), by class, of the shipped splits.
NEU_DET = {
    'crazing': [7, 6, 5, 4, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2] + [1] * 11,
    'inclusion': [13, 13, 8, 5, 4, 2, 2, 2] + [1] * 11,
    'patches': [6, 5, 4, 3, 3, 2, 2, 2, 2, 2, 2] + [1] * 27,
    'pitted_surface': [39, 6, 4, 4, 2, 2] + [1] * 3,
    'rolled-in_scale': [9, 6, 5, 4, 4, 3, 3, 2, 2, 2, 2] + [1] * 18,
    'scratches': [16, 9, 3, 3, 3, 2, 2, 2, 2, 2, 2] + [1] * 14,
}
NEU_SEG = {name: NEU_DET[name] for name in ('inclusion', 'patches', 'scratches')}


@dataclass(frozen=True)
class World:
    """Standard deviations of the effects, sizes, and what the candidates are worth.

    Args:
        name (str): For tables.
        effects (tuple): Latent skill of each arm above the baseline's.
        downstream (tuple | None): The same on a second task, whose networks are those of the first.
    """

    name: str
    effects: tuple = (0.0,)
    downstream: tuple | None = None
    num_seeds: int = 5
    num_images: int = 360
    num_groups: int = 150
    skill: float = 1.2
    seed: float = 0.1
    arm_seed: float = 0.1
    group: float = 0.6
    image: float = 0.5
    arm_group: float = 0.0
    arm_seed_group: float = 0.2
    arm_seed_image: float = 0.3

    def truth(self, effect: float) -> float:
        """Expected difference in accuracy, in points."""
        names = 'seed arm_seed group image arm_group arm_seed_group arm_seed_image'
        scale = np.sqrt(sum(getattr(self, name) ** 2 for name in names.split()))
        higher, lower = stats.norm.cdf([(self.skill + effect) / scale, self.skill / scale])
        return 100 * float(higher - lower)


SEEDS = World('seeds differ, images alike for both arms', arm_seed=0.08)
BOTH = World('seeds and image groups differ', arm_seed=0.05, arm_group=0.2)
IMAGES = World('image groups differ, seeds hardly', arm_seed=0.01, arm_group=0.4)


def arms_of(world):
    keys = ['stock', *(f'arm{i}' for i in range(len(world.effects)))]
    return {k: ArmInfo(k, 'candidate' if i else 'baseline') for i, k in enumerate(keys)}


def run_of(task, arm, seed, metrics, **settings):
    facts = dict(best_iteration=1, lr=1e-4, parameters=100, flops=100, step_seconds=1.0)
    facts |= dict(train_seconds=1.0, inference_seconds=1.0) | settings
    return RunResult(task, arm, seed, metrics, [], [], **facts)


def simulate(world, rng):
    """A study with its evidence: ``analyse_evidence(*simulate(...))``."""
    arms = arms_of(world)
    networks = rng.normal(0, world.arm_seed, (len(arms), world.num_seeds))
    tasks = {'classification': world.effects}
    if world.downstream is not None:
        tasks['downstream'] = world.downstream
    infos, runs, evidence = {}, [], {}
    for task, effects in tasks.items():
        kind = 'classification' if task == 'classification' else 'detection'
        infos[task] = TaskInfo(kind, 'top1', ['a', 'b'])
        evidence[task] = evidence_of(world, rng, list(arms), effects, networks)
        runs += [run_of(task, *key, e.metrics(['a', 'b'])) for key, e in evidence[task].items()]
    info = StudyInfo(world.name, '?', arms, infos, list(range(world.num_seeds)))
    return StudyResults(info, runs), evidence


def evidence_of(world, rng, arms, effects, networks):
    """Evidence of every arm and seed on one new test split."""
    n, g, s = world.num_images, world.num_groups, world.num_seeds
    group = np.r_[np.arange(g), rng.integers(0, g, n - g)]
    shape = (len(arms), s)
    latent = world.skill + np.array([0.0, *effects])[:, None, None] + networks[..., None]
    latent = latent + rng.normal(0, world.seed, (1, s, 1))
    latent = latent + rng.normal(0, world.group, g)[group] + rng.normal(0, world.image, n)
    latent = latent + rng.normal(0, world.arm_group, (len(arms), 1, g))[..., group]
    latent = latent + rng.normal(0, world.arm_seed_group, (*shape, g))[..., group]
    latent = latent + rng.normal(0, world.arm_seed_image, (*shape, n))
    images, groups = [str(i) for i in range(n)], [str(i) for i in group]
    labels = np.zeros(n, dtype=int)
    evidence = {}
    for a, arm in enumerate(arms):
        for seed in range(s):
            right = (latent[a, seed] > 0).astype(float)
            scores = np.stack([right, 1 - right], 1)
            evidence[arm, seed] = ClassificationEvidence(images, groups, labels, scores)
    return evidence


def contrast(results, evidence):
    """Intervals that others might have taken, for the first arm on the first task."""
    first = next(iter(evidence.values()))
    seeds = results.info.seeds
    right = {
        key: np.stack([(first[key, s].scores[:, 0] > 0.5).astype(float) for s in seeds])
        for key in ('stock', 'arm0')
    }
    by_image = 100 * (right['arm0'] - right['stock'])  # (n, images)
    d, n = by_image.mean(1), len(seeds)
    rng = np.random.default_rng(0)
    intervals = {}
    half = stats.t.ppf(0.975, n - 1) * d.std(ddof=1) / np.sqrt(n)
    intervals['seeds only'] = (d.mean() - half, d.mean() + half)
    groups = np.unique(first['stock', 0].groups, return_inverse=True)[1]
    for name, group in (('images only', np.arange(len(groups))), ('groups only', groups)):
        g = group.max() + 1
        weights = rng.multinomial(g, np.full(g, 1 / g), NUM_RESAMPLES)[:, group]
        samples = by_image @ weights.T / weights.sum(1)  # (n, resamples)
        intervals[name] = tuple(np.quantile(samples.mean(0), [0.025, 0.975]))
        if name == 'groups only':
            picks = rng.integers(0, n, (NUM_RESAMPLES, n))
            crossed = samples[picks, np.arange(NUM_RESAMPLES)[:, None]].mean(1)
            intervals['seeds x groups'] = tuple(np.quantile(crossed, [0.025, 0.975]))
    return intervals


def simulate_detection(rng, num_seeds=5, num_images=120, num_groups=50):
    """A study of two equal detectors, measured by AP: a metric that is no mean over images."""
    group = np.r_[np.arange(num_groups), rng.integers(0, num_groups, num_images - num_groups)]
    truths = rng.integers(1, 4, num_images)
    hardness = rng.normal(0, 0.6, num_groups)[group] + rng.normal(0, 0.5, num_images)
    images, groups = [str(i) for i in range(num_images)], [str(i) for i in group]
    evidence, runs = {}, []
    arms = {'stock': ArmInfo('stock', 'baseline'), 'arm0': ArmInfo('arm0')}
    for arm in arms:
        taste = rng.normal(0, 0.4, num_groups)[group]
        for seed in range(num_seeds):
            skill = 1 + rng.normal(0, 0.15) + hardness + taste
            image = np.repeat(np.arange(num_images), 2 * truths)
            real = np.concatenate([np.arange(2 * t) < t for t in truths])
            quality = skill[image] + rng.normal(0, 0.7, len(image))
            score = stats.norm.cdf(quality - np.where(real, 0, 2) + rng.normal(0, 1, len(image)))
            hit = real[:, None] & (quality[:, None] > np.linspace(0, 3, 10))
            top = np.zeros(num_images)
            np.maximum.at(top, image, score)
            evidence[arm, seed] = DetectionEvidence(
                images, groups, image, np.zeros(len(image), int), score, hit,
                np.zeros_like(hit), truths[:, None], top, truths > 0,
            )  # fmt: skip
            runs.append(run_of('det', arm, seed, evidence[arm, seed].metrics(['a'])))
    info = StudyInfo('AP', '?', arms, {'det': TaskInfo('detection', 'AP', ['a'])}, [*range(5)])
    info.seeds = list(range(num_seeds))
    return StudyResults(info, runs), {'det': evidence}


@dataclass(frozen=True)
class Strips:
    """A study on groups of the sizes that a data set has, with its classes.

    The share of an image that is segmented correctly is a mean plus normal effects, and ``mAcc``
    is the mean over classes, so that the true difference and the true variance are known.

    Args:
        layout (dict): Sizes of the groups by class.
        effect (float): What the candidate is worth, in points.
        arm_seed (float): Standard deviation of what a seed does to an arm, in points.
        arm_group (float): Of what an arm is good at, with every seed.
        arm_seed_image (float): Of what arm and seed do to single images.
        num_arms (int): Candidates.
    """

    layout: dict
    num_seeds: int = 5
    effect: float = 0.0
    arm_seed: float = 1.0
    arm_group: float = 8.0
    arm_image: float = 8.0
    arm_seed_image: float = 8.0
    num_arms: int = 1

    @property
    def v_test(self):
        """True variance that the draw of test images gives to a difference, with every seed."""
        found = 0.0
        for sizes in self.layout.values():
            w = np.array(sizes) / sum(sizes)
            found += 2 * (self.arm_group**2 * (w**2).sum() + self.arm_image**2 / sum(sizes))
        return found / len(self.layout) ** 2

    @property
    def v_seed(self):
        """True variance of a difference over seeds, of one seed, for given test images."""
        images = sum(1 / sum(sizes) for sizes in self.layout.values()) / len(self.layout) ** 2
        return 2 * (self.arm_seed**2 + self.arm_seed_image**2 * images)

    def simulate(self, rng):
        classes = list(self.layout)
        label = np.repeat(np.arange(len(classes)), [sum(v) for v in self.layout.values()])
        sizes = [size for v in self.layout.values() for size in v]
        group = np.repeat(np.arange(len(sizes)), sizes)
        n, g = len(group), len(sizes)
        shared = 60 + rng.normal(0, 8, g)[group] + rng.normal(0, 5, n)
        keys = ['stock', *(f'arm{i}' for i in range(self.num_arms))]
        evidence, runs = {}, []
        images, groups = [str(i) for i in range(n)], [str(i) for i in group]
        for key in keys:
            taste = rng.normal(0, self.arm_group, g)[group] + rng.normal(0, self.arm_image, n)
            for seed in range(self.num_seeds):
                own = rng.normal(0, self.arm_seed) + rng.normal(0, self.arm_seed_image, n)
                right = shared + taste + own + self.effect * (key == 'arm0')
                counts = np.clip(np.rint(1000 * right), 0, 100_000).astype(np.int64)
                confusion = np.zeros((n, len(classes), len(classes)), dtype=np.int64)
                confusion[np.arange(n), label, (label + 1) % len(classes)] = 100_000 - counts
                confusion[np.arange(n), label, label] = counts
                found = SegmentationEvidence(
                    images, groups, confusion, np.zeros(n), np.ones(n, dtype=bool)
                )
                evidence[key, seed] = found
                runs.append(run_of('seg', key, seed, found.metrics(classes)))
        arms = {key: ArmInfo(key, 'candidate' if i else 'baseline') for i, key in enumerate(keys)}
        task = TaskInfo('segmentation', 'mAcc', classes)
        info = StudyInfo('strips', '?', arms, {'seg': task}, list(range(self.num_seeds)))
        return StudyResults(info, runs), {'seg': evidence}


def coverage_of_strips(strips, repeats, seed=0, margin=None):
    """Shares over simulated studies on the groups of a data set, and v_test over its true value."""
    rng = np.random.default_rng(seed)
    found = [
        analyse_evidence(*strips.simulate(rng)).difference('seg', 'arm0') for _ in range(repeats)
    ]
    shares = {
        'covered': np.mean([d.low <= strips.effect <= d.high for d in found]),
        'v_test': np.mean([d.test_sd**2 for d in found]) / (strips.v_test or np.nan),
    }
    if margin is not None:
        shares['equivalent'] = np.mean([d.rules_out < margin for d in found])
    return shares


def differences_of_strips(strips, rng):
    """Differences of every seed and what each group does to them, without evidence.

    The same normal effects as :meth:`Strips.simulate`, by group: fast enough for many looks.
    """
    n, values, influence = strips.num_seeds, 0.0, []
    for sizes in strips.layout.values():
        size = np.array(sizes)
        share = size / size.sum()
        taste = np.sqrt(2 * (strips.arm_group**2 + strips.arm_image**2 / size)) * rng.normal(
            0, 1, len(size)
        )
        own = np.sqrt(2 / size) * strips.arm_seed_image * rng.normal(0, 1, (n, len(size)))
        group = taste + own
        mean = group @ share
        values = values + mean / len(strips.layout)
        change = share / (1 - share) * (mean[:, None] - group)
        influence.append(change / len(strips.layout))
    values = values + strips.effect + np.sqrt(2) * strips.arm_seed * rng.normal(0, 1, n)
    return values, np.concatenate(influence, axis=1)


def groups_of_layout(layout):
    """How the groups of a layout weigh in the mean over its classes."""
    weights = np.zeros((sum(len(v) for v in layout.values()), len(layout)))
    first = 0
    for column, sizes in enumerate(layout.values()):
        weights[first : first + len(sizes), column] = sizes
        first += len(sizes)
    index = np.arange(len(weights))
    return image_groups(index, index, weights)


def shares_of_looks(strips, looks, repeats, seed=0, margin=None, planned=True):
    """Studies that stop at the look that decides: what they say then.

    Args:
        strips (Strips): With as many seeds as the last look has.
        looks (tuple): Seeds at each look.
        margin (float | None): Of equivalence.
        planned (bool): Whether the level is that for these looks; else it is 5 per cent at each.
    """
    rng, groups = np.random.default_rng(seed), groups_of_layout(strips.layout)
    level, wide = (nominal_level(a, looks if planned else ()) for a in (0.05, 0.1))
    counts = dict.fromkeys(('found', 'equivalent', 'covered', 'seeds', 'v_test'), 0.0)
    for _ in range(repeats):
        values, influence = differences_of_strips(strips, rng)
        for n in looks:
            estimate = paired_mean(values[:n], influence[:n] * groups.scale, groups.df)
            low, high = estimate.interval(level)
            found = low > 0 or high < 0
            inner = max(abs(end) for end in estimate.interval(wide))
            equivalent = not found and margin is not None and inner <= margin
            if found or equivalent or n == looks[-1]:
                counts['found'] += found
                counts['equivalent'] += equivalent
                counts['covered'] += low <= strips.effect <= high
                counts['seeds'] += n
                counts['v_test'] += estimate.v_test / (strips.v_test or 1)
                break
    return {name: value / repeats for name, value in counts.items()}


def coverage(world, repeats, seed=0, contrasts=False):
    """Shares over simulated studies: coverage, family-wise findings, verdicts, power, width."""
    rng = np.random.default_rng(seed)
    counts, widths, smallest = {}, [], []

    def count(name, value):
        counts[name] = counts.get(name, 0) + bool(value)

    for _ in range(repeats):
        study = simulate(world, rng)
        analysis = analyse_evidence(*study)
        found = [
            analysis.difference('classification', f'arm{i}') for i in range(len(world.effects))
        ]
        truth = [world.truth(effect) for effect in world.effects]
        count('covered', found[0].low <= truth[0] <= found[0].high)
        nulls = [d for d, effect in zip(found, world.effects) if effect == 0]
        count('false, any arm', any(d.found for d in nulls))
        count('found, arm 0', found[0].found)
        widths.append(found[0].high - found[0].low)
        smallest.append(found[0].smallest_effect)
        if contrasts:
            for name, (low, high) in contrast(*study).items():
                count(name, low <= truth[0] <= high)
        if world.downstream is not None:
            kind = analysis.verdict('downstream', 'arm0').kind
            both = [found[0], analysis.difference('downstream', 'arm0')]
            real = zip(both, (world.effects[0], world.downstream[0]))
            count('false, any task', any(d.found for d, effect in real if effect == 0))
            count(f'verdict: {kind}', True)
            ratio = analysis.carry_over[0]
            real = world.truth(world.downstream[0]) / truth[0] if truth[0] else np.nan
            count('ratio unbounded', ratio.unbounded)
            count('ratio covered', ratio.unbounded or ratio.low <= real <= ratio.high)
    shares = {name: value / repeats for name, value in counts.items()}
    return shares | {'width': float(np.mean(widths)), 'smallest effect': float(np.median(smallest))}


def print_row(label, shares, columns):
    cells = [
        f'{100 * shares.get(c, 0):.1f}' if c[0] != '=' else f'{shares[c[1:]]:.1f}' for c in columns
    ]
    print(f'| {label} | ' + ' | '.join(cells) + ' |', flush=True)


def coverage_of_critical_values(num_seeds, share, draws, rng):
    """Coverage if both parts are normal, by the share of the test images in the variance."""
    hits = 0
    for _ in range(draws):
        v_seed = (1 - share) * rng.chisquare(num_seeds - 1) / (num_seeds - 1)
        v_test = share * rng.chisquare(149) / 149
        low, high = PairedMean(rng.normal(), num_seeds, v_seed, v_test, 149).interval()
        hits += low <= 0 <= high
    return hits / draws


def table_of_critical_values(repeats):
    rng, shares = np.random.default_rng(0), (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)
    for n in (2, 3, 5, 8, 10):
        found = {s: coverage_of_critical_values(n, s, 20 * repeats, rng) for s in shares}
        cells = ' | '.join(f'{100 * value:.1f}' for value in found.values())
        print(f'| {n} | {cells} |', flush=True)


def table_of_intervals(repeats):
    columns = ['covered', 'seeds only', 'images only', 'groups only', 'seeds x groups', '=width']
    for n in (3, 5, 10):
        for world in (SEEDS, BOTH, IMAGES):
            shares = coverage(replace(world, num_seeds=n), repeats, contrasts=True)
            print_row(f'{world.name} | {n}', shares, columns)


def table_of_arms(repeats):
    columns = ['covered', 'false, any arm', 'found, arm 0', '=smallest effect']
    for effects in ((0.0, 0.0, 0.0), (0.15, 0.0, 0.0), (0.3, 0.0, 0.0)):
        for n in (3, 5, 10):
            world = replace(BOTH, num_seeds=n, effects=effects)
            label = f'{world.truth(effects[0]):.1f}, 0, 0 | {n}'
            print_row(label, coverage(world, repeats), columns)


def table_of_verdicts(repeats):
    kinds = ['gains in both', 'better', 'undecided', 'worse']
    columns = ['ratio covered', 'ratio unbounded', 'false, any task']
    columns += [f'verdict: {kind}' for kind in kinds]
    pairs = ((0.0, 0.0), (0.3, 0.0), (0.3, 0.15), (0.3, 0.3), (0.3, -0.3), (0.0, 0.3))
    for first, second in pairs:
        for n in (3, 5, 10):
            world = replace(BOTH, num_seeds=n, effects=(first,), downstream=(second,))
            label = f'{world.truth(first):.1f} | {world.truth(second):.1f} | {n}'
            print_row(label, coverage(world, repeats), columns)


def table_of_detection(repeats):
    rng = np.random.default_rng(0)
    for n in (3, 5):
        hits = 0
        for _ in range(repeats):
            study = simulate_detection(rng, n)
            found = analyse_evidence(*study).difference('det', 'arm0')
            hits += found.low <= 0 <= found.high
        print_row(f'AP of two equal detectors | {n}', {'covered': hits / repeats}, ['covered'])


def table_of_strips(repeats):
    for name, layout in (('NEU-DET', NEU_DET), ('NEU-Seg', NEU_SEG)):
        for kind, image in (('groups', 0.0), ('groups and images', 8.0)):
            for n in (3, 5, 10):
                strips = Strips(layout, num_seeds=n, arm_image=image)
                null = shares_of_looks(strips, (n,), repeats)
                edge = replace(strips, effect=2 * np.sqrt(strips.v_test + strips.v_seed / n))
                error = shares_of_looks(edge, (n,), repeats, 1, edge.effect)
                cells = f'{100 * null["covered"]:.1f} | {null["v_test"]:.2f}'
                print(
                    f'| {name} | {kind} | {n} | {cells} | {100 * error["equivalent"]:.1f} |',
                    flush=True,
                )


def bootstrap_variance(strips, rng, draws=300):
    """v_test as a bootstrap of all groups with the factor g / (g - 1) has it, for contrast."""
    n, means, sizes = strips.num_seeds, [], []
    for layout in strips.layout.values():
        size = np.array(layout)
        taste = np.sqrt(2 * (strips.arm_group**2 + strips.arm_image**2 / size))
        own = np.sqrt(2 / size) * strips.arm_seed_image * rng.normal(0, 1, (n, len(size)))
        means.append(taste * rng.normal(0, 1, len(size)) + own)
        sizes.append(size)
    g = sum(map(len, sizes))
    weights = np.split(
        rng.multinomial(g, np.full(g, 1 / g), draws), np.cumsum([len(s) for s in sizes])[:-1], 1
    )
    with np.errstate(invalid='ignore'):  # a draw without a class, which then leaves the mean
        parts = [m @ (w * s).T / (w @ s) for m, w, s in zip(means, weights, sizes)]
    samples = np.nanmean(parts, 0)  # (n, draws)
    resampled = g / (g - 1) * samples.var(1, ddof=1).mean()
    of_mean = g / (g - 1) * samples.mean(0).var(ddof=1)
    return max(0.0, of_mean - (resampled - of_mean) / (n - 1))


def table_of_bootstrap(repeats):
    rng = np.random.default_rng(0)
    for name, layout in (('NEU-DET', NEU_DET), ('NEU-Seg', NEU_SEG)):
        for kind, image in (('groups', 0.0), ('groups and images', 8.0)):
            strips = Strips(layout, arm_image=image)
            found = np.mean([bootstrap_variance(strips, rng) for _ in range(repeats)])
            print(f'| {name} | {kind} | {found / strips.v_test:.2f} |', flush=True)


def table_of_looks(repeats):
    looks = (5, 10, 15, 20)
    for name, layout in (('NEU-DET', NEU_DET), ('NEU-Seg', NEU_SEG)):
        for kind, changes in (
            ('seeds', dict(arm_seed=3.0, arm_group=0.0, arm_image=0.0)),
            ('both', dict(arm_seed=3.0, arm_group=3.0, arm_image=3.0)),
            ('groups', dict(arm_seed=0.5, arm_group=8.0, arm_image=8.0)),
        ):
            strips = Strips(layout, num_seeds=looks[-1], **changes)
            width = np.sqrt(strips.v_test + strips.v_seed / looks[-1])
            null = shares_of_looks(strips, looks, repeats)
            naive = shares_of_looks(strips, looks, repeats, planned=False)
            real = replace(strips, effect=3 * width)
            gain = shares_of_looks(real, looks, repeats, seed=1)
            edge = shares_of_looks(real, looks, repeats, 2, real.effect)
            cells = (
                null['found'], naive['found'], null['covered'], gain['covered'], gain['found'],
                edge['equivalent'],
            )  # fmt: skip
            text = ' | '.join(f'{100 * value:.1f}' for value in cells)
            print(f'| {name} | {kind} | {text} | {gain["seeds"]:.1f} |', flush=True)


def print_tables(tables, repeats):
    """Print the tables that the command line names, or all: ``[REPEATS [TABLE ...]]``."""
    for index in sys.argv[2:] or range(len(tables)):
        tables[int(index)](int(sys.argv[1]) if len(sys.argv) > 1 else repeats)


if __name__ == '__main__':
    tables = (
        table_of_intervals,
        table_of_arms,
        table_of_verdicts,
        table_of_detection,
        table_of_critical_values,
        table_of_strips,
        table_of_looks,
        table_of_bootstrap,
    )
    print_tables(tables, 1000)
