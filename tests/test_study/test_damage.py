"""Power cuts, kills and damaged files: nothing finished is lost, nothing stops, all is said."""

import json
import os
import shutil
import time
import zipfile
from pathlib import Path

import pytest
import torch

from mkbackbones.checkpoints.report import UntrustedError
from mkbackbones.commands.study import main
from mkbackbones.files import written_aside
from mkbackbones.study.define.plan import Run
from mkbackbones.study.define.spec import StudyError, read_study
from mkbackbones.study.prepare.prepared import prepare_study
from mkbackbones.study.records.progress import is_alive
from mkbackbones.study.records.run_folder import BEST, LATEST
from mkbackbones.study.report import write_report
from mkbackbones.study.run.schedule import open_schedule

from .fake import FakeStudy
from .test_run.test_schedule import Script, go, quick, states  # noqa: F401 - a fixture
from .tiny import write_study

KEY = 'runs/classification/stock/seed0'
DAMAGE = ['', '{"task": "cl', '\0' * 50, '[]', '[' * 100_000]


@pytest.fixture
def prepared(tmp_path):
    (tmp_path / 'files').mkdir()
    return prepare_study(read_study(write_study(tmp_path / 'files')))


def run_noting(prepared, folder, executor):
    with open_schedule(prepared, folder) as schedule:
        schedule.run(executor)
        return states(schedule.ledger.rows()), schedule.notes


class TestStudyFolder:
    @pytest.mark.parametrize('content', DAMAGE)
    def test_a_damaged_result_is_done_again(self, prepared, tmp_path, content):
        go(prepared, tmp_path / 'out', Script())
        (tmp_path / 'out' / KEY / 'result.json').write_text(content)
        executor = Script()
        found, notes = run_noting(prepared, tmp_path / 'out', executor)
        assert executor.started == [KEY] and found == ['done'] * 4
        assert 'result.json is damaged' in notes[0]

    def test_damaged_evidence_is_done_again(self, prepared, tmp_path):
        go(prepared, tmp_path / 'out', Script())
        (tmp_path / 'out' / KEY / 'evidence.npz').write_bytes(b'PK\3\4 and no more')
        executor = Script()
        _, notes = run_noting(prepared, tmp_path / 'out', executor)
        assert executor.started == [KEY] and 'evidence.npz is damaged' in notes[0]

    @pytest.mark.parametrize('content', DAMAGE)
    def test_a_damaged_error_or_study_file_stops_nothing(self, prepared, tmp_path, content):
        folder = tmp_path / 'out'
        go(prepared, folder, Script(lambda run: 'error' if 'stock/seed0' in str(run) else 'done'))
        (folder / KEY / 'error.json').write_text(content)
        (folder / 'study.json').write_text(content)
        assert states(go(prepared, folder, Script())) == ['done'] * 4
        assert json.loads((folder / 'study.json').read_text())['name'] == 'tiny'

    @pytest.mark.parametrize('name', ['timing.json', 'trial.json'])
    def test_damaged_timings_and_trials_are_done_again(self, tmp_path, name):
        extra = 'budget=dict(minutes=1)\nlearning_rates=dict(grid=[1e-2, 1e-3], seeds=[8])'
        prepared = prepare_study(read_study(write_study(tmp_path, extra=extra)))

        def outcome(folder):
            names = {'timing': {'step_seconds': 1.0}, 'trials': {'score': 1.0}}
            return next((names[part] for part in folder.parts if part in names), 'done')

        go(prepared, tmp_path / 'out', Script(outcome))
        file = next((tmp_path / 'out').rglob(name))
        file.write_text('')
        executor = Script(outcome)
        found = states(go(prepared, tmp_path / 'out', executor))
        assert set(found) == {'done'} and len(executor.started) == 1

    @pytest.mark.parametrize('files', [[], ['config.py'], ['config.py', 'config.json', 'run.json']])
    def test_killed_between_the_folder_and_the_ledger(self, prepared, tmp_path, files):
        folder = tmp_path / 'out'
        with open_schedule(prepared, folder):
            (folder / KEY).mkdir(parents=True)
            for name in files:
                (folder / KEY / name).write_text('')
        assert states(go(prepared, folder, Script())) == ['done'] * 4

    def test_killed_after_run_json_and_before_the_ledger(self, prepared, tmp_path):
        """A run whose data have changed since is stale, although the ledger knows nothing."""
        folder = tmp_path / 'out'
        go(prepared, folder, Script())
        about = json.loads((folder / KEY / 'run.json').read_text())
        about['fingerprint']['data'] = 'another'
        (folder / KEY / 'run.json').write_text(json.dumps(about))
        (folder / 'ledger.sqlite').unlink()
        with pytest.raises(StudyError, match=r'1 of 4 runs are stale.*data changed'):
            go(prepared, folder, Script())

    def test_leftovers_of_killed_workers_are_removed(self, prepared, tmp_path):
        folder = tmp_path / 'out'
        go(prepared, folder, Script())
        run = folder / KEY
        for name in (LATEST, '.latest.pth.partial', '.result.json.1234.partial'):
            (run / name).write_text('')
        (run / '.predictions.partial').mkdir()
        go(prepared, folder, Script())
        assert not [path for path in run.iterdir() if 'partial' in path.name or path.name == LATEST]

    def test_a_folder_that_cannot_be_written_is_named(self, prepared, tmp_path):
        (tmp_path / 'file').write_text('')
        with pytest.raises(StudyError, match=r'file.* cannot be written to'):
            go(prepared, tmp_path / 'file' / 'out', Script())

    @pytest.mark.parametrize('seconds', [86400, -86400])
    def test_a_worker_elsewhere_is_alive_near_the_present_alone(self, tmp_path, seconds):
        file = tmp_path / 'progress.json'
        file.write_text(json.dumps({'host': 'another', 'pid': 5}))
        assert is_alive(tmp_path)
        os.utime(file, (time.time() + seconds,) * 2)
        assert not is_alive(tmp_path)

    def test_status_names_a_damaged_ledger(self, prepared, tmp_path, capsys):
        go(prepared, tmp_path / 'out', Script())
        (tmp_path / 'out/ledger.sqlite').write_bytes(b'no database, by far')
        assert main(['status', str(tmp_path / 'out')]) == 2
        assert 'ledger.sqlite cannot be read' in capsys.readouterr().err


