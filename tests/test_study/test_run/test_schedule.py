"""States of runs, with an executor that does what a test tells it."""

import json

import pytest
from mmengine.config import Config

from mkbackbones.commands import study_run
from mkbackbones.commands.study import main
from mkbackbones.study.define.plan import Run
from mkbackbones.study.define.spec import StudyError, read_study
from mkbackbones.study.prepare.prepared import prepare_study
from mkbackbones.study.records.ledger import Ledger
from mkbackbones.study.records.progress import Heartbeat, Progress, is_alive, read_progress
from mkbackbones.study.records.results import read_info
from mkbackbones.study.records.run_folder import OUTPUTS
from mkbackbones.study.run.estimate import estimate_table, runs_table
from mkbackbones.study.run.executors import Executor, Job
from mkbackbones.study.run.live import duration, overview
from mkbackbones.study.run.schedule import open_schedule
from mkbackbones.study.statistics.decision import Decision

from ..tiny import write_study


class Script(Executor):
    """Ends every run at once as told: 'done', 'error', 'killed' or a dict to leave as output."""

    def __init__(self, outcome=lambda run: 'done', slots=2):
        self.outcome, self.slots, self.started, self.busy, self.most = outcome, slots, [], 0, 0

    def submit(self, folder, gpus=1):
        names = {'runs': 'main', 'trials': 'trial', 'timing': 'timing'}
        stage = next(names[part] for part in reversed(folder.parts) if part in names)
        self.started.append('/'.join(folder.parts[-4:]))
        self.busy += 1
        self.most = max(self.most, self.busy)
        return ScriptedJob(self, folder, stage, self.outcome(folder))


class ScriptedJob(Job):
    def __init__(self, executor, folder, stage, outcome):
        self.executor, self.folder, self.stage, self.outcome = executor, folder, stage, outcome
        self.polls = 0

    def poll(self):
        self.polls += 1
        if self.polls < 2:
            return None
        self.executor.busy -= 1
        if self.outcome == 'killed':
            return 'the worker was ended by SIGKILL'
        if self.outcome == 'error':
            (self.folder / 'error.json').write_text(json.dumps({'error': 'ValueError: no'}))
        else:
            content = {} if self.outcome == 'done' else self.outcome
            (self.folder / OUTPUTS[self.stage]).write_text(json.dumps(content))
        return ''

    def cancel(self):
        pass


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr('mkbackbones.study.run.schedule.POLL_SECONDS', 0)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return tmp_path_factory.mktemp('study')


@pytest.fixture
def prepared(files):
    return prepare_study(read_study(write_study(files)))


def go(prepared, folder, executor, stale='stop'):
    with open_schedule(prepared, folder, stale) as schedule:
        schedule.run(executor)
        return schedule.ledger.rows()


def states(rows):
    return [row.state for row in rows.values()]


def test_all_done_once(prepared, tmp_path):
    executor = Script()
    assert states(go(prepared, tmp_path, executor)) == ['done'] * 4
    assert executor.most == 2
    assert executor.started == [
        f'runs/classification/{arm}/seed{seed}' for seed in (0, 1) for arm in ('stock', 'spatial')
    ]
    again = Script()
    assert states(go(prepared, tmp_path, again)) == ['done'] * 4
    assert again.started == []


def test_a_plan_has_a_line_for_each_task_and_arm(prepared, tmp_path):
    def outcome(folder):
        timed = dict(step_seconds=0.5, inference_seconds=0.1, peak_memory=2**30)
        return 'error' if folder.match('spatial') else timed

    executor = Script(outcome)
    with open_schedule(prepared, tmp_path, timing=True) as schedule:
        schedule.run_stage('timing', executor)
        table = estimate_table(schedule, executor.slots)
    cells = {column.header: list(column.cells) for column in table.columns}
    assert cells['task'] == ['classification'] * 2 and cells['runs'] == ['2', '2']
    assert cells['memory'] == ['1.0 GiB', ''] and 'ValueError: no' in cells['all runs'][1]
    assert '1 timings failed' in table.caption


