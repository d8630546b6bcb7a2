"""Checks of arguments as they come out of configs: each value is used as it is, or refused.

A class says once what each argument may be, as a table of :class:`Rule`, and calls
:func:`check_arguments` first. What passes makes a module; what does not is told in one sentence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from reprlib import Repr
from typing import Any, TypeGuard

from .hints import did_you_mean

#: Levels of dicts and lists within an argument.
DEEPEST = 64
#: Characters of a value in a message.
LONGEST = 120
_REPR = Repr()
_REPR.maxstring = _REPR.maxother = 80


@dataclass(frozen=True)
class Rule:
    """What an argument may be.

    Attributes:
        allows (Callable[[Any], bool]): Whether a value is allowed.
        text (str): What is allowed, after "it must be".
    """

    allows: Callable[[Any], bool]
    text: str


def check_arguments(
    owner: str,
    rules: Mapping[str, Rule],
    values: Mapping[str, Any],
    unknown: Mapping[str, Any] | None = None,
    hint: str = '',
) -> None:
    """Check the arguments of a class.

    Args:
        owner (str): Name of the class.
        rules (Mapping[str, Rule]): What each argument may be.
        values (Mapping[str, Any]): The arguments; those without a rule are not checked.
        unknown (Mapping[str, Any], optional): Arguments that the class does not have.
        hint (str): What is told after unknown arguments.

    Raises:
        ValueError: One is unknown, contains itself or is not allowed.
    """
    if unknown:
        name = next(iter(unknown))
        raise ValueError(
            f'{owner} has no argument {", ".join(map(str, unknown))}; choose from '
            f'{", ".join(rules)}{did_you_mean(name, rules)}{hint}'
        )
    for name, rule in rules.items():
        if name in values:
            check(name, values[name], rule)


def check(name: str, value: Any, rule: Rule) -> None:
    """Check one value.

    Raises:
        ValueError: It contains itself or is not allowed.
    """
    refuse_loops(name, value)
    if not rule.allows(value):
        raise ValueError(f'{name}={short(value)} is not allowed; it must be {rule.text}')


def refuse_loops(name: str, value: Any) -> None:
    """Refuse dicts and lists that contain themselves: whatever walks them would not end.

    Raises:
        ValueError: This one does, or it is nested deeper than anything that is meant.
    """
    done: set[int] = set()  # what is shared by several is looked at once

    def walk(inner: Any, above: tuple[int, ...]) -> None:
        if not isinstance(inner, dict | list | tuple) or id(inner) in done:
            return
        if id(inner) in above:
            raise ValueError(f'{name} contains itself; write the inner part out')
        if len(above) >= DEEPEST:
            raise ValueError(f'{name} is nested more than {DEEPEST} levels deep')
        for item in inner.values() if isinstance(inner, dict) else inner:
            walk(item, (*above, id(inner)))
        done.add(id(inner))

    walk(value, ())


def short(value: Any) -> str:
    """A value for messages, in one line and not too long."""
    text = ' '.join(_REPR.repr(value).split())
    return text if len(text) <= LONGEST else f'{text[: LONGEST - 3]}...'


def is_int(value: Any) -> TypeGuard[int]:
    """Whether a value is an integer; booleans are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a value is a finite number; booleans are none."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that is no float
        return False


def integer(low: int, high: int) -> Rule:
    """An integer within bounds, both included."""
    wanted = f'an integer of at least {low} and at most {high}'
    return Rule(lambda value: is_int(value) and low <= value <= high, wanted)


def number(low: float, high: float, *, above: bool = False, below: bool = False) -> Rule:
    """A finite number within bounds, which are included unless ``above`` or ``below`` say so."""

    def allows(value: Any) -> bool:
        if not is_number(value):
            return False
        return (low < value if above else low <= value) and (
            value < high if below else value <= high
        )

    return Rule(allows, f'a number in {"(" if above else "["}{low}, {high}{")" if below else "]"}')


def optional(rule: Rule) -> Rule:
    """What a rule allows, or None."""
    return Rule(lambda value: value is None or rule.allows(value), f'None or {rule.text}')


def either(*rules: Rule) -> Rule:
    """What any of the rules allows."""
    return Rule(
        lambda value: any(rule.allows(value) for rule in rules),
        ', or '.join(rule.text for rule in rules),
    )


def listing(rule: Rule, least: int = 1) -> Rule:
    """A list or tuple of what a rule allows."""
    return Rule(
        lambda value: (
            isinstance(value, list | tuple)
            and len(value) >= least
            and all(rule.allows(item) for item in value)
        ),
        f'a list, each entry {rule.text}',
    )


def one_of(names: Iterable[Any], text: str = '') -> Rule:
    """One of some values, named in ``text`` or one by one."""
    names = list(names)
    return Rule(
        lambda value: any(type(value) is type(name) and value == name for name in names),
        text or f'one of {", ".join(map(repr, names))}',
    )


#: True or False.
FLAG = Rule(lambda value: isinstance(value, bool), 'True or False')
#: Any integers, which whoever knows their range checks further.
INDICES = either(Rule(is_int, 'an integer'), listing(Rule(is_int, 'an integer')))
#: A config of something that is built.
CONFIG = Rule(
    lambda value: isinstance(value, dict) and isinstance(value.get('type'), str | type),
    "a dict with a type, e.g. dict(type='...')",
)
#: ``init_cfg`` of mmengine's modules.
INIT_CFG = optional(either(CONFIG, listing(CONFIG, least=0)))
#: Anything that does not contain itself.
ANY = Rule(lambda value: True, 'anything')
#: An empty list.
EMPTY = Rule(lambda value: isinstance(value, list | tuple) and not value, 'an empty list')
