"""What a threshold gives, in words."""

from __future__ import annotations

import math

from .by_class import ByClass, ClassOutcome, ClassPoint, most_in_all
from .interval import Share
from .looked import Looked
from .operating_point import OperatingPoint
from .thresholds import Outcome, Wish

__all__ = [
    'by_class_notes',
    'class_rows',
    'described',
    'doubt_of_groups',
    'limit_words',
    'share_words',
    'tile_words',
    'told_lines',
    'words',
]


def words(share: Share | None) -> str:
    """A share with its counts and interval."""
    if share is None:
        return 'there are none'
    return (
        f'{share.hits} of {share.images} ({share.value:.1%}; 95 % interval {share.low:.1%} to '
        f'{share.high:.1%}, {share.groups} groups)'
    )


def described(outcome: Outcome) -> list[tuple[str, str]]:
    """An outcome as rows of a table."""
    return [
        ('defective images with an alarm', words(outcome.recall)),
        ('good images with an alarm', words(outcome.false_alarms)),
    ]


def class_rows(outcome: ClassOutcome, name: str) -> list[tuple[str, str]]:
    """An outcome of a class as rows of a table."""
    return [
        (f'images with {name} and an alarm for it', words(outcome.recall)),
        ('good images with an alarm for it', words(outcome.false_alarms)),
        ('images of other classes alone with an alarm for it', words(outcome.others)),
    ]


def doubt_of_groups(looked: Looked, wish: Wish) -> str:
    """What to say where images are many and the groups that they are of are few; or nothing."""
    which = ~looked.defective if wish.kind == 'good' else looked.defective
    groups = len(set(looked.groups[which].tolist()))
    if groups >= wish.fewest:
        return ''
    return (
        f'the {int(which.sum())} {wish.kind} validation images are of {groups} groups, and images '
        f'of a group resemble each other: for new ones it takes {wish.fewest} groups to tell, so '
        'believe the intervals'
    )


def class_doubt(looked: Looked, point: ClassPoint) -> str:
    """The same of a class whose recall is asked for."""
    scored, wish = looked.scored, point.wish
    if wish.kind == 'good' or point.threshold is None:
        return ''
    has = scored.truth[:, scored.classes.index(point.name)]
    groups = len(set(scored.groups[has].tolist()))
    if groups >= wish.fewest:
        return ''
    return (
        f'{point.name}: its {int(has.sum())} validation images are of {groups} groups, where it '
        f'takes {wish.fewest} to tell for new ones'
    )


def why_words(point: ClassPoint) -> str:
    """Why a class has no threshold of its own, and what that means; or what is not known of it."""
    text = f'{point.name}: {point.why}'
    if point.threshold is not None:
        return text
    name, outcome = ('test', point.test) if point.test else ('validation', point.validation)
    return (
        f'{text}; so nothing is promised of it, and the threshold of the highest score of any '
        f'class finds, of the {name} images with one, {words(outcome.recall)}'
    )


def limit_words(point: ClassPoint, rest: float | None) -> str:
    """The threshold of a class, or whose it has."""
    if point.threshold is not None:
        return f'{point.threshold:.6g}'
    return f'{rest:.6g}, that of the highest score of any class'


def by_class_notes(found: ByClass, wish: Wish, looked: Looked) -> list[str]:
    """What there is to know of thresholds by class, in sentences."""
    notes = [why_words(each) for each in found.points if each.why]
    notes += filter(None, (class_doubt(looked, each) for each in found.points))
    own = [each for each in found.points if each.threshold is not None]
    if wish.kind == 'good':
        number = len(own) + (found.rest is not None)
        if number > 1:
            least = Wish(max_false_alarms=rounded_down(wish.share / number))
            notes.append(
                f'{number} thresholds, each with its own share of false alarms, allow up to '
                f'{most_in_all(found, wish):.2%} of the good images in all, and fewer where '
                f'classes raise theirs in the same images; what they give is told above. To have '
                f'{wish.share:.2%} in all whatever the scores, ask for {least.share:g}, which '
                f'takes {least.fewest} good validation images'
            )
    elif len(own) == len(found.points) > 1:
        notes.append(
            'a defective image raises an alarm by any class, so that recall of all together is '
            'no lower; false alarms of the classes add up, to at most the sum of theirs'
        )
    if len(found.points) > 1:
        notes.append(
            f'each interval holds at 95 %; all {len(found.points)} of a column at once hold less '
            'often'
        )
    return notes


def rounded_down(share: float) -> float:
    """A share with two digits, no larger."""
    step = 10.0 ** (math.floor(math.log10(share)) - 1)
    return round(math.floor(share / step * (1 + 1e-9)) * step, 12)


def told_lines(point: OperatingPoint, looked: Looked) -> list[str]:
    """What a command prints of an operating point.

    Args:
        point (OperatingPoint): The point.
        looked (Looked): The validation images.
    """
    lines = [f'asked for: {point.wish}; alarm above {point.threshold:.6g}']
    lines += filter(None, (tile_words(point), doubt_of_groups(looked, point.wish)))
    splits = [('validation', point.validation), ('test', point.test)]
    lines += [
        f'{name}: {what}: {text}'
        for name, outcome in splits
        if outcome is not None
        for what, text in described(outcome)
    ]
    if point.by_class is None:
        return lines
    found = point.by_class
    lines += ['', 'by class, an alarm if any is above its own:']
    for each in found.points:
        lines.append(f'{each.name}: asked for {share_words(each.wish)}, alarm above '
                     f'{limit_words(each, found.rest)}')  # fmt: skip
        name, outcome = ('test', each.test) if each.test else ('validation', each.validation)
        lines += [f'  {name}: {what}: {text}' for what, text in class_rows(outcome, each.name)]
    for name, together in (('validation', found.validation), ('test', found.test)):
        if together is not None:
            lines += [f'any class, {name}: {what}: {text}' for what, text in described(together)]
    return [*lines, *by_class_notes(found, point.wish, looked)]


def tile_words(point: OperatingPoint) -> str:
    """How the pictures were looked at, unless whole."""
    if point.tiles is None:
        return ''
    return (
        f'scores are those of {point.tiles}; the threshold is for predict --tile '
        f'{point.tiles.tile} --overlap {point.tiles.overlap} alone'
    )


def share_words(wish: Wish) -> str:
    """A wish for a class, in short."""
    if wish.max_false_alarms is not None:
        return f'at most {wish.max_false_alarms:.2%} false alarms'
    return f'at least {wish.min_recall:.2%} of its images'
