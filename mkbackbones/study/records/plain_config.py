"""The text of a config without the care for looks that takes mmengine half a second a time."""

from __future__ import annotations

import json
import math
from keyword import iskeyword
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ...files import written_aside

__all__ = ['config_text', 'write_config', 'write_plainly']

#: The property, which mmengine's annotations take for what it gives.
PRETTY: Any = vars(Config)['pretty_text']


def config_text(cfg: Config) -> str:
    """A config as Python, to be read by mmengine again.

    Args:
        cfg (Config): The config; one with more in it than text, numbers, lists and dicts is
            written as mmengine does.
    """
    content = cfg.to_dict()
    if not all(map(is_name, content)) or not is_plain(content):
        return PRETTY.fget(cfg)
    return ''.join(f'{key} = {literal(value)}\n' for key, value in content.items())


def is_name(key: Any) -> bool:
    """Whether a key may be the name of an argument, which Python normalises beyond ASCII."""
    return isinstance(key, str) and key.isascii() and key.isidentifier() and not iskeyword(key)


def literal(value: Any, indent: int = 0, width: int = 100) -> str:
    """A plain value as Python, dicts as calls of ``dict`` where their keys allow it."""
    if type(value) not in (dict, list, tuple):
        return repr(value)
    named = type(value) is dict and all(map(is_name, value))
    brackets: dict[type, Any] = {
        dict: ('dict(', ')') if named else ('{', '}'),
        list: '[]',
        tuple: '()',
    }
    left, right = brackets[type(value)]
    parts = [('', entry) for entry in value]
    if type(value) is dict:
        parts = [(f'{key}=' if named else f'{key!r}: ', entry) for key, entry in value.items()]
    lines = [name + literal(entry, indent + 4, width) for name, entry in parts]
    line = ', '.join(lines) + (',' if type(value) is tuple and len(value) == 1 else '')
    if indent + len(line) < width and '\n' not in line:
        return f'{left}{line}{right}'
    space = '\n' + ' ' * (indent + 4)
    return left + space + f',{space}'.join(lines) + ',\n' + ' ' * indent + right


def is_plain(value: Any) -> bool:
    """Whether ``repr`` gives a literal that reads as the value."""
    if type(value) is dict:
        return all(isinstance(key, str) and is_plain(entry) for key, entry in value.items())
    if type(value) in (list, tuple):
        return all(map(is_plain, value))
    if type(value) is float:
        return math.isfinite(value)
    return value is None or type(value) in (str, int, bool)


def write_config(folder: Path, cfg: Config) -> None:
    """Write a run's config, for the worker to run and for others to read as data."""
    with written_aside(folder / 'config.py') as work:
        work.write_text(config_text(cfg), encoding='utf-8')
    content = json.dumps(cfg.to_dict(), indent=1, default=str)
    with written_aside(folder / 'config.json') as work:
        work.write_text(content, encoding='utf-8')


def write_plainly() -> None:
    """Let mmengine write configs so in this process: it does four times before the first step."""
    setattr(Config, 'pretty_text', property(config_text))  # noqa: B010 - mypy refuses the plain way
