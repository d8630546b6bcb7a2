"""Goals, reports and whole runs of the command."""

import json
from types import SimpleNamespace

import pytest
from torch.autograd import DeviceType

from mkbackbones.backbones import ManifoldViT
from mkbackbones.commands.profile_backbone import build_parser, main
from mkbackbones.profiling import build, measure, run
from mkbackbones.profiling.goals import Goal, check_goal
from mkbackbones.profiling.measure import busy_ms, launches_of
from mkbackbones.profiling.presets import PRESETS
from mkbackbones.profiling.render import markdown, plot
from mkbackbones.profiling.results import Profile, Row, ratio

RATES = dict(matrix_tflops=dict(fp32=1.0, bf16=1.0), bandwidth_gbs=10.0)
SIZE, GOAL_SIZE = '1x32x32', '8x512x512'


@pytest.fixture(autouse=True)
def short_samples(monkeypatch):
    """One step a sample: what is tested is not the clock."""
    monkeypatch.setattr(measure, 'SAMPLE_SECONDS', 0.0)
    monkeypatch.setattr(measure, 'WARM_UP', 1)
    monkeypatch.setattr(run, 'measure_rates', lambda *args: RATES)


@pytest.fixture
def narrow(monkeypatch):
    """A ViT-Ti of two narrow blocks, where no other library's is compared with it."""
    arch = dict(embed_dims=16, depth=2, num_heads=1)
    monkeypatch.setitem(ManifoldViT.archs, 'tiny', arch)
    run.function_work.cache_clear()
    yield
    run.function_work.cache_clear()


def profile_of(*rows):
    environment = dict(device='a device', date='2026-01-01', versions=dict(torch='2'))
    settings = dict(rounds=3, optimizer=False)
    return Profile(environment, settings, dict(matrix_tflops={}, bandwidth_gbs=1.0), list(rows))


def row(name, times, **more):
    return Row(name, GOAL_SIZE, 'bf16', train_ms=times, **more)


GOAL = Goal('as fast', 'train_ms', 'vit-b', ('timm:vit-b', 'mmseg:vit-b'), GOAL_SIZE, 1.0)


def test_ratios_are_taken_round_by_round():
    fast, slow = row('a', [1.0, 10.0, 2.0]), row('b', [2.0, 20.0, 4.0])
    assert ratio(fast, slow, 'train_ms') == (0.5, 0.5, 0.5)


def test_the_best_peer_counts():
    profile = profile_of(row('vit-b', [3.0]), row('timm:vit-b', [4.0]), row('mmseg:vit-b', [2.0]))
    verdict = check_goal(GOAL, profile)
    assert (verdict.denominator, verdict.ratio[0], verdict.holds) == ('mmseg:vit-b', 1.5, False)


def test_a_goal_holds_at_its_limit():
    assert check_goal(GOAL, profile_of(row('vit-b', [4.0]), row('timm:vit-b', [4.0]))).holds


def test_what_was_not_measured_does_not_hold():
    profile = profile_of(row('vit-b', [1.0]), row('timm:vit-b', [], note='out of memory'))
    assert check_goal(GOAL, profile).holds is None


def test_memory_is_compared_too():
    goal = Goal('small', 'train_peak_mib', 'vit-b', ('timm:vit-b',), GOAL_SIZE, 1.25)
    rows = row('vit-b', [], train_peak_mib=130.0), row('timm:vit-b', [], train_peak_mib=100.0)
    assert check_goal(goal, profile_of(*rows)).ratio == (1.3, 1.3, 1.3)


def test_the_wall_clock_is_compared_with_its_own_kernels():
    goal = Goal('CPU', 'inference_ms', 'vit-b', (), GOAL_SIZE, 1.15)
    found = row('vit-b', [], inference_ms=[5.0, 4.0, 6.0], inference_busy_ms=4.0)
    verdict = check_goal(goal, profile_of(found))
    assert (verdict.ratio, verdict.holds) == ((1.25, 1.0, 1.5), False)
    assert '| its own kernels |' in markdown(profile_of(found), [verdict])
    assert check_goal(goal, profile_of(row('vit-b', [], inference_ms=[4.0]))).holds is None
    assert check_goal(goal, profile_of()).holds is None


def test_the_report_has_medians_spreads_and_notes():
    profile = profile_of(
        row('vit-b', [3.0, 1.0, 2.0], train_floor_ms=1.0), row('timm:vit-b', [], note='no | luck')
    )
    text = markdown(profile, [])
    assert '2.00 [1.00, 3.00]' in text
    assert 'no / luck' in text
    assert 'Goals' not in text
    assert 'not measured' in markdown(profile, [check_goal(GOAL, profile)])


def test_the_plot_is_a_picture(tmp_path):
    plot(profile_of(row('vit-b', [1.0, 2.0]), row('timm:vit-b', [])), tmp_path / 'plot.png')
    assert (tmp_path / 'plot.png').read_bytes().startswith(b'\x89PNG')
    assert len(list(tmp_path.iterdir())) == 1


def test_launches_are_counted_where_the_profiler_sees_them():
    names = ('cudaLaunchKernel', 'cuLaunchKernelEx', 'cudaLaunchKernelExC', 'cudaGraphLaunch')
    events = [SimpleNamespace(name=n) for n in (*names, 'aten::mm', 'cudaMemcpyAsync', 'gemm')]
    assert launches_of(events) == 4
    assert launches_of(events[4:]) is None


