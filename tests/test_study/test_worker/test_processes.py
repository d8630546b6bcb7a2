"""A run in two processes computes what a run in one does, and fails in words."""

import json
import os
import signal
import sys
import time

import pytest
from mmengine.config import Config

from mkbackbones.study.define.plan import Run
from mkbackbones.study.define.spec import StudyError, read_study
from mkbackbones.study.prepare.prepared import prepare_study
from mkbackbones.study.records.plain_config import write_config
from mkbackbones.study.run.executors import LocalExecutor
from mkbackbones.study.run.schedule import open_schedule
from mkbackbones.study.worker.processes import launch, share_batch

from ..test_run.test_executors import wait
from ..tiny import write_study

RUN = Run('main', 'classification', 'stock', 0)
#: No draws in data or model: what is left is arithmetic.
PLAIN = {
    'train_dataloader.dataset.transforms': [dict(type='Resize', size=(32, 32), antialias=True)],
    'model.backbone.drop_path_rate': 0.0,
}


def prepare(folder, gpus, options=PLAIN):
    extra = f"""
        seeds = [0]
        tasks['classification'].update(gpus={gpus}, options={options!r})
    """
    return prepare_study(read_study(write_study(folder, extra=extra)))


def ready(prepared, folder, model=None):
    """A folder with the config of a run in it."""
    cfg = prepared.config(RUN)
    cfg.model.type = model or cfg.model.type
    folder.mkdir()
    write_config(folder, cfg)
    return folder


def test_two_processes_compute_what_one_does(executor, tmp_path):
    found, prints = [], []
    for count in (1, 2):
        prepared = prepare(tmp_path, count)
        folder = ready(prepared, tmp_path / str(count))
        assert wait(executor.submit(folder, count)) == ''
        found.append(json.loads((folder / 'result.json').read_text()))
        prints.append(prepared.fingerprint(RUN))
    one, two = found
    assert two['losses'] == pytest.approx(one['losses'], rel=1e-4)
    assert all(one[key] == two[key] for key in ('val_curve', 'metrics', 'lr', 'parameters'))
    assert [entry['environment']['device'] for entry in found] == ['CPU', '2 x CPU']
    assert 'each run trains on 2 GPUs' in ' '.join(prepared.info().fairness)
    assert prints[0] != prints[1]  # another number of processes is another run


@pytest.mark.slow
def test_a_stop_is_survived(executor, tmp_path):
    """Ended in the middle, it goes on from its checkpoint, and nothing of it is left running."""
    prepared = prepare(tmp_path, 2, {'train_cfg.max_iters': 400, 'train_cfg.val_interval': 400})
    folder = ready(prepared, tmp_path / 'run')
    job = executor.submit(folder, 2)
    end = time.monotonic() + 600
    while not (folder / 'latest.pth').exists():
        assert time.monotonic() < end and job.poll() is None
        time.sleep(0.02)
    first = json.loads((folder / 'progress.json').read_text())['pid']
    job.cancel()
    assert 'SIGTERM' in job.poll()
    with pytest.raises(ProcessLookupError):
        for _ in range(600):
            os.kill(first, 0)
            time.sleep(0.1)
    assert wait(executor.submit(folder, 2)) == ''
    assert len(json.loads((folder / 'result.json').read_text())['losses']) == 400


def test_one_that_fails_ends_all(tmp_path, monkeypatch):
    """Here the second one, while the first would wait for it."""
    program = tmp_path / 'python'
    program.write_text('#!/bin/sh\n[ $RANK = 1 ] && exit 3\necho $$ > "$3"/first; exec sleep 600\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(program))
    former = signal.getsignal(signal.SIGTERM)
    try:
        assert launch(tmp_path, 2) == 3
    finally:
        signal.signal(signal.SIGTERM, former)
    if (tmp_path / 'first').exists():  # it got as far as that
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / 'first').read_text()), 0)


@pytest.mark.slow
def test_one_that_fails_ends_all_and_tells_why(executor, tmp_path):
    folder = ready(prepare(tmp_path, 2), tmp_path / 'run', 'NoSuchModel')
    assert wait(executor.submit(folder, 2)) == ''
    assert 'NoSuchModel' in (folder / 'error.json').read_text()


@pytest.mark.parametrize('gpus, words', [(3, 'batch of 4 cannot be dealt out to 3'), (0, 'gpus=0')])
def test_numbers_that_cannot_be(tmp_path, gpus, words):
    with pytest.raises(StudyError, match=words):
        prepare(tmp_path, gpus)


def test_the_nearest_batch_is_named():
    cfg = Config(dict(train_dataloader=dict(batch_size=10)))
    with pytest.raises(ValueError, match='batch_size=9 in options'):
        share_batch(cfg, 3)
    share_batch(cfg, 2)
    assert cfg.train_dataloader.batch_size == 5


class TestSlots:
    """A run with two GPUs takes a slot of two different ones."""

    @pytest.fixture(autouse=True)
    def command(self, monkeypatch):
        monkeypatch.setattr(
            'mkbackbones.study.run.executors.local.worker_command',
            lambda folder: ['/bin/sh', '-c', 'exec sleep 60'],
        )
        monkeypatch.setenv('PATH', '/usr/bin:/bin')  # no MPS

    def test_of_two_gpus(self, tmp_path):
        executor = LocalExecutor(1, ['4', '7'])
        assert executor.has_room(2) and not executor.why_never(2)
        job = executor.submit(tmp_path, 2)
        assert not executor.has_room(1)
        job.cancel()
        assert executor.has_room(2)
        single = executor.submit(tmp_path)
        assert executor.has_room(1) and not executor.has_room(2)
        single.cancel()
        assert executor.environment(0, 1)['CUDA_VISIBLE_DEVICES'] == '4,7'
        assert executor.why_never(3) == 'it asks for 3 GPUs, and here are 2'
        executor.close()

    def test_a_study_that_asks_for_too_many_says_so_at_once(self, tmp_path):
        prepared = prepare(tmp_path, 4)
        executor = LocalExecutor(1, ['0'])
        words = 'task classification: it asks for 4 GPUs, and here are 1'
        with open_schedule(prepared, tmp_path / 'out') as schedule:
            with pytest.raises(StudyError, match=words):
                schedule.run(executor)
            assert {row.attempts for row in schedule.ledger.rows().values()} == {0}
        executor.close()
