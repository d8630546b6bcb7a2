import importlib.util

import pytest

from mkbackbones.__main__ import COMMANDS, main
from mkbackbones.version import __version__


def test_help_lists_every_command(capsys):
    assert main(['--help']) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in COMMANDS)


def test_version(capsys):
    assert main(['--version']) == 0
    assert capsys.readouterr().out == f'{__version__}\n'


@pytest.mark.parametrize('name', COMMANDS)
def test_every_command_has_help_with_its_name(name, capsys):
    module = COMMANDS[name][0]
    if importlib.util.find_spec(f'mkbackbones.commands.{module}') is None:
        pytest.fail(f'mkbackbones/commands/{module}.py is listed but does not exist')
    with pytest.raises(SystemExit) as caught:
        main([name, '--help'])
    assert caught.value.code == 0
    assert f'python -m mkbackbones {name}' in capsys.readouterr().out


def test_a_typo_gets_the_closest_command(capsys):
    assert main(['trian']) == 2
    assert "did you mean 'train'?" in capsys.readouterr().err


def test_no_command_shows_the_usage(capsys):
    assert main([]) == 2
    assert 'usage:' in capsys.readouterr().err


def test_the_exit_code_of_the_command_is_passed_on(capsys):
    assert main(['train', 'no_such_config.py']) == 2
    assert 'no_such_config.py' in capsys.readouterr().err