def test_a_plan_for_another_machine_starts_nothing(tmp_path, monkeypatch, capsys):
    study = write_study(tmp_path, extra='seeds = [0, 1, 2]')

    def no_executor(*args):
        raise AssertionError('something was to be started')

    monkeypatch.setattr(study_run, 'build_executor', no_executor)
    assert main(['plan', str(study), '--untimed', '--work-dir', str(tmp_path / 'out')]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if line.startswith(' classification')]
    assert [row[-2:] for row in rows] == [['3', '6']] * 2 and '6 runs' in out
    assert not (tmp_path / 'out').exists()


def test_a_budget_in_minutes_is_told_as_it_is(tmp_path):
    prepared = prepare_study(read_study(write_study(tmp_path, extra='budget = dict(minutes=2)')))
    with open_schedule(prepared, tmp_path / 'out', timing=False) as schedule:
        table = runs_table(schedule)
    cells = {column.header: list(column.cells) for column in table.columns}
    assert cells['iterations'] == ['2 minutes'] * 2


@pytest.mark.parametrize('how, words', [('error', 'ValueError: no'), ('killed', 'SIGKILL')])
def test_a_failed_run_is_kept_and_the_study_goes_on(prepared, tmp_path, how, words):
    def outcome(folder):
        return how if folder.match('stock/seed0') else 'done'

    rows = go(prepared, tmp_path, Script(outcome))
    assert states(rows) == ['failed', 'done', 'done', 'done']
    assert words in rows['runs/classification/stock/seed0'].error
    again = Script()
    assert states(go(prepared, tmp_path, again)) == ['done'] * 4
    assert len(again.started) == 1


def test_ctrl_c_leaves_pending_runs(prepared, tmp_path):
    class Stopped(Script):
        def submit(self, folder, gpus=1):
            if self.started:
                raise KeyboardInterrupt
            return super().submit(folder, gpus)

    with pytest.raises(KeyboardInterrupt):
        go(prepared, tmp_path, Stopped())
    with open_schedule(prepared, tmp_path) as schedule:
        assert states(schedule.ledger.rows()) == ['pending'] * 4


def test_a_run_that_was_running_when_all_was_killed_starts_again(prepared, tmp_path):
    with open_schedule(prepared, tmp_path) as schedule:
        key = next(iter(schedule.runs))
        schedule.ledger.start(key, schedule.fingerprints[key])
    assert states(go(prepared, tmp_path, Script())) == ['done'] * 4


def test_a_worker_that_outlived_its_study_is_waited_for(prepared, tmp_path, monkeypatch):
    executor = Script(slots=1)
    with open_schedule(prepared, tmp_path) as schedule:
        key = next(iter(schedule.runs))
        schedule.ledger.start(key, schedule.fingerprints[key])
    folder = tmp_path / key
    folder.mkdir(parents=True)
    looks = iter([True, True, False])

    def alive(path):
        if path != folder:
            return False
        state = next(looks, False)
        if not state:
            (folder / OUTPUTS['main']).write_text('{}')
        return state

    monkeypatch.setattr('mkbackbones.study.run.schedule.is_alive', alive)
    assert states(go(prepared, tmp_path, executor)) == ['done'] * 4
    assert len(executor.started) == 3


def test_one_study_one_process(prepared, tmp_path, monkeypatch):
    def held(path, patience=0):
        raise BlockingIOError

    monkeypatch.setattr('mkbackbones.study.run.schedule.take_lock', held)
    with pytest.raises(StudyError, match='is being run by another process'):
        go(prepared, tmp_path, Script())