def test_what_is_written_aside_reaches_the_disk_before_its_name(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(handle):
        events.append(('sync', Path(os.readlink(f'/proc/self/fd/{handle}')).name))
        fsync(handle)

    def note_replace(old, new):
        events.append(('rename', Path(new).name))
        replace(old, new)

    monkeypatch.setattr('os.fsync', note_fsync)
    monkeypatch.setattr('os.replace', note_replace)
    with written_aside(tmp_path / 'x.json') as work:
        work.write_text('1')
    assert events == [('sync', work.name), ('rename', 'x.json'), ('sync', tmp_path.name)]


class TestCheckpoints:
    """A damaged latest.pth or best.pth of a run that is resumed."""

    @pytest.fixture(scope='class')
    def training(self, tmp_path_factory):
        """Validated at iteration 3 (best.pth) and stopped at 4 (latest.pth); how to go on."""
        from mkbackbones.study.records.progress import Heartbeat
        from mkbackbones.study.worker.training import build_training, train

        root = tmp_path_factory.mktemp('stopped')
        prepared = prepare_study(read_study(write_study(root)))
        beats = []

        def build(folder):
            for beat in beats:
                beat.lock.close()
            beats.append(Heartbeat(folder))
            cfg = prepared.config(Run('main', 'classification', 'spatial', 0))
            return build_training(cfg, folder, beats[-1])

        folder = root / 'a' / 'run'
        folder.mkdir(parents=True)
        runner, recorder = build(folder)
        stop(recorder, 4)
        with pytest.raises(KeyboardInterrupt):
            train(runner, recorder)
        assert (folder / LATEST).is_file() and (folder / BEST).is_file()
        return folder, build, train

    @pytest.fixture
    def stopped(self, training, tmp_path):
        """A copy of what was stopped."""
        folder, build, train = training
        shutil.copytree(folder, tmp_path / 'a' / 'run')
        return tmp_path / 'a' / 'run', lambda: build(tmp_path / 'a' / 'run'), train

    def finish(self, stopped):
        _, build, train = stopped
        runner, recorder = build()
        first = runner.cfg.get('resume', False)
        train(runner, recorder)
        assert len(recorder.record.losses) == 6
        return first

    def test_without_damage_it_goes_on(self, stopped):
        assert self.finish(stopped)

    def test_what_was_read_to_check_it_is_not_read_again(self, stopped, monkeypatch):
        from mmengine.runner.checkpoint import CheckpointLoader

        from mkbackbones.checkpoints import source

        names, read = [], source.read_archive

        def counted(path, shapes_only=False):
            names.extend([] if shapes_only else [Path(path).name])
            return read(path, shapes_only)

        monkeypatch.setattr(source, 'read_archive', counted)
        _, build, train = stopped
        assert self.finish(stopped)
        assert sorted(names) == [BEST, LATEST]
        train(*build())  # nothing is left to do, and nobody takes what was read
        assert not [prefix for prefix in CheckpointLoader._schemes if LATEST[:-4] in prefix]

    @pytest.mark.parametrize('damage', [b'', b'PK\3\4', None])
    def test_it_starts_again_without_its_latest_checkpoint(self, stopped, damage, capfd):
        folder = stopped[0]
        content = (folder / LATEST).read_bytes()
        (folder / LATEST).write_bytes(content[: len(content) // 2] if damage is None else damage)
        assert not self.finish(stopped)
        assert str(folder / LATEST) in capfd.readouterr().err

    def test_it_starts_again_without_its_best_one(self, stopped, capfd):
        folder = stopped[0]
        (folder / BEST).write_bytes(b'')
        assert not self.finish(stopped)
        assert 'the run starts again' in capfd.readouterr().err

    def test_the_best_one_is_made_again_from_the_latest_where_that_is_it(self, stopped):
        folder = stopped[0]
        best = torch.load(folder / BEST, weights_only=False)
        latest = torch.load(folder / LATEST, weights_only=False)
        for name in ('state_dict', 'meta', 'mkbackbones_study'):
            latest[name] = best[name]
        latest['meta']['iter'] = best['mkbackbones_study']['best_iteration']
        torch.save(latest, folder / LATEST)
        (folder / BEST).write_bytes(b'')
        assert self.finish(stopped)
        again = torch.load(folder / BEST, weights_only=False)
        assert 'optimizer' not in again

    def test_what_a_hook_of_the_user_has_put_into_it_is_no_damage(self, stopped):
        """It is kept and told, not thrown away with the training in it."""
        folder = stopped[0]
        content = torch.load(folder / LATEST, weights_only=False)
        torch.save({**content, 'mine': Path}, folder / LATEST)
        with pytest.raises(UntrustedError, match='trusted=True'):
            self.finish(stopped)
        assert (folder / LATEST).is_file()


def stop(recorder, iteration):
    """Let a training be interrupted after an iteration, whose checkpoint is there."""
    step = recorder.after_train_iter

    def step_and_stop(runner, *args, **kwargs):
        step(runner, *args, **kwargs)
        if runner.iter + 1 == iteration:
            raise KeyboardInterrupt

    recorder.after_train_iter = step_and_stop


class TestReport:
    @pytest.fixture
    def study(self, tmp_path):
        found = FakeStudy(tmp_path, arms=2, tasks=('detection',), seeds=2, images=6)
        found.run_all()
        return found.folder

    @pytest.mark.parametrize('name', ['result.json', 'study.json', 'evidence.npz'])
    @pytest.mark.parametrize('keep', [0, 100])
    def test_a_damaged_file_is_named(self, study, name, keep, capsys):
        file = next(study.rglob(name))
        file.write_bytes(file.read_bytes()[:keep])
        assert main(['report', str(study), '--no-examples']) in (0, 2)
        assert name in ''.join(capsys.readouterr())

    def test_evidence_that_inflates_is_refused(self, study, monkeypatch, capsys):
        monkeypatch.setattr('mkbackbones.study.evidence.base.MAX_BYTES', 1 << 20)
        file = next(study.rglob('evidence.npz'))
        with zipfile.ZipFile(file, 'a', zipfile.ZIP_DEFLATED) as archive:
            archive.writestr('x.npy', bytes(2 << 20))
        assert main(['report', str(study)]) == 2
        assert 'evidence.npz cannot be read (it would unpack' in capsys.readouterr().err

    def test_any_label(self, study):
        info = json.loads((study / 'study.json').read_text())
        info['arms']['spatial']['label'] = r'$\foo{$ 50 % <b> _x_ 日本'
        (study / 'study.json').write_text(json.dumps(info))
        write_report(study)

    def test_a_folder_from_elsewhere_is_read_and_not_run(self, study, monkeypatch, tmp_path):
        """Neither its config.py, nor a type in its config.json that names any function."""
        ran = tmp_path / 'it_ran'
        code = f'open({str(ran)!r}, "w").close()'
        for path in study.rglob('config.py'):
            path.write_text(code)
        kinds = ['builtins.exec', 'os.system', 'mmengine.Config.fromfile', 'no.such', '', 'exec']
        for path, kind in zip(sorted(study.rglob('config.json')), kinds):
            path.write_text(json.dumps({
                'default_scope': 'builtins' if kind == 'exec' else None,
                'custom_imports': {'imports': ['antigravity']},
                'test_dataloader': {'dataset': {'type': kind, 'source': code, 'command': code}},
            }))  # fmt: skip
            report = write_report(study)
        assert not ran.exists()
        assert 'the test images cannot be read' in report.page.read_text()

    def test_pictures_come_from_the_config_as_data(self, study):
        for path in study.rglob('config.py'):
            path.unlink()
        assert 'cannot be read' not in write_report(study).page.read_text()


def test_labels_are_text_on_the_console_too(tmp_path, capsys):
    folder = FakeStudy(tmp_path, arms=2, seeds=2, images=6).run_all()
    info = json.loads((folder / 'study.json').read_text())
    info['arms']['spatial']['label'] = '[/x] [red]SpatialK'
    (folder / 'study.json').write_text(json.dumps(info))
    assert main(['report', str(folder), '--no-examples']) == 0
    assert main(['compare', str(folder), str(folder)]) == 0
    assert capsys.readouterr().out.count('[/x]') >= 2
