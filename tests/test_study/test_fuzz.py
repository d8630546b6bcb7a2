"""Study files, ledgers and results that somebody broke: a sentence, or the right result."""

import copy
import json
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mkbackbones.study.define.plan import Run, plan_runs
from mkbackbones.study.define.spec import Study, StudyError, parse_study, read_study
from mkbackbones.study.evidence import load_evidence
from mkbackbones.study.evidence.groups import read_groups
from mkbackbones.study.records.ledger import FILE, Ledger, LedgerError
from mkbackbones.study.records.results import load_results

from .fake import FakeStudy
from .tiny import write_study

FAST = dict(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
SLOW = FAST | dict(max_examples=3000)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
    st.binary(max_size=3),
    st.sampled_from(['scratch', 'config', 'detection', '..', 'stock', 'CON', 'a/b', '$x', 'é', '']),
)  # fmt: skip
KEYS = st.one_of(
    st.sampled_from(['role', 'label', 'backbone', 'kind', 'config', 'task', 'checkpoint', 'grid']),
    st.text(max_size=4),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)
CONTENT = dict(
    name='tiny',
    question='Does it run?',
    arms=dict(
        stock=dict(label='stock key', role='baseline'),
        spatial=dict(label='SpatialK', backbone=dict(key_cfg=dict(type='SpatialK'))),
    ),
    tasks=dict(
        classification=dict(kind='classification', config='classification.py', iters=6),
        second=dict(kind='classification', config='classification.py', options={'a.b': 1},
                    initial_weights=dict(task='classification')),
    ),
    seeds=[0, 1],
    initial_weights='scratch',
    budget=dict(iters=5),
    learning_rates=dict(grid=[1e-2, 1e-3], seeds=[8], iters=2),
    trusted=False,
)  # fmt: skip


def paths(content, path=()):
    """Every place in nested dicts and lists."""
    if path:
        yield path
    if not isinstance(content, dict | list):
        return
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield from paths(value, (*path, key))


PLACES = list(paths(CONTENT))
CHANGES = st.lists(
    st.tuples(st.sampled_from(PLACES), st.sampled_from(['set', 'drop', 'add']), VALUES, KEYS),
    min_size=1, max_size=3,
)  # fmt: skip


def changed(content, changes):
    content = copy.deepcopy(content)
    for path, how, value, key in changes:
        place = content
        try:
            for part in path[:-1]:
                place = place[part]
            if how == 'set':
                place[path[-1]] = value
            elif how == 'drop':
                del place[path[-1]]
            elif isinstance(place, dict):
                place[key] = value
        except (KeyError, IndexError, TypeError):
            continue
    return content


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp('study'))


def check_study_file(file, changes):
    try:
        study = parse_study(changed(CONTENT, changes), Path(file))
    except StudyError as error:
        assert str(error).strip() and '\n' not in str(error)
        return
    assert isinstance(study, Study)
    folders = [run.key for run in plan_runs(study)]
    assert len(set(folders)) == len(folders) and not any('..' in key for key in folders)


@settings(**FAST)
@given(CHANGES)
def test_study_files(file, changes):
    check_study_file(file, changes)


@pytest.mark.slow
@settings(**SLOW)
@given(CHANGES)
def test_many_study_files(file, changes):
    check_study_file(file, changes)


# ---- bytes

BREAKS = st.lists(
    st.tuples(st.sampled_from(['set', 'cut', 'end', 'zero']), st.floats(0, 1), st.integers(0, 255)),
    min_size=1, max_size=4,
)  # fmt: skip


def broken(content, breaks):
    content = bytearray(content)
    for how, where, number in breaks:
        place = int(where * len(content))
        if how == 'end':
            del content[place:]
        elif how == 'cut':
            del content[place : place + number]
        else:
            count = 1 if how == 'set' else number
            content[place : place + count] = bytes([number if how == 'set' else 0]) * len(
                content[place : place + count]
            )
    return bytes(content)


class Bytes:
    """Of a file, behind a short name for hypothesis to print."""

    def __init__(self, path):
        self.content = path.read_bytes()


@pytest.fixture(scope='module')
def ledger(tmp_path_factory):
    """A ledger with four runs, as bytes."""
    folder = tmp_path_factory.mktemp('ledger')
    found = Ledger(folder)
    runs = [Run('main', 'task', arm, seed) for arm in ('stock', 'spatial') for seed in (0, 1)]
    found.plan(runs)
    for run in runs:
        found.start(run.key, {'config': 'abc', 'data': 'def'})
        found.set_state(run.key, 'done')
    found.connection.execute('PRAGMA wal_checkpoint(TRUNCATE)')
    found.close()
    return Bytes(folder / FILE)


def check_ledger(folder, content):
    for path in folder.iterdir():
        path.unlink()
    (folder / FILE).write_bytes(content)
    try:
        found = Ledger(folder)
    except LedgerError as error:
        assert FILE in str(error) and '\n' not in str(error)
        return
    except sqlite3.OperationalError:
        return
    for row in found.rows().values():
        assert isinstance(row.fingerprint, dict)
    found.close()


@settings(**FAST)
@given(BREAKS)
def test_ledgers(ledger, tmp_path_factory, breaks):
    folder = tmp_path_factory.getbasetemp() / 'broken-ledger'
    folder.mkdir(exist_ok=True)
    check_ledger(folder, broken(ledger.content, breaks))


@pytest.mark.slow
@settings(**SLOW)
@given(BREAKS)
def test_many_ledgers(ledger, tmp_path_factory, breaks):
    folder = tmp_path_factory.getbasetemp() / 'broken-ledger-slow'
    folder.mkdir(exist_ok=True)
    check_ledger(folder, broken(ledger.content, breaks))


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    study = FakeStudy(tmp_path_factory.mktemp('fake'), arms=2, seeds=1, images=6)
    return study.run_all()


@settings(**FAST)
@given(st.sampled_from(['study.json', 'result.json', 'evidence.npz']), BREAKS)
def test_results_and_evidence(finished, name, breaks):
    file = sorted(finished.rglob(name))[0]
    content = file.read_bytes()
    try:
        file.write_bytes(broken(content, breaks))
        results = load_results(finished)
        for run in results.runs:
            load_evidence(Path(run.folder) / 'evidence.npz')
        assert all(isinstance(reason, str) for reason in results.failures)
    except ValueError as error:
        assert name in str(error) and '\n' not in str(error)
    finally:
        file.write_bytes(content)


@settings(**FAST)
@given(VALUES)
def test_groups(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / 'groups.json'
    file.write_text(json.dumps(content, default=str), encoding='utf-8')
    try:
        assert isinstance(read_groups(file), dict)
    except ValueError as error:
        assert 'groups.json' in str(error)


def test_a_valid_study_is_still_one(file):
    assert len(plan_runs(parse_study(CONTENT, Path(file)))) == 16
    assert read_study(file).name == 'tiny'