class TestStale:
    @pytest.fixture
    def changed(self, prepared, tmp_path, files):
        """A study with a finished run each, whose learning rate is changed afterwards."""
        go(prepared, tmp_path, Script())
        config = files / 'classification.py'
        config.write_text(config.read_text().replace('lr=1e-3', 'lr=2e-3'))
        return prepare_study(read_study(files / 'tiny.py'))

    def test_is_said_and_nothing_is_done(self, changed, tmp_path):
        executor = Script()
        with pytest.raises(StudyError, match=r'4 of 4 runs are stale.*config.*--rerun-stale'):
            go(changed, tmp_path, executor)
        assert executor.started == []
        ledger = Ledger(tmp_path, read_only=True)
        assert states(ledger.rows()) == ['stale'] * 4
        ledger.close()

    def test_may_be_repeated(self, changed, tmp_path):
        executor = Script()
        assert states(go(changed, tmp_path, executor, 'rerun')) == ['done'] * 4
        assert len(executor.started) == 4

    def test_may_be_kept(self, changed, tmp_path):
        executor = Script()
        assert states(go(changed, tmp_path, executor, 'keep')) == ['done'] * 4
        assert states(go(changed, tmp_path, executor)) == ['done'] * 4
        assert executor.started == []
        assert '4 of 4 runs were kept' in (tmp_path / 'study.json').read_text()

    def test_is_over_once_the_change_is_undone(self, changed, tmp_path, files):
        with pytest.raises(StudyError):
            go(changed, tmp_path, Script())
        same = prepare_study(read_study(write_study(files)))
        executor = Script()
        assert states(go(same, tmp_path, executor)) == ['done'] * 4
        assert executor.started == []


def test_data_that_changed_make_runs_stale(tmp_path):
    file = write_study(tmp_path)
    go(prepare_study(read_study(file)), tmp_path / 'out', Script())
    from mkbackbones.study.prepare.fingerprint import data_hash

    data_hash.cache_clear()
    (tmp_path / 'folder' / 'train' / 'dark' / '0.png').unlink()
    with pytest.raises(StudyError, match=r'stale.*data changed \('):
        go(prepare_study(read_study(file)), tmp_path / 'out', Script())


def test_seeds_may_be_added(prepared, tmp_path, files):
    go(prepared, tmp_path, Script())
    more = prepare_study(read_study(write_study(files, extra='seeds = [0, 1, 2]')))
    executor = Script()
    assert states(go(more, tmp_path, executor)) == ['done'] * 6
    assert len(executor.started) == 2


def test_a_seed_that_was_dropped_and_taken_up_again_is_still_done(prepared, tmp_path, files):
    go(prepared, tmp_path, Script())
    fewer = prepare_study(read_study(write_study(files, extra='seeds = [1]')))
    assert states(go(fewer, tmp_path, Script())) == ['done'] * 2
    executor = Script()
    assert states(go(prepared, tmp_path, executor)) == ['done'] * 4
    assert executor.started == []


@pytest.mark.parametrize('content', [None, b'', b'SQLite format 3\0 and no more', bytes(5000)])
def test_a_lost_or_damaged_ledger_is_made_again_from_the_runs(prepared, tmp_path, content):
    before = go(prepared, tmp_path, Script())
    for path in tmp_path.glob('ledger.sqlite*'):
        path.unlink()
    if content is not None:
        (tmp_path / 'ledger.sqlite').write_bytes(content)
    executor = Script()
    with open_schedule(prepared, tmp_path) as schedule:
        schedule.run(executor)
        after, notes = schedule.ledger.rows(), schedule.notes
    assert executor.started == []
    for key, row in after.items():
        assert (row.state, row.fingerprint) == ('done', before[key].fingerprint)
        assert (row.attempts, row.started) == (1, pytest.approx(before[key].started, abs=1))
    assert content == b'' or 'made again' in notes[0]


def test_results_without_a_ledger_and_without_a_word_of_their_own_are_not_trusted(
    prepared, tmp_path
):
    go(prepared, tmp_path, Script())
    for path in [*tmp_path.glob('ledger.sqlite*'), *tmp_path.rglob('run.json')]:
        path.unlink()
    with pytest.raises(StudyError, match=r'4 of 4 runs are stale.*without this ledger'):
        go(prepared, tmp_path, Script())


