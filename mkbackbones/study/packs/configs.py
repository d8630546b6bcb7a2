"""Configs of runs as data on their way from one machine to another: read, packed, given places.

Some transforms take tuples alone, and JSON has none, so those are named in a pack.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..records.plain_config import config_text, is_plain
from ..records.run_folder import read_object, write_json

__all__ = ['CONFIG', 'name_tuples', 'named_tuples', 'put_places', 'read_config', 'write_data']

CONFIG = 'config.json'
#: What stands for a tuple in JSON.
TUPLE = '<tuple>'


def read_config(folder: Path) -> dict | None:
    """The config of a run as data, with its tuples; nothing in it is run.

    Args:
        folder (Path): The run's folder. Where ``config.py`` is not what :func:`config_text` writes,
            ``config.json`` is read, which has lists for tuples.

    Returns:
        dict | None: None where neither can be read.
    """
    try:
        return read_text((folder / 'config.py').read_text(encoding='utf-8'))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return read_object(folder / CONFIG)


def read_text(text: str) -> dict:
    """What :func:`config_text` has written.

    Raises:
        ValueError: There is more in it than names, literals and calls of ``dict``.
    """
    found = {}
    for line in ast.parse(text).body:
        if not (isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name)):
            raise ValueError('no plain config')
        found[line.targets[0].id] = value_of(line.value)
    return found


def value_of(node: ast.expr) -> Any:
    """The value of a literal, or of a call of ``dict`` with literals."""
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict' or node.args:
            raise ValueError('no plain config')
        return {str(entry.arg): value_of(entry.value) for entry in node.keywords}
    if isinstance(node, ast.Dict):
        keys = [ast.literal_eval(key) if key is not None else None for key in node.keys]
        return dict(zip(keys, map(value_of, node.values), strict=True))
    if isinstance(node, (ast.List, ast.Tuple)):
        return (list if isinstance(node, ast.List) else tuple)(map(value_of, node.elts))
    return ast.literal_eval(node)


def name_tuples(value: Any) -> Any:
    """Data for JSON in which tuples can be told from lists; :func:`named_tuples` takes it back."""
    if type(value) is dict:
        return {key: name_tuples(entry) for key, entry in value.items()}
    if type(value) in (list, tuple):
        entries = list(map(name_tuples, value))
        return entries if type(value) is list else {TUPLE: entries}
    return value


def named_tuples(value: Any) -> Any:
    """Data from JSON with the tuples that :func:`name_tuples` has named."""
    if type(value) is list:
        return list(map(named_tuples, value))
    if type(value) is not dict:
        return value
    if set(value) == {TUPLE} and type(value[TUPLE]) is list:
        return tuple(map(named_tuples, value[TUPLE]))
    return {key: named_tuples(entry) for key, entry in value.items()}


def write_data(folder: Path, config: Any) -> None:
    """Write a config as JSON, and as Python where it is plain."""
    write_json(folder / CONFIG, config)
    if is_plain(config):
        (folder / 'config.py').write_text(config_text(Config(config)), encoding='utf-8')


def put_places(value: Any, places: Mapping[str, str]) -> Any:
    """Data with folders in the places of their names."""
    if type(value) is str:
        for name, place in places.items():
            value = value.replace(name, place)
        return value
    if type(value) is dict:
        return {key: put_places(entry, places) for key, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(put_places(entry, places) for entry in value)
    return value
