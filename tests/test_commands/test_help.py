"""Every command has a help with examples, and what they name is there."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from mkbackbones.__main__ import COMMANDS
from mkbackbones.runner.config_files import find_config

ROOT = Path(__file__).parents[2]


def parser_of(name):
    return importlib.import_module(f'mkbackbones.commands.{COMMANDS[name][0]}').build_parser()


def examples(name):
    """Words of each example, the command's own name taken off."""
    text = parser_of(name).epilog or ''
    lines = re.sub(r'\\\n\s*', ' ', text).splitlines()
    found = []
    for line in lines:
        match = re.search(rf'(?:-m mkbackbones|tools/\S+\.py) ?{re.escape(name)} (.*)$', line)
        if match:
            found.append(shlex.split(match[1], comments=True))
    return found


@pytest.mark.parametrize('name', COMMANDS)
def test_help_has_an_example(name, capsys):
    with pytest.raises(SystemExit) as caught:
        parser_of(name).parse_args(['--help'])
    assert caught.value.code == 0
    assert f'-m mkbackbones {name}' in capsys.readouterr().out


@pytest.mark.parametrize('name', [name for name in COMMANDS if name != 'prepare-dataset'])
def test_examples_can_be_parsed_and_name_configs_that_are_there(name):
    assert examples(name)
    for words in examples(name):
        parser_of(name).parse_args(words)
        for word in words:
            shipped = re.fullmatch(r'(configs/.*|[a-z0-9+-]+_[a-z0-9_+-]+?)(\.py)?', word)
            if shipped and ('_swin' in word or '_vit' in word or word.startswith('configs/')):
                path = word if word.endswith('.py') else f'{word}.py'
                assert (ROOT / path).is_file() or find_config(path).is_file(), word
