"""Thresholds by class, simulated: what each promises, what all give together, what intervals cover.

``python -m tests.test_decide.simulated SETS`` prints the tables of docs/statistics.md.
"""

import sys

import numpy as np
from scipy import stats

from mkbackbones.decide.by_class import Scored, choose_by_class
from mkbackbones.decide.interval import share_of
from mkbackbones.decide.thresholds import Wish

from ..test_study.simulated import NEU_DET

#: Exposures of magnetic tiles, as in test_operating_point.
TILES = [1] * 10 + [2] * 10 + [3] * 8 + [5] * 6 + [6] * 5


def normal_scores(rng, sizes, num_classes, alike, by_group):
    """Scores (n, C) of good images, standard normal each, and the groups of the images.

    Args:
        rng (Generator): Draws.
        sizes (list[int]): Of the groups.
        num_classes (int): C.
        alike (float): Correlation of the scores of two classes in an image.
        by_group (float): Correlation of a class's scores in two images of a group.
    """
    groups = np.repeat(np.arange(len(sizes)), sizes)

    def classes(n):
        shared = rng.standard_normal((n, 1)) * alike**0.5
        return shared + rng.standard_normal((n, num_classes)) * (1 - alike) ** 0.5

    own, of_group = classes(len(groups)), classes(len(sizes))[groups]
    return own * (1 - by_group) ** 0.5 + of_group * by_group**0.5, groups


def any_above(thresholds, alike):
    """Probability that a new good image is above a threshold of any class."""
    if alike == 1:
        return float(stats.norm.sf(min(thresholds)))
    node, weight = np.polynomial.hermite_e.hermegauss(80)
    below = stats.norm.cdf(
        (np.array(thresholds)[:, None] - alike**0.5 * node) / (1 - alike) ** 0.5
    ).prod(0)
    return 1 - float((weight * below).sum() / weight.sum())


def promises(sets, sizes, num_classes, alike, by_group, share, seed=0):
    """Means over validation sets, and coverage of the interval of all classes together.

    Returns:
        tuple: False alarms of a class; of any; how often 95 % intervals hold that on test sets.
    """
    rng = np.random.default_rng(seed)
    names = [f'c{i}' for i in range(num_classes)]
    wishes = dict.fromkeys(names, Wish(max_false_alarms=share))
    of_class, of_any, covered = [], [], []
    for _ in range(sets):
        score, groups = normal_scores(rng, sizes, num_classes, alike, by_group)
        good = np.zeros(len(score), bool)
        scored = Scored(tuple(names), score, np.zeros(score.shape, bool), good, groups)
        chosen = choose_by_class(scored, wishes)
        thresholds = [chosen[name].threshold for name in names]
        of_class.append(stats.norm.sf(thresholds).mean())
        of_any.append(any_above(thresholds, alike))
        test, groups = normal_scores(rng, sizes, num_classes, alike, by_group)
        found = share_of((test > thresholds).any(1), groups)
        covered.append(found.low <= of_any[-1] <= found.high)
    return np.mean(of_class), np.mean(of_any), np.mean(covered)


def recalls(sets, layout, share, by_group, seed=0):
    """How often 95 % intervals of recall hold: by class, and all at once.

    Args:
        sets (int): Data sets.
        layout (dict[str, list[int]]): Sizes of the groups of each class.
        share (float): True recall of each class.
        by_group (float): Correlation of two images of a group.
    """
    rng = np.random.default_rng(seed)
    held = np.zeros((sets, len(layout)), bool)
    for number in range(sets):
        for column, sizes in enumerate(layout.values()):
            own = of_groups(rng, share, by_group, len(sizes))
            groups = np.repeat(np.arange(len(sizes)), sizes)
            found = share_of(rng.random(len(groups)) < own[groups], groups)
            held[number, column] = found.low <= share <= found.high
    return held.mean(0), held.all(1).mean()


def of_groups(rng, share, by_group, number):
    """A share of its own for each group, beta with a correlation of two images of a group."""
    if by_group == 0:
        return np.full(number, share)
    if by_group == 1:
        return (rng.random(number) < share).astype(float)
    strength = 1 / by_group - 1
    return rng.beta(share * strength, (1 - share) * strength, number)


def main(sets):
    print('| classes | scores alike | images of a group alike | of a class | of any | held |')
    for num_classes in (3, 6):
        for alike in (0.0, 0.5, 0.9, 1.0):
            for by_group in (0.0, 0.5):
                found = promises(sets, TILES, num_classes, alike, by_group, 0.02)
                told = ' | '.join(f'{100 * value:.2f}' for value in found)
                print(f'| {num_classes} | {alike:g} | {by_group:g} | {told} |')
    print(f'| true recall | alike | {" | ".join(NEU_DET)} | all at once |')
    for share in (0.8, 0.9, 0.98):
        for by_group in (0.0, 0.3, 0.8):
            each, together = recalls(sets, NEU_DET, share, by_group)
            told = ' | '.join(f'{100 * value:.1f}' for value in [*each, together])
            print(f'| {share:.0%} | {by_group:g} | {told} |')


if __name__ == '__main__':
    main(int(sys.argv[1]))
