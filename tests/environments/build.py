"""Build environments from nothing, try the package in each, and fill docs/environments.md.

    python -m tests.environments.build                      # all of them: an hour, 15 GB at a time
    python -m tests.environments.build today 'no OpenMMLab' --out results.json --write

Each environment is a virtual one in a temporary folder, with what its pins say and nothing else; it
is removed afterwards. Rows that were not run stay as they are in the table.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STEPS = Path(__file__).with_name('steps.py')
PAGE = ROOT / 'docs' / 'environments.md'
BEGIN, END = '<!-- rows of tests/environments/build.py -->', '<!-- end of rows -->'
COLUMNS = ('install', 'import', 'train', 'swap', 'warm start', 'fold', 'tests')
#: Fast ones, of each part that touches another library.
TESTS = (
    *('tests/test_keys', 'tests/test_inject', 'tests/test_backbones/test_backbones.py'),
    *('tests/test_checkpoints/test_reading.py', 'tests/test_checkpoints/test_load_from.py'),
    *('tests/test_swap/test_command.py', 'tests/test_engine', 'tests/test_runner'),
    'tests/test_ops/test_install.py',
)
TEST_TOOLS = ('pytest', 'pytest-xdist', 'hypothesis')
ORIGINAL = ('mmengine==0.10.7', 'mmcv-lite==2.1.0', 'mmdet==3.3.0', 'mmsegmentation==1.2.2')
MAINTAINED = ('onedl-mmengine', 'onedl-mmcv', 'onedl-mmdetection', 'onedl-mmsegmentation')
#: What mmseg 1.2 imports and does not ask for.
FORGOTTEN = ('ftfy', 'regex', 'setuptools<81', 'opencv-python-headless<4.12')
#: What lets commands start, without torch.
LITTLE = (
    *('numpy', 'rich', 'pillow', 'packaging', 'opencv-python-headless'),
    *('addict', 'termcolor', 'yapf', 'pyyaml', 'matplotlib'),
)

#: For each row what it is, the words of each call of ``pip install``, and the steps. ``.`` is the
#: package.
ENVIRONMENTS = {
    'today': dict(
        what='newest torch, timm and numpy that go together; maintained line',
        install=[
            ['torch', 'torchvision'],
            ['.[onedl]'],
            ['--no-deps', 'opencv-python-headless<4.13'],
        ],
        steps=COLUMNS[1:],
    ),
    'torch 2.5, original line': dict(
        what='torch 2.5.1, numpy 1.26.4, mmengine 0.10.7, mmcv-lite 2.1.0, mmdet 3.3.0, '
        'mmseg 1.2.2',
        install=[
            ['torch==2.5.1', 'torchvision==0.20.1', 'numpy==1.26.4', *ORIGINAL, *FORGOTTEN],
            ['.'],
        ],
        steps=COLUMNS[1:],
    ),
    'oldest': dict(
        what='torch 2.1.2, torchvision 0.16.2, numpy 1.26.4, timm 0.9.16; original line as above',
        install=[
            [
                *('torch==2.1.2', 'torchvision==0.16.2', 'numpy==1.26.4', 'timm==0.9.16'),
                *(*ORIGINAL, *FORGOTTEN),
            ],
            ['.'],
        ],
        steps=COLUMNS[1:],
    ),
    'no OpenMMLab': dict(
        what='the package without either line',
        install=[
            ['--no-deps', '.'],
            [*LITTLE],
        ],
        steps=('says',),
    ),
    'both lines': dict(
        what='the maintained line installed over the original one, nothing else',
        install=[
            ['--no-deps', '.'],
            [*LITTLE],
            ['--no-deps', *ORIGINAL],
            ['--no-deps', *MAINTAINED],
        ],
        steps=('says',),
    ),
    'one of both uninstalled': dict(
        what='the same, then the original one uninstalled',
        install=[
            ['--no-deps', '.'],
            [*LITTLE],
            ['--no-deps', *ORIGINAL],
            ['--no-deps', *MAINTAINED],
        ],
        uninstall=[name.partition('==')[0] for name in ORIGINAL],
        steps=('says',),
    ),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('names', nargs='*', metavar='ENVIRONMENT', help=', '.join(ENVIRONMENTS))
    parser.add_argument('--python', default=sys.executable, help='interpreter to build with')
    parser.add_argument('--keep', action='store_true', help='do not remove the environments')
    parser.add_argument('--no-tests', action='store_true', help='leave the tests out')
    parser.add_argument('--out', type=Path, help='JSON file to write results to')
    parser.add_argument('--write', action='store_true', help=f'fill {PAGE.relative_to(ROOT)}')
    args = parser.parse_args()
    unknown = set(args.names) - set(ENVIRONMENTS)
    if unknown:
        parser.error(f'unknown: {", ".join(unknown)}; there are {", ".join(ENVIRONMENTS)}')
    for name in args.names or ENVIRONMENTS:
        row = try_environment(name, args)
        print(json.dumps(row, indent=1), flush=True)
        if args.out:
            known = json.loads(args.out.read_text(encoding='utf-8')) if args.out.exists() else {}
            args.out.write_text(json.dumps({**known, name: row}, indent=1), encoding='utf-8')
        if args.write:
            write_row(name, row)


def try_environment(name, args):
    """Build an environment and try everything in it; return the cells of its row."""
    about = ENVIRONMENTS[name]
    folder = Path(tempfile.mkdtemp(prefix='environment-'))
    env = {
        **{k: v for k, v in os.environ.items() if k not in ('PYTHONPATH', 'VIRTUAL_ENV')},
        **dict(OMP_NUM_THREADS='1', PIP_DISABLE_PIP_VERSION_CHECK='1', MPLBACKEND='agg'),
    }
    try:
        begun = time.monotonic()
        python = folder / 'venv' / ('Scripts' if os.name == 'nt' else 'bin') / 'python'
        call([args.python, '-m', 'venv', folder / 'venv'], env)
        pip = [python, '-m', 'pip']
        call([*pip, 'install', '-q', '--upgrade', 'pip', 'wheel'], env)
        for words in about['install']:
            words = [str(ROOT) + word[1:] if word[0] == '.' else word for word in words]
            call([*pip, 'install', '-q', *words], env)
        if 'uninstall' in about:
            call([*pip, 'uninstall', '-q', '-y', *about['uninstall']], env)
        row = {'what': about['what'], 'install': f'{time.monotonic() - begun:.0f} s'}
        row['versions'] = versions(python, env)
        row['replaced'] = [
            f'{pin} became {row["versions"].get(pin.partition("==")[0])}'
            for words in about['install']
            for pin in words
            if '==' in pin
            and row['versions'].get(pin.partition('==')[0]) != pin.partition('==')[2]
            and 'uninstall' not in about
        ]
        for step in about['steps']:
            if step == 'tests':
                if not args.no_tests:
                    row[step] = run_tests(python, env)
                continue
            row[step] = try_step(step, python, folder, env)
            print(f'{name}: {step}: {row[step]}', file=sys.stderr, flush=True)
    except Failed as error:
        return {'what': about['what'], 'install': f'failed: {error}'}
    finally:
        if args.keep:
            print(f'{name}: kept in {folder}', file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return row


class Failed(Exception):
    """A command that did not end well."""


def call(words, env, cwd=None, timeout=3600):
    """Run a command; return what it printed."""
    done = subprocess.run(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        cwd=cwd,
        timeout=timeout,
        encoding='utf-8',
        errors='replace',
        check=False,
    )
    if done.returncode:
        raise Failed(done.stdout[-3000:])
    return done.stdout


def versions(python, env):
    """What ended up installed."""
    listed = json.loads(call([python, '-m', 'pip', 'list', '--format', 'json'], env))
    return {entry['name'].lower().replace('_', '-'): entry['version'] for entry in listed}


def try_step(step, python, folder, env):
    """Result of a step, or the last line of what went wrong."""
    try:
        printed = call([python, STEPS, step, folder], env, cwd=folder)
    except Failed as error:
        print(error, file=sys.stderr)
        return f'failed: {str(error).strip().splitlines()[-1][:200]}'
    return printed.rsplit('result: ', 1)[-1].strip()


def run_tests(python, env):
    """How many of the tests passed."""
    call([python, '-m', 'pip', 'install', '-q', *TEST_TOOLS], env)
    words = [python, '-m', 'pytest', '-q', '-n', '2', '-m', 'not slow', '-p', 'no:cacheprovider']
    done = subprocess.run(
        [*map(str, words), *TESTS],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        cwd=ROOT,
        encoding='utf-8',
        errors='replace',
    )
    print(done.stdout[-6000:], file=sys.stderr)
    found = re.findall(r'(\d+) (passed|failed|errors?)', done.stdout.splitlines()[-1])
    return ', '.join(f'{number} {word}' for number, word in found) or 'did not run'


def write_row(name, row):
    """Put a row into the table of the page, in place of a former one."""
    text = PAGE.read_text(encoding='utf-8')
    before, rest = text.split(BEGIN)
    table, after = rest.split(END)
    lines = [line for line in table.strip().splitlines() if not line.startswith(f'| {name} |')]
    place = f'Python {platform.python_version()}'
    cells = [name, f'{row["what"]} ({place})']
    cells += [row.get(column, row.get('says', 'not run')) for column in COLUMNS[:2]]
    cells += [row.get(column, 'not run' if 'says' not in row else '') for column in COLUMNS[2:]]
    cells = [str(cell).replace('|', '/').replace('\n', ' ') for cell in cells]
    lines.append(f'| {" | ".join(cells)} |')
    PAGE.write_text(f'{before}{BEGIN}\n' + '\n'.join(lines) + f'\n{END}{after}', encoding='utf-8')


if __name__ == '__main__':
    main()
