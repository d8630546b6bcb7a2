"""Build environments from nothing, try the package in each, and fill docs/environments.md.

    python -m tests.environments.build                      # all of them: hours, 15 GB at a time
    python -m tests.environments.build today 'no OpenMMLab' --out results.json --write
    python -m tests.environments.build 'today, Python 3.13' --python python3.13 --write

Each environment is a virtual one in a temporary folder, with what its pins say and nothing else; it
is removed afterwards. Rows that were not run stay as they are in the table.
"""

import argparse
import json
import os
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
COLUMNS = ('install', 'import', 'doctor', 'train', 'swap', 'warm start', 'fold', 'tests')
#: Fast ones, of each part that touches another library.
TESTS = (
    *('tests/test_keys', 'tests/test_inject', 'tests/test_backbones/test_backbones.py'),
    *('tests/test_checkpoints/test_reading.py', 'tests/test_checkpoints/test_load_from.py'),
    *('tests/test_swap/test_command.py', 'tests/test_engine', 'tests/test_runner'),
    *('tests/test_classification/test_training.py', 'tests/test_ops/test_install.py'),
)
TEST_TOOLS = ('pytest', 'pytest-xdist', 'hypothesis')
ORIGINAL = ('mmengine==0.10.7', 'mmcv-lite==2.1.0', 'mmdet==3.3.0', 'mmsegmentation==1.2.2')
MAINTAINED = ('onedl-mmengine', 'onedl-mmcv', 'onedl-mmdetection', 'onedl-mmsegmentation')
#: What mmseg 1.2 imports and does not ask for.
FORGOTTEN = ('ftfy', 'regex', 'setuptools<81', 'opencv-python-headless<4.12')
#: What is told of each row, unless it says so anyway.
TOLD = ('torch', 'numpy', 'timm')
#: What lets commands start, without torch.
LITTLE = (
    *('numpy', 'rich', 'pillow', 'packaging', 'opencv-python-headless<4.13'),
    *('addict', 'termcolor', 'yapf', 'pyyaml', 'matplotlib'),
)

