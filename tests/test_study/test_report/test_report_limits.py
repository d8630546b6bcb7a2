"""What is too little to rely on stands below the answer; what has nothing to show is left out."""

import json

import pytest

from mkbackbones.commands.study import main
from mkbackbones.study.records.results import load_results
from mkbackbones.study.report import write_report
from mkbackbones.study.report.curves import learning_curves
from mkbackbones.study.report.limits import limits
from mkbackbones.study.statistics import analyse, headline

from ..fake import CLASSES, FakeStudy


@pytest.fixture
def study(tmp_path):
    return FakeStudy(tmp_path, arms=2, tasks=('detection',), seeds=2, images=16).run_all()


def sentences(folder):
    results = load_results(folder)
    return limits(results, analyse(results))


def change(folder, **changes):
    for path in folder.rglob('result.json'):
        seed = int(path.parent.name.removeprefix('seed'))
        content = json.loads(path.read_text())
        content |= {name: value(content['arm'], seed) for name, value in changes.items()}
        path.write_text(json.dumps(content))


def test_few_groups_and_few_good_images_are_told(study):
    found = sentences(study)
    (groups,) = analyse(load_results(study)).test_groups.values()
    assert groups.count == 16 and 8 < groups.effective < 16
    assert groups.worst_class in CLASSES and groups.worst_effective < groups.effective
    assert any(f'of {groups}. Intervals want 30' in text for text in found)
    assert any('free of defects, so the share of false alarms' in text for text in found)
    page = write_report(study, examples=False).text.read_text()
    assert page.index('Intervals want 30') < page.index('Verdicts')


def test_times_that_are_noise_are_told_and_others_not(study):
    change(study, step_seconds=lambda arm, seed: 1.0 + seed)
    assert any('by 100% between seeds' in text for text in sentences(study))
    change(study, step_seconds=lambda arm, seed: 2.0 if arm == 'spatial' else 1.0)
    assert not any('noise' in text for text in sentences(study))


def test_the_two_parts_of_the_variance_stand_beside_the_interval(study):
    results = load_results(study)
    found = analyse(results).difference('detection', 'spatial')
    by_seeds = found.seed_sd / 2**0.5
    text = write_report(study, examples=False).text.read_text()
    assert f'{by_seeds:.2f}, {found.test_sd:.2f}' in text


def test_a_single_point_is_no_curve(study):
    from mkbackbones.study.report.style import Look

    change(study, val_curve=lambda arm, seed: [[10, 5.0]], losses=lambda arm, seed: [1.0])
    results = load_results(study)
    labels = {key: arm.label for key, arm in results.info.arms.items()}
    assert learning_curves(results, Look(labels), 'detection') is None


def test_pictures_without_a_box_are_left_out(study):
    before = write_report(study).page.read_text()
    for path in study.rglob('predictions/*.json'):
        path.write_text('[]')
    after = write_report(study).page.read_text()
    assert 'Where the arms differ most' in before and 'Where the arms differ most' not in after


def test_compare_says_what_is_unfinished(tmp_path, capsys):
    folders = []
    for name, skip in (('whole', []), ('part', [('detection', 'spatial', 1)])):
        (tmp_path / name).mkdir()
        folders.append(str(FakeStudy(tmp_path / name, seeds=2, images=6).run_all(skip)))
    assert main(['compare', *folders]) == 0
    out = ' '.join(capsys.readouterr().out.split())
    assert 'part is unfinished: 3 of 4 runs have a result' in out and 'whole is unf' not in out
    for path in (tmp_path / 'part').rglob('result.json'):
        path.unlink()
    assert main(['compare', *folders]) == 0
    assert 'nothing to compare' in ' '.join(capsys.readouterr().out.split())


def test_classes_that_a_run_never_finds_are_named(study):
    assert not any('never finds' in text for text in sentences(study))
    for seed in (0, 1):
        path = study / f'runs/detection/spatial/seed{seed}/result.json'
        content = json.loads(path.read_text())
        content['metrics'][f'AP/{CLASSES[1]}'] = 0.0
        path.write_text(json.dumps(content))
    label = 'SpatialK, 8 charts'
    assert (
        f'detection: classes that a run never finds, AP 0: {CLASSES[1]} ({label} seed 0, {label} '
        'seed 1).'
    ) in sentences(study)


def test_a_task_that_the_baseline_has_not_learnt_has_no_verdict(study):
    def unlearn(*seeds):
        for seed in seeds:
            path = study / f'runs/detection/stock/seed{seed}/result.json'
            content = json.loads(path.read_text())
            content['metrics'] |= {f'AP/{label}': 0.9 for label in CLASSES}
            path.write_text(json.dumps(content))

    def verdict():
        return analyse(load_results(study)).verdict('detection', 'spatial')

    assert verdict().kind != 'no verdict' and not any('not learnt' in t for t in sentences(study))
    unlearn(0)
    told = 'detection: stock key has not learnt it in seed 0; such a task wants a longer schedule'
    assert any(text.startswith(told) for text in sentences(study))
    assert verdict().kind == 'no verdict'  # half of the seeds
    assert 'stock key finds next to nothing in 1 of 2 seeds' in verdict().sentence
    assert 'no verdict on detection (' in headline(analyse(load_results(study)))
    assert ', not learnt by stock key)' in headline(analyse(load_results(study)))
    unlearn(1)
    assert 'in 2 of 2 seeds' in verdict().sentence


def test_recall_of_former_versions_is_left_out(study):
    for path in study.rglob('result.json'):
        content = json.loads(path.read_text())
        del content['metrics']['falsealarms@fa5'], content['metrics']['falsealarms@fa1']
        path.write_text(json.dumps(content))
    analysis = analyse(load_results(study))
    assert analysis.difference('detection', 'spatial', metric='recall@fa5') is None
    assert any(n.startswith('recall@fa5 of 4 runs is left out') for n in analysis.notes)


def test_a_study_that_stopped_at_a_look_says_so(study):
    path = study / 'study.json'
    content = json.loads(path.read_text())
    plan = dict(margin={'detection': 50.0}, looks=[2, 4])
    path.write_text(json.dumps(content | {'plan': plan}))
    assert any('stopped after 2 of 4 planned seeds' in text for text in sentences(study))
    path.write_text(json.dumps(content | {'plan': dict(plan, looks=[2])}))
    assert not any('stopped' in text for text in sentences(study))
