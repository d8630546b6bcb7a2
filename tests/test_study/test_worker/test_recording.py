"""What a training leaves when it goes well, when the disk is full, and when the loss is not."""

import math

import pytest
import torch

from mkbackbones.engine import ChartInfoHook
from mkbackbones.study.define.plan import Run
from mkbackbones.study.define.spec import read_study
from mkbackbones.study.prepare.prepared import prepare_study
from mkbackbones.study.records.progress import Heartbeat
from mkbackbones.study.records.run_folder import BEST, LATEST
from mkbackbones.study.worker.main import chart_curves
from mkbackbones.study.worker.recording import Diverged, Record
from mkbackbones.study.worker.training import build_training, train

from ..tiny import write_study


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    return prepare_study(read_study(write_study(tmp_path_factory.mktemp('study'))))


@pytest.fixture
def training(prepared, tmp_path):
    """A function that builds the training of a run in one folder, anew each time."""
    folder = tmp_path / 'a' / 'run'
    folder.mkdir(parents=True)
    beats = []

    def build(stage='main'):
        for beat in beats:
            beat.lock.close()
        beats.append(Heartbeat(folder))
        run = Run(stage, 'classification', 'spatial', 0, 1e-3 if stage == 'trial' else None)
        return build_training(prepared.config(run), folder, beats[-1])

    return build


def test_validation_picks_the_best_and_the_record_is_in_the_checkpoint(training):
    runner, recorder = training()
    scores = iter([40.0, 70.0])
    recorder.score = lambda metrics: next(scores)
    train(runner, recorder)
    record = recorder.record
    assert record.val_curve == [[3, 40.0], [6, 70.0]] and record.best_iteration == 6
    assert len(record.losses) == len(record.seconds) == 6
    latest = torch.load(recorder.folder / LATEST, weights_only=False)
    assert latest['meta']['iter'] == 6 and 'optimizer' in latest
    assert Record(**latest['mkbackbones_study']) == record
    best = torch.load(recorder.folder / BEST, weights_only=False)
    assert best['meta']['iter'] == 6 and 'optimizer' not in best

    _, resumed = again = training()
    train(*again)  # nothing is left to do
    assert resumed.record == record


def test_a_later_worse_score_leaves_the_best(training):
    runner, recorder = training()
    scores = iter([70.0, 40.0])
    recorder.score = lambda metrics: next(scores)
    train(runner, recorder)
    assert recorder.record.best_iteration == 3
    assert torch.load(recorder.folder / BEST, weights_only=False)['meta']['iter'] == 3


def test_a_full_disk_leaves_the_former_checkpoint(training, monkeypatch):
    runner, recorder = training()
    save = runner.save_checkpoint

    def full(out_dir, filename, **kwargs):
        if kwargs['meta']['iter'] == 5:
            (recorder.folder / filename).write_bytes(b'half a checkpoint')
            raise OSError(28, 'No space left on device')
        save(out_dir, filename, **kwargs)

    monkeypatch.setattr(runner, 'save_checkpoint', full)
    with pytest.raises(OSError, match='No space left'):
        train(runner, recorder)
    assert torch.load(recorder.folder / LATEST, weights_only=False)['meta']['iter'] == 4
    assert not list(recorder.folder.glob('*.partial'))

    undisturbed = recorder.record.losses
    _, recorder = again = training()
    train(*again)
    assert recorder.record.losses[:5] == undisturbed and len(recorder.record.losses) == 6


def test_a_loss_that_is_no_number_ends_a_training(training, monkeypatch):
    runner, recorder = training()
    step = runner.model.train_step
    monkeypatch.setattr(
        runner.model,
        'train_step',
        lambda *a, **k: {**step(*a, **k), 'loss': torch.tensor(math.nan)},
    )
    with pytest.raises(Diverged, match='the loss is nan at iteration 1'):
        train(runner, recorder)
    assert not (recorder.folder / LATEST).exists()


@pytest.mark.parametrize(
    'metrics, wanted',
    [({}, 0.0), ({'accuracy/top1': 12.0}, 12.0), ({'accuracy/top1': math.nan}, 0.0)],
)
def test_score(training, metrics, wanted):
    assert training()[1].score(metrics) == wanted


def test_another_metric_is_an_error(training):
    with pytest.raises(KeyError, match='gives no accuracy/top1, only mIoU'):
        training()[1].score({'mIoU': 1.0})


def test_how_charts_moved_is_there_after_a_stop_at_the_end(training):
    runner, recorder = training()
    runner.register_hook(ChartInfoHook(interval=2))
    train(runner, recorder)
    found = chart_curves(runner)
    assert found['iteration'] == [1, 2, 4, 6] and len(found['out_scale']) == 4

    again, resumed = training()
    again.message_hub.log_scalars.clear()  # another process knows nothing of it
    train(again, resumed)  # nothing is left to do
    assert chart_curves(again) == found
