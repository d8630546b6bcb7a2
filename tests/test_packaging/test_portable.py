"""What Windows does not have is not used without a way around it; held by the source alone."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    [
        *(ROOT / 'mkbackbones').rglob('*.py'),
        *(ROOT / 'tools').glob('*.py'),
        *(ROOT / '_mkbackbones_mim').rglob('*.py'),
        *(ROOT / 'setup.py', ROOT / 'docs' / 'site_pages.py'),
    ]
)
TREES = {path: ast.parse(path.read_text(encoding='utf-8')) for path in FILES}
#: Modules that Python has on some systems alone.
MODULES = {'fcntl', 'grp', 'msvcrt', 'posix', 'pwd', 'readline', 'resource', 'termios', 'winreg'}
#: And what others lack there.
NAMES = {
    'os': {
        *('fork', 'forkpty', 'getpgid', 'getpgrp', 'getuid', 'geteuid', 'killpg', 'mkfifo'),
        *('sched_getaffinity', 'setpgid', 'setsid', 'set_blocking', 'sysconf', 'waitid', 'WNOHANG'),
    },
    'signal': {'SIGALRM', 'SIGCHLD', 'SIGHUP', 'SIGKILL', 'SIGUSR1', 'SIGUSR2', 'alarm'},
}
#: Where it is used all the same, and why it is not reached on Windows.
ALLOWED = {
    'mkbackbones/study/run/executors/warm.py': 'LocalExecutor starts it on Linux alone',
    'mkbackbones/study/run/executors/cluster_job.py': 'a job of Slurm',
}


def place(path):
    return path.relative_to(ROOT).as_posix()


def guarded(tree):
    """Nodes below an ``if`` or an ``x if y else z`` that asks for the system or for a name."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.If, ast.IfExp)):
            test = ast.unparse(node.test)
            if re.search(r'hasattr\((os|signal),|os\.name|sys\.platform', test):
                yield from ast.walk(node)


def after_platform_check(function):
    """Whether a function has left on Windows before anything else."""
    return any(
        isinstance(node, ast.If)
        and 'sys.platform' in ast.unparse(node.test)
        and isinstance(node.body[-1], ast.Return)
        for node in function.body
    )


def imports_at_the_top(tree):
    """Names of modules that are imported whenever the file is, outside ``try``."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition('.')[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or '').partition('.')[0]


def foreign_calls(tree):
    """Names that some systems lack, where nothing asks for them before."""
    asked = set(guarded(tree))
    for function in ast.walk(tree):
        # A function that begins with `if not hasattr(...): ... return`.
        if isinstance(function, ast.FunctionDef) and (
            after_platform_check(function) or 'if not hasattr(os,' in ast.unparse(function)
        ):
            asked |= set(ast.walk(function))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            continue
        if node.attr in NAMES.get(node.value.id, ()) and node not in asked:
            yield node


def test_imports_are_those_of_every_system():
    found = {place(path): MODULES & set(imports_at_the_top(tree)) for path, tree in TREES.items()}
    assert {path: modules for path, modules in found.items() if modules} == {}


def test_calls_are_those_of_every_system():
    found = [
        f'{place(path)}:{node.lineno}: {ast.unparse(node)}'
        for path, tree in TREES.items()
        if place(path) not in ALLOWED
        for node in foreign_calls(tree)
    ]
    assert found == []


def test_exceptions_are_needed():
    for path in ALLOWED:
        assert list(foreign_calls(TREES[ROOT / path]))


def text_without_encoding(tree):
    """Calls that read or write text in whatever encoding the system has."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        words = {word.arg: word.value for word in node.keywords}
        if 'encoding' in words or None in words:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ''
        called = ast.unparse(node.func)
        # `read_text('RECORD')` is that of a distribution.
        if (name == 'read_text' and not node.args) or (name == 'write_text' and len(node.args) < 2):
            yield node
        elif called in ('open', 'os.fdopen', 'io.open'):
            mode = words.get('mode') or (node.args[1] if len(node.args) > 1 else None)
            if mode is None or 'b' not in ast.unparse(mode):
                yield node
        elif name == 'open' and node.args and isinstance(node.args[0], ast.Constant):
            if re.fullmatch(r'[rwax]\+?', str(node.args[0].value)):
                yield node
        elif called.startswith('subprocess.') and ({'text', 'universal_newlines'} & set(words)):
            yield node


def test_text_has_an_encoding():
    found = [
        f'{place(path)}:{node.lineno}: {ast.unparse(node)}'
        for path, tree in TREES.items()
        for node in text_without_encoding(tree)
    ]
    assert found == []


@pytest.mark.parametrize(
    'code, count',
    [
        ('open("a")', 1),
        ('open("a", "rb")', 0),
        ('path.open("w")', 1),
        ('archive.open(entry)', 0),
        ('path.read_text(errors="replace")', 1),
        ('path.write_text(x, encoding="utf-8")', 0),
        ('subprocess.run(x, text=True)', 1),
    ],
)
def test_the_check_sees_what_it_should(code, count):
    assert len(list(text_without_encoding(ast.parse(code)))) == count