def test_the_best_learning_rate_is_taken(tmp_path):
    extra = 'learning_rates = dict(grid=[1e-2, 1e-3, 1e-4], seeds=[8, 9], iters=2)'
    prepared = prepare_study(read_study(write_study(tmp_path, extra=extra)))

    def outcome(folder):
        if 'trials' not in folder.parts:
            return 'done'
        scores = {'lr0.01': float('-inf'), 'lr0.001': 50.0, 'lr0.0001': 60.0}
        return {'score': scores[folder.parts[-2]] - (20 if folder.match('seed9') else 0)}

    with open_schedule(prepared, tmp_path / 'out') as schedule:
        schedule.run(Script(outcome))
        assert set(states(schedule.ledger.rows())) == {'done'}
        assert schedule.needs.learning_rate(Run('main', 'classification', 'spatial', 0)) == 1e-4
    config = Config.fromfile(tmp_path / 'out/runs/classification/spatial/seed0/config.py')
    assert config.optim_wrapper.optimizer.lr == 1e-4


def test_a_run_whose_trials_all_diverged_fails_and_says_so(tmp_path):
    extra = 'learning_rates = dict(grid=[1e-2, 1e-3], seeds=[8])'
    prepared = prepare_study(read_study(write_study(tmp_path, extra=extra)))
    rows = go(
        prepared,
        tmp_path / 'out',
        Script(lambda folder: {'score': float('-inf')} if 'trials' in folder.parts else 'done'),
    )
    row = rows['runs/classification/stock/seed0']
    assert row.state == 'failed' and 'every learning rate of the grid diverged' in row.error


def test_minutes_become_iterations(tmp_path):
    prepared = prepare_study(read_study(write_study(tmp_path, extra='budget=dict(minutes=2)')))

    def outcome(folder):
        seconds = 0.5 if folder.match('*/stock') else 0.8
        return {'step_seconds': seconds} if 'timing' in folder.parts else 'done'

    with open_schedule(prepared, tmp_path / 'out') as schedule:
        executor = Script(outcome)
        schedule.run(executor)
        assert schedule.needs.iterations(Run('main', 'classification', 'stock', 0)) == 240
        assert schedule.needs.iterations(Run('main', 'classification', 'spatial', 0)) == 150


