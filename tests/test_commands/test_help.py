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


def documented():
    """Every command line of the README and the docs, as words."""
    pages = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').rglob('*.md'))]
    found = {}
    for page in pages:
        text = re.sub(r'\\\n\s*', ' ', page.read_text(encoding='utf-8'))
        lines = re.findall(r'(?m)^.*?python -m mkbackbones ([^`\n;]*)', text)
        for line in lines:
            words = shlex.split(line, comments=True)
            if len(words) > 2:  # less is a name in a sentence
                found[f'{page.name}: {" ".join(words)}'] = words
    return found


DOCUMENTED = documented()


def test_the_docs_have_commands():
    assert len(DOCUMENTED) > 40


@pytest.mark.parametrize('words', DOCUMENTED.values(), ids=DOCUMENTED)
def test_commands_of_the_docs_can_be_parsed(words):
    """Choices, numbers and options; a word in capitals stands for the reader's own."""
    name, *arguments = words
    stand_ins = {'SOURCE': 'coco', 'NAME': 'neu-det', 'NUMBER': '2'}
    parser_of(name).parse_args([stand_ins.get(word, word) for word in arguments])
    for word in arguments:
        if word.startswith('configs/'):
            assert (ROOT / word).is_file(), word
