"""Runs side by side are measured, and a number of them is recommended."""

import json
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mkbackbones.commands import study as command
from mkbackbones.study.define.spec import read_study
from mkbackbones.study.prepare.prepared import prepare_study
from mkbackbones.study.run import throughput
from mkbackbones.study.run.throughput import FILE, Throughput, measure, recommend, throughput_table

from ..tiny import write_study


@given(st.lists(st.floats(1, 1000), min_size=1, max_size=6))
def test_the_smallest_number_that_is_nearly_as_good_is_recommended(rates):
    found = [Throughput(2**i, [1.0], rate) for i, rate in enumerate(rates)]
    best = recommend(found)
    assert best.images_per_second >= 0.95 * max(rates)
    assert all(e.images_per_second < 0.95 * max(rates) for e in found if e.slots < best.slots)


def test_what_failed_is_never_recommended():
    found = [Throughput(1, [0.5], 2.0), Throughput(2, [], error='out of memory')]
    assert recommend(found).slots == 1
    assert recommend(found[1:]) is None
    console = Console(width=100, record=True)
    console.print(throughput_table(found, 't'))
    text = console.export_text()
    assert 'out of memory' in text and 'recommended: --slots 1' in text


@pytest.fixture
def few(monkeypatch, executor):
    """Two cores, and workers of the process that has imported the libraries for other tests."""

    class Lent:
        submit, close = executor.submit, lambda self: None

    monkeypatch.setattr(throughput, 'SECONDS', 0.3)
    monkeypatch.setattr(throughput, 'usable_cores', lambda: 2)
    monkeypatch.setattr(throughput, 'LocalExecutor', lambda slots, gpus, warm: Lent())


def test_plan_measures_one_and_two_at_a_time(tmp_path, few, capsys):
    study, out = write_study(tmp_path), tmp_path / 'out'
    args = ['plan', str(study), '--measure', '--device', 'cpu', '--work-dir', str(out)]
    assert command.main(args) == 0
    content = json.loads((out / FILE).read_text())
    assert [entry['slots'] for entry in content['measured']] == [1, 2]
    for entry in content['measured']:
        assert len(entry['step_seconds']) == entry['slots'] and not entry['error']
        # Batches of 4, of all runs together.
        rate = entry['slots'] * 4 / statistics.harmonic_mean(entry['step_seconds'])
        assert entry['images_per_second'] == pytest.approx(rate)
    assert f'recommended: --slots {content["recommended"]}' in capsys.readouterr().out


def test_a_training_that_fails_ends_the_measurement(tmp_path, few, monkeypatch):
    study = write_study(tmp_path)
    prepared = prepare_study(read_study(study))
    monkeypatch.setattr(throughput, 'measured_config', broken(throughput.measured_config))
    (found,) = measure(prepared, 'classification', [], tmp_path / 'work')
    assert 'NoSuchHead' in found.error and found.step_seconds == []


def broken(make):
    def config(*args):
        cfg = make(*args)
        cfg.model.type = 'NoSuchHead'
        return cfg

    return config


@pytest.mark.parametrize(
    'options, words',
    [
        (['--measure', 'clasification'], 'choose from classification; did you mean'),
        (['--measure', '--executor', 'slurm'], 'leave out --executor slurm'),
    ],
)
def test_what_cannot_be_measured(tmp_path, options, words, capsys, monkeypatch):
    monkeypatch.setattr('mkbackbones.commands.study_run.build_executor', None)
    study = write_study(tmp_path)
    assert command.main(['plan', str(study), '--device', 'cpu', *options]) == 2
    assert words in capsys.readouterr().err
