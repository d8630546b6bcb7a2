"""The text of a config without the care for looks that takes mmengine half a second a time."""

from __future__ import annotations

import math
from pprint import pformat
from typing import Any

from mmengine.config import Config

__all__ = ['config_text', 'write_plainly']

PRETTY = Config.pretty_text


def config_text(cfg: Config) -> str:
    """A config as Python, to be read by mmengine again.

    Args:
        cfg (Config): The config; one with more in it than text, numbers, lists and dicts is
            written as mmengine does.
    """
    content = cfg.to_dict()
    if not all(isinstance(key, str) and key.isidentifier() for key in content):
        return PRETTY.fget(cfg)
    if not is_plain(content):
        return PRETTY.fget(cfg)
    lines = [
        f'{key} = {pformat(value, width=100, sort_dicts=False)}' for key, value in content.items()
    ]
    return '\n'.join(lines) + '\n'


def is_plain(value: Any) -> bool:
    """Whether ``repr`` gives a literal that reads as the value."""
    if type(value) is dict:
        return all(isinstance(key, str) and is_plain(entry) for key, entry in value.items())
    if type(value) in (list, tuple):
        return all(map(is_plain, value))
    if type(value) is float:
        return math.isfinite(value)
    return value is None or type(value) in (str, int, bool)


def write_plainly() -> None:
    """Let mmengine write configs so in this process: it does four times before the first step."""
    Config.pretty_text = property(config_text)