TODAY = dict(
    what='newest torch, timm and numpy that go together; maintained line',
    install=[
        ['torch', 'torchvision'],
        ['.[onedl]'],
        ['--no-deps', 'opencv-python-headless<4.13'],
    ],
    steps=COLUMNS[1:],
)
OLDEST = dict(
    what='torch 2.1.2, torchvision 0.16.2, numpy 1.26.4, timm 0.9.16; original line as above',
    install=[
        [
            *('torch==2.1.2', 'torchvision==0.16.2', 'numpy==1.26.4', 'timm==0.9.16'),
            *(*ORIGINAL, *FORGOTTEN),
        ],
        ['.'],
    ],
    steps=COLUMNS[1:],
)
#: For each row what it is, the words of each call of ``pip install``, and the steps; if need be the
#: Python that it is for, and variables. ``.`` is the package.
ENVIRONMENTS = {
    'today': TODAY,
    'today, Python 3.10': TODAY | dict(python='3.10'),
    'today, Python 3.12': TODAY | dict(python='3.12'),
    'today, Python 3.13': TODAY | dict(python='3.13'),
    'torch 2.5, original line': dict(
        what='torch 2.5.1, numpy 1.26.4, mmengine 0.10.7, mmcv-lite 2.1.0, mmdet 3.3.0, '
        'mmseg 1.2.2',
        install=[
            ['torch==2.5.1', 'torchvision==0.20.1', 'numpy==1.26.4', *ORIGINAL, *FORGOTTEN],
            ['.'],
        ],
        steps=COLUMNS[1:],
    ),
    'oldest': OLDEST,
    'oldest, Python 3.10': OLDEST | dict(python='3.10'),
    'oldest, compiled operators': OLDEST
    | dict(
        what='the same, with mmcv 2.1.0 compiled for the CPU in place of mmcv-lite',
        install=[
            [
                *('torch==2.1.2', 'torchvision==0.16.2', 'numpy==1.26.4', 'timm==0.9.16'),
                *('wheel', 'ninja', *FORGOTTEN),
            ],
            # It takes the torch that is there.
            ['--no-build-isolation', 'mmcv==2.1.0', *(o for o in ORIGINAL if 'mmcv' not in o)],
            ['.'],
        ],
        variables={'MMCV_WITH_OPS': '1'},
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
    parser.add_argument(
        '--python', nargs='+', default=[sys.executable], metavar='PROGRAM',
        help='interpreters; an environment takes the first that it is for (default: this one)',
    )  # fmt: skip
    parser.add_argument('--keep', action='store_true', help='do not remove the environments')
    parser.add_argument('--no-tests', action='store_true', help='leave the tests out')
    parser.add_argument('--out', type=Path, help='JSON file to write results to')
    parser.add_argument('--write', action='store_true', help=f'fill {PAGE.relative_to(ROOT)}')
    args = parser.parse_args()
    unknown = set(args.names) - set(ENVIRONMENTS)
    if unknown:
        parser.error(f'unknown: {", ".join(unknown)}; there are {", ".join(ENVIRONMENTS)}')
    known = {program: version_of(program) for program in args.python}
    for name in args.names or ENVIRONMENTS:
        wanted = ENVIRONMENTS[name].get('python', '3')
        fitting = [p for p, version in known.items() if f'{version}.'.startswith(f'{wanted}.')]
        if not fitting:
            print(f'{name}: left out, no --python is Python {wanted}', file=sys.stderr)
            continue
        row = try_environment(name, fitting[0], args)
        row['python'] = known[fitting[0]]
        print(json.dumps(row, indent=1), flush=True)
        if args.out:
            rows = json.loads(args.out.read_text(encoding='utf-8')) if args.out.exists() else {}
            args.out.write_text(json.dumps({**rows, name: row}, indent=1), encoding='utf-8')
        if args.write:
            write_row(name, row)


def version_of(program):
    """The version of a Python."""
    return call([program, '-c', 'import platform; print(platform.python_version())']).strip()


def try_environment(name, program, args):
    """Build an environment and try everything in it; return the cells of its row."""
    about = ENVIRONMENTS[name]
    folder = Path(tempfile.mkdtemp(prefix='environment-'))
    env = {
        **{k: v for k, v in os.environ.items() if k not in ('PYTHONPATH', 'VIRTUAL_ENV')},
        **dict(OMP_NUM_THREADS='1', PIP_DISABLE_PIP_VERSION_CHECK='1', MPLBACKEND='agg'),
        **about.get('variables', {}),
    }
    try:
        begun = time.monotonic()
        python = folder / 'venv' / ('Scripts' if os.name == 'nt' else 'bin') / 'python'
        call([program, '-m', 'venv', folder / 'venv'], env)
        pip = [python, '-m', 'pip']
        call([*pip, 'install', '-q', '--upgrade', 'pip', 'wheel'], env)
        for words in about['install']:
            words = [str(ROOT) + word[1:] if word[0] == '.' else word for word in words]
            call([*pip, 'install', '-q', *words], env)
        if 'uninstall' in about:
            call([*pip, 'uninstall', '-q', '-y', *about['uninstall']], env)
        row = {'what': about['what'], 'install': f'{time.monotonic() - begun:.0f} s'}
        row['versions'] = versions(python, env)
        for pin in (word for words in about['install'] for word in words if '==' in word):
            library, _, wanted = pin.partition('==')
            if row['versions'].get(library) != wanted and 'uninstall' not in about:
                row['install'] += f'; {library} {wanted} became {row["versions"].get(library)}'
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


def call(words, env=None, cwd=None, timeout=3600):
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
    found = re.findall(r'(\d+) (passed|failed|errors?|skipped)', done.stdout.splitlines()[-1])
    return ', '.join(f'{number} {word}' for number, word in found) or 'did not run'


def write_row(name, row):
    """Put a row into the table of the page, in place of a former one."""
    text = PAGE.read_text(encoding='utf-8')
    before, rest = text.split(BEGIN)
    table, after = rest.split(END)
    lines = {line.split(' | ')[0].strip('| '): line for line in table.strip().splitlines()}
    found = [f'Python {row["python"]}']
    found += [
        f'{library} {version}'
        for library, version in row.get('versions', {}).items()
        if library in TOLD and not re.search(rf'\b{library} \d', row['what'])
    ]
    cells = [name, f'{row["what"]} ({", ".join(found)})']
    cells += [row.get(column, row.get('says', 'not run')) for column in COLUMNS[:2]]
    cells += [row.get(column, 'not run' if 'says' not in row else '') for column in COLUMNS[2:]]
    cells = [str(cell).replace('|', '/').replace('\n', ' ') for cell in cells]
    lines[name] = f'| {" | ".join(cells)} |'
    lines = [lines[name] for name in ENVIRONMENTS if name in lines]
    PAGE.write_text(f'{before}{BEGIN}\n' + '\n'.join(lines) + f'\n{END}{after}', encoding='utf-8')


if __name__ == '__main__':
    main()