class TestProgress:
    def test_a_lock_tells_whether_a_worker_lives(self, tmp_path):
        import subprocess
        import sys

        assert not is_alive(tmp_path)
        code = (
            'import sys, time; from pathlib import Path\n'
            'from mkbackbones.study.records.progress import Heartbeat\n'
            'beat = Heartbeat(Path(sys.argv[1])); beat.update(phase="training", iter=3)\n'
            'print("ready", flush=True); time.sleep(60)'
        )
        command = [sys.executable, '-c', code, str(tmp_path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == 'ready\n'
        assert is_alive(tmp_path) and read_progress(tmp_path).iter == 3
        with pytest.raises(BlockingIOError):
            Heartbeat(tmp_path)
        process.kill()
        process.wait()
        assert not is_alive(tmp_path) and read_progress(tmp_path).iter == 3

    def test_elsewhere_the_age_of_the_file_tells(self, tmp_path):
        import os
        from dataclasses import asdict

        path = tmp_path / 'progress.json'
        path.write_text(json.dumps(asdict(Progress(host='far away'))))
        assert is_alive(tmp_path)
        os.utime(path, (0, 0))
        assert not is_alive(tmp_path)

    def test_half_a_file_is_no_progress(self, tmp_path):
        (tmp_path / 'progress.json').write_text('{"phase": "trai')
        assert read_progress(tmp_path) is None


def test_overview(prepared, tmp_path):
    from rich.console import Console

    go(prepared, tmp_path, Script(lambda f: 'error' if f.match('stock/seed1') else 'done'))
    ledger = Ledger(tmp_path)
    ledger.start('runs/classification/stock/seed0', {})
    progress = Progress('training', 3, 6, loss=0.5, step_seconds=2.0, memory=2**30)
    (tmp_path / 'runs/classification/stock/seed0/progress.json').write_text(
        json.dumps(vars(progress))
    )
    console = Console(width=120, record=True, file=open('/dev/null', 'w'))  # noqa: SIM115
    console.print(overview(tmp_path, ledger.rows().values()))
    ledger.close()
    text = console.export_text()
    assert '4 runs: 1 running, 2 done, 1 failed' in text
    assert '3/6' in text and '0.5' in text and '1.0 GiB' in text and '6 s' in text
    assert 'failed: runs/classification/stock/seed1: ValueError: no' in text


@pytest.mark.parametrize(
    'seconds, words', [(3.4, '3 s'), (250, '4 min 10 s'), (11100, '3 h 05 min')]
)
def test_duration(seconds, words):
    assert duration(seconds) == words


PLANNED = 'seeds = [0, 1, 2, 3]\nplan = dict(margin=0.5, looks=[2, 3, 4])'


def test_seeds_end_with_the_look_that_decides(tmp_path):
    planned = prepare_study(read_study(write_study(tmp_path, extra=PLANNED)))
    executor, looks = Script(), []

    def look_at(count):
        looks.append((count, len(executor.started)))
        return Decision(count == 3, f'after {count} seeds')

    folder = tmp_path / 'study'
    with open_schedule(planned, folder) as schedule:
        spared = schedule.run_looks(executor, lambda: None, look_at)
        assert looks == [(2, 4), (3, 6)] and schedule.notes == ['after 2 seeds', 'after 3 seeds']
        assert spared == {f'runs/classification/{arm}/seed3' for arm in ('stock', 'spatial')}
        assert {key for key, row in schedule.ledger.rows().items() if row.state != 'done'} == spared
    info = read_info(folder / 'study.json')
    assert info.seeds == [0, 1, 2] and info.looks == (2, 3, 4) and info.plan.deviations == []
    go(planned, folder, executor)  # whoever wants the rest may have it
    assert read_info(folder / 'study.json').seeds == [0, 1, 2, 3] and len(executor.started) == 8


def test_a_plan_that_changes_after_the_first_run_is_a_deviation(tmp_path):
    def deviations(extra, run=True):
        prepared = prepare_study(read_study(write_study(tmp_path, extra=extra)))
        with open_schedule(prepared, tmp_path / 'study') as schedule:
            if run:
                schedule.run(Script())
        return read_info(tmp_path / 'study/study.json').plan.deviations

    assert deviations('plan = dict(margin=1)', run=False) == []
    assert deviations('plan = dict(margin=0.5)') == []  # nothing had run before
    (changed,) = deviations('plan = dict(margin=2)')
    assert 'after 4 runs had been started; it was: margin of equivalence: classification ±0.5' in (
        changed
    )
    assert deviations('plan = dict(margin=2)') == [changed]
    assert deviations('')[1] == (
        'The plan is gone from the study file after 4 runs had been started.'
    )


def test_a_plan_made_after_runs_is_a_deviation(prepared, tmp_path, files):
    go(prepared, tmp_path, Script())
    planned = prepare_study(read_study(write_study(files, extra='plan = dict(margin=1)')))
    write_study(files)
    go(planned, tmp_path, Script())
    assert read_info(tmp_path / 'study.json').plan.deviations == [
        'The plan was made after 4 runs had been started.'
    ]


def test_until_decided_takes_planned_looks(tmp_path, capsys):
    file = write_study(tmp_path)
    arguments = ['run', str(file), '--work-dir', str(tmp_path / 'study'), '--until', 'decided']
    assert main([*arguments, '--device', 'cpu']) == 2
    assert 'takes looks that the study file plans, e.g. plan=dict(' in capsys.readouterr().err
    assert not (tmp_path / 'study').exists()