def test_only_what_runs_on_the_gpu_counts_as_busy():
    def event(device, microseconds):
        span = SimpleNamespace(elapsed_us=lambda: microseconds)
        return SimpleNamespace(device_type=getattr(DeviceType, device), time_range=span)

    assert busy_ms([event('CUDA', 500), event('CPU', 900), event('CUDA', 250)]) == 0.75
    assert busy_ms([event('CPU', 900)]) is None


def run_cpu(folder, *arguments):
    out = folder / 'out'
    code = main(['--device', 'cpu', '--sizes', SIZE, '--out', str(out), *arguments])
    return code, json.loads((out / 'profile.json').read_text()) if out.exists() else None


def test_a_run_measures_every_backbone(tmp_path, capsys):
    names = ('vit-t', 'vit-t/LinearK:fold=yes', 'timm:vit-t', 'mmseg:vit-t')
    code, found = run_cpu(tmp_path, '--rounds', '2', '--backbones', *names)
    assert code == 0
    assert [r['backbone'] for r in found['rows']] == list(names)
    for r in found['rows']:
        assert r['note'] == ''
        assert len(r['train_ms']) == len(r['inference_ms']) == 2
        assert r['train_floor_ms'] == pytest.approx(3 * r['inference_floor_ms'])
    stock, folded, timm, _ = found['rows']
    assert stock['parameters'] == folded['parameters']
    assert stock['gflops'] == folded['gflops'] == pytest.approx(timm['gflops'])
    assert capsys.readouterr().out.strip().endswith('|')
    assert {p.name for p in (tmp_path / 'out').iterdir()} == {
        'profile.json',
        'profile.md',
        'profile.png',
    }


@pytest.mark.parametrize('preset', sorted(PRESETS))
def test_every_preset_can_be_asked_for(preset):
    assert build_parser().parse_args(['--preset', preset]).preset == preset


def test_a_missing_library_is_a_row_and_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(build.importlib.util, 'find_spec', lambda name: None)
    code, found = run_cpu(tmp_path, '--rounds', '1', '--backbones', 'mmseg:vit-t', 'timm:vit-t')
    assert code == 0
    assert found['rows'][0]['note'] == 'mmseg is not installed'
    assert found['rows'][1]['train_ms']


def test_launches_are_counted_behind_the_last_sample(tmp_path, monkeypatch, narrow):
    """PyTorch's profiler slows all launches down that follow it."""
    calls = []
    monkeypatch.setattr(run.Case, 'sample', lambda *args: calls.append('sample') or 1.0)
    monkeypatch.setattr(run.Case, 'trace', lambda *args: calls.append('trace') or (7, 2.5))
    names = ('vit-t', 'vit-t/LinearK:fold=yes')
    sizes = ('--sizes', SIZE, '1x48x32')
    code, found = run_cpu(tmp_path, '--rounds', '2', '--backbones', *names, *sizes)
    assert code == 0
    assert calls == ['sample'] * 16 + ['trace'] * 8
    assert len(found['rows']) == 4
    assert {r['train_launches'] for r in found['rows']} == {7}
    assert {r['inference_busy_ms'] for r in found['rows']} == {2.5}


def test_out_of_memory_is_noted_and_the_rest_is_measured(tmp_path, monkeypatch, narrow):
    sample = run.Case.sample

    def fail_in_training(case, kind):
        if kind == 'train':
            raise run.torch.cuda.OutOfMemoryError('tried to allocate')
        return sample(case, kind)

    monkeypatch.setattr(run.Case, 'sample', fail_in_training)
    code, found = run_cpu(tmp_path, '--rounds', '2', '--backbones', 'vit-t')
    assert code == 0
    assert found['rows'][0]['note'] == 'train: out of memory'
    assert found['rows'][0]['train_ms'] == []
    assert len(found['rows'][0]['inference_ms']) == 2


def test_what_was_measured_outlives_an_interruption(tmp_path, monkeypatch, narrow):
    calls = []

    def stop_in_the_second_round(case, kind):
        calls.append(kind)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return 1.0

    monkeypatch.setattr(run.Case, 'sample', stop_in_the_second_round)
    code, found = run_cpu(tmp_path, '--rounds', '9', '--backbones', 'vit-t')
    assert code == 130
    assert found['rows'][0]['inference_ms'] == [1.0]


def test_check_fails_unless_all_goals_are_met(tmp_path, capsys, narrow):
    assert run_cpu(tmp_path, '--check', '--rounds', '1', '--backbones', 'vit-t')[0] == 2
    assert 'goals 0 are missed' in capsys.readouterr().err


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('--backbones', 'vitt'), "architecture 'vitt' is unknown"),
        (('--backbones', 'vit-t', '--rounds', '0'), '--rounds 0'),
        (('--backbones', 'vit-t/KUA', '--charts', '0'), '--charts 0'),
    ],
)
def test_bad_arguments_end_before_any_work(arguments, message, tmp_path, capsys):
    code, found = run_cpu(tmp_path, *arguments)
    assert (code, found) == (2, None)
    assert message in capsys.readouterr().err
