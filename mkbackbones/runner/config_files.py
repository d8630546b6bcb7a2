"""Find a config by path or name, and read it with overrides."""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..late_imports import bring_in
from ..openmmlab.sentences import explain
from .errors import InputError

if TYPE_CHECKING:
    from mmengine.config import Config

PACKAGE = Path(__file__).resolve().parent.parent


def config_root() -> Path:
    """The folder of the shipped configs: the checkout's, or the installed copy."""
    installed = PACKAGE / '.mim' / 'configs'
    return installed if installed.is_dir() else PACKAGE.parent / 'configs'


def find_config(name: str) -> Path:
    """Find a config by path or, among the shipped ones, by name.

    Args:
        name (str): a path, or the name (or the end of the path) of a shipped config.

    Raises:
        InputError: if there is none, or more than one, with the closest names.
    """
    if os.path.isfile(name):
        return Path(name)
    root = config_root()
    shipped = {
        'configs/' + path.relative_to(root).as_posix(): path for path in sorted(root.rglob('*.py'))
    }
    wanted = Path(name).as_posix()
    wanted = wanted if wanted.endswith('.py') else f'{wanted}.py'
    found = [key for key in shipped if f'/{key}'.endswith(f'/{wanted}')]
    if len(found) == 1:
        print(f'config {name}: using the shipped {shipped[found[0]]}')
        return shipped[found[0]]
    if found:
        raise InputError(f'config {name} is ambiguous; give one of {", ".join(found)}')
    stems = sorted({path.name for key, path in shipped.items() if '/_base_/' not in key})
    close = difflib.get_close_matches(Path(wanted).name, stems, n=3, cutoff=0.5)
    hint = f'did you mean {" or ".join(close)}?' if close else f'shipped: {", ".join(stems)}'
    raise InputError(f'config {name} is neither a file nor a shipped config; {hint}')


def read_config(path: Path, options: list[str]) -> Config:
    """Read a config and apply ``KEY=VALUE`` overrides.

    Raises:
        InputError: if the file or an override cannot be read.
        Needed: if the command has to start again for it.
    """
    from mmengine.config import Config

    check_options(options, '--cfg-options')
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is a program: it may raise anything
        raise InputError(f'config {path}: {explain(error) or one_line(error)}') from error
    apply_options(cfg, options, '--cfg-options')
    bring_in(cfg)
    return cfg


def check_options(options: list[str], flag: str) -> None:
    """Check the form of overrides.

    Raises:
        InputError: if one is not ``KEY=VALUE``.
    """
    for option in options:
        if '=' not in option:
            raise InputError(f'{flag} {option} is not of the form KEY=VALUE')


def apply_options(cfg: Config, options: list[str], flag: str, prefix: str = '') -> None:
    """Merge ``KEY=VALUE`` overrides into a config.

    Args:
        cfg (Config): the config to change.
        options (list[str]): the overrides.
        flag (str): the flag they came with, for messages.
        prefix (str): what to put before each key, e.g. ``model.``.

    Raises:
        InputError: if one cannot be read or merged.
    """
    check_options(options, flag)
    for option in options:
        key, _, text = option.partition('=')
        try:
            value = read_value(text)
            if isinstance(value, dict) and holds_value(cfg, f'{prefix}{key}'):
                value = {'_delete_': True, **value}  # takes the place of None or a number
            merge_options(cfg, {f'{prefix}{key}': value})
        except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f'{flag} {option}: {one_line(error)}') from error


def merge_options(cfg: Config, options: dict[str, Any]) -> None:
    """Merge values by dotted keys, as ``Config.merge_from_dict`` does.

    A dict with ``_delete_=True`` takes the place of what is there, and is new where nothing is;
    mmengine would leave the word in the latter.
    """
    cfg.merge_from_dict(options)
    forget_deleted(cfg._cfg_dict)


def forget_deleted(node: object) -> None:
    """Take ``_delete_`` out of all dicts below a node."""
    if isinstance(node, dict):
        node.pop('_delete_', None)
        node = list(dict.values(node))  # as they are: a config's own would build lazy objects
    if isinstance(node, list | tuple):
        for child in node:
            forget_deleted(child)


def holds_value(cfg: Config, key: str) -> bool:
    """Whether a config has something at a dotted key that is neither a dict nor a list."""
    node = cfg._cfg_dict
    for part in key.split('.'):
        if isinstance(node, list | tuple) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict) and part in node:
            node = node[part]
        else:
            return False
    return not isinstance(node, dict | list)


def read_value(text: str) -> object:
    """The value that the text of an override stands for.

    Lists, tuples, dicts and quoted strings are read as Python or JSON writes them; the rest as
    mmengine does: ``1``, ``0.5``, ``true``, ``None``, ``1,2``, ``[a,b]``, and other text as it is.

    Raises:
        ValueError: It holds a dict that cannot be read.
    """
    from mmengine.config import DictAction

    if text[:1] in ('{', '[', '(', '"', "'"):
        for read in (ast.literal_eval, json.loads):
            try:
                return read(text)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
        if '{' in text:  # mmengine would take it for text, or for a list without end
            raise ValueError(
                f'{text} is no dict; write it as Python does, in quotes for the shell: '
                "\"{'type': 'SpatialK'}\""
            )
    parser = argparse.ArgumentParser()
    parser.add_argument('--value', nargs=1, action=DictAction)
    return parser.parse_args(['--value', f'value={text}']).value['value']


def one_line(error: Exception) -> str:
    """Tell an exception in one line."""
    text = ' '.join(str(error).split())
    return f'{type(error).__name__}: {text}' if text else type(error).__name__
