"""Group folds: what each seed tests, and a whole study on them."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from mkbackbones.classification import ImageFolder
from mkbackbones.commands.study import main
from mkbackbones.study.define.plan import Run
from mkbackbones.study.define.spec import StudyError, read_study
from mkbackbones.study.evidence import load_evidence
from mkbackbones.study.packs.pack import pack_study
from mkbackbones.study.prepare.fingerprint import data_hash
from mkbackbones.study.prepare.folds import deal
from mkbackbones.study.prepare.prepared import prepare_study
from mkbackbones.study.records.results import fold_of, load_results
from mkbackbones.study.report.blocks import Notice
from mkbackbones.study.report.console.folds_table import folds_table
from mkbackbones.study.report.examples import examples
from mkbackbones.study.run.schedule import open_schedule
from mkbackbones.study.statistics import analyse

from ..folded import FOLDS, KINDS, write_folded, write_groups


def prepare(folder, **arguments):
    return prepare_study(read_study(write_folded(folder, **arguments)))


# ---- who tests what


@settings(max_examples=60, deadline=None)
@given(data=st.data(), folds=st.integers(2, 5))
def test_every_image_is_tested_once_and_no_group_is_torn(data, folds):
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=2 * folds, max_size=24))
    groups = [f'g{i}' for i, size in enumerate(sizes) for _ in range(size)]
    names = [f'{i:03d}' for i in range(len(groups))]
    labels = [frozenset(data.draw(st.sets(st.integers(0, 2)))) for _ in names]
    found = deal(names, labels, groups, folds, 0.2)
    everything = set(range(len(names)))
    assert sorted(i for fold in found for i in fold['test']) == sorted(everything)
    for fold in found:
        assert fold['train'] and fold['test']
        if len({groups[i] for i in fold['train'] + fold['val']}) > 1 and not any(labels):
            assert fold['val']  # with classes, training may need every group
        assert sorted(fold['train'] + fold['val'] + fold['test']) == sorted(everything)
        sides = [{groups[i] for i in fold[split]} for split in ('train', 'val', 'test')]
        assert sum(map(len, sides)) == len(set(groups))  # none on two sides
    # Another order of the images is no other outcome.
    order = data.draw(st.permutations(range(len(names))))
    again = deal(*([part[i] for i in order] for part in (names, labels, groups)), folds, 0.2)
    for one, other in zip(found, again):
        assert {k: [names[i] for i in v] for k, v in one.items()} == {
            k: [names[order[i]] for i in v] for k, v in other.items()
        }


def test_folds_share_every_class():
    rng = np.random.default_rng(0)
    groups = [f'g{i // 3}' for i in range(300)]
    labels = [
        frozenset({0} if i % 15 < 3 else {1, 2} if rng.random() < 0.5 else {2}) for i in range(300)
    ]
    for fold in deal([f'{i:03d}' for i in range(300)], labels, groups, 5, 0.125):
        counts = [sum(label in labels[i] for i in fold['test']) for label in (0, 1, 2)]
        assert counts[0] == 12 and abs(len(fold['test']) - 60) <= 3
        assert len(fold['val']) == pytest.approx(30, abs=12)


def test_seeds_take_folds_in_turn():
    assert [fold_of([7, 3, 5, 9, 1], seed, 3) for seed in (7, 3, 5, 9, 1)] == [0, 1, 2, 0, 1]
    assert [fold_of([7, 3], seed, 0) for seed in (7, 3)] == [0, 1]


# ---- lists, fingerprints, errors


def test_lists_are_the_same_wherever_and_whenever_they_are_written(tmp_path):
    one = prepare(tmp_path / 'a', keys=KINDS)
    two = prepare(tmp_path / 'b', keys=KINDS)
    for prepared, out in ((one, tmp_path / 'one'), (two, tmp_path / 'two')):
        prepared.write_folds(out)
    files = sorted(p.relative_to(tmp_path / 'one') for p in (tmp_path / 'one').rglob('*.*'))
    assert len(files) == len(KINDS) * FOLDS * 3
    for file in files:
        assert (tmp_path / 'one' / file).read_text() == (tmp_path / 'two' / file).read_text()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / 'one').rglob('*.*')}
    one.write_folds(tmp_path / 'one')
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / 'one').rglob('*.*')}
    run = Run('main', 'detection', 'stock', 1)
    assert one.fingerprint(run)['fold'] == two.fingerprint(run)['fold']
    assert (
        one.fingerprint(run)['fold']
        != one.fingerprint(Run('main', 'detection', 'stock', 0))['fold']
    )


def test_other_groups_make_runs_stale(tmp_path):
    prepared = prepare(tmp_path)
    run = Run('main', 'classification', 'stock', 0)
    before = prepared.fingerprint(run)
    names = sorted(json.loads((tmp_path / 'folder/groups.json').read_text()))
    write_groups(tmp_path / 'folder', names, 3)
    data_hash.cache_clear()
    after = prepare(tmp_path).fingerprint(run)
    assert before['fold'] != after['fold'] and before['data'] != after['data']
    assert before['config'] == after['config']


def test_one_split_leaves_no_trace(tmp_path):
    prepared = prepare_study(
        read_study(write_folded(tmp_path, extra="del tasks['classification']['splits']"))
    )
    run = Run('main', 'classification', 'stock', 0)
    assert 'fold' not in prepared.fingerprint(run)
    assert 'ann_file' not in prepared.config(run, folder=tmp_path).test_dataloader.dataset


def refused(folder, match, **arguments):
    with pytest.raises(StudyError, match=match) as error:
        prepare(folder, **arguments)
    assert '\n' not in str(error.value)


def test_what_cannot_be_dealt_is_told_in_a_sentence(tmp_path):
    write_folded(tmp_path)
    groups = tmp_path / 'folder/groups.json'
    known = json.loads(groups.read_text())
    refused(tmp_path, 'folds=20 wants 40 groups.*has 13; take folds=6 at most', folds=20)
    for wrong in ('1', '2.5', "'5'", 'True', '1000'):
        refused(tmp_path, r'splits=.*give dict\(folds=5\)', folds=wrong)
    splits = "tasks['classification']['splits'] = 'folds'"
    refused(tmp_path, "splits='folds'; give", extra=splits)
    grid = 'learning_rates = dict(grid=[1e-4, 1e-3], seeds=[100])'
    refused(tmp_path, 'classification has folds.*learning_rates', extra=grid)
    first = min(known)
    groups.write_text(json.dumps({k: v for k, v in known.items() if k != first}))
    refused(tmp_path, f'has none of {first}')
    groups.write_text('[]')
    refused(tmp_path, r'groups\.json has to hold')
    groups.write_text(json.dumps(dict.fromkeys(known, 'one') | {first: 'two'}))
    refused(tmp_path, 'has 2; leave splits out')
    groups.unlink()
    refused(tmp_path, r'groups\.json is missing; it tells which')
    twin = next((tmp_path / 'folder/val/dark').iterdir())
    twin.rename(tmp_path / 'folder/val/dark/train-0.png')
    groups.write_text(json.dumps(known))
    refused(tmp_path, "1 names are those of several images, e.g. 'dark/train-0'")


def test_a_class_that_a_fold_cannot_train_is_told(tmp_path):
    write_folded(tmp_path)
    file = tmp_path / 'folder/groups.json'
    known = json.loads(file.read_text())
    file.write_text(
        json.dumps({k: 'dark' if k.startswith('dark') else v for k, v in known.items()})
    )
    refused(tmp_path, 'leave the training images of fold . no dark; take fewer folds')


def test_rounds_that_are_not_complete_are_told(tmp_path):
    def told(**arguments):
        return [note for note in prepare(tmp_path, **arguments).notes if ' seeds ' in note]

    assert told() == []
    (note,) = told(seeds=(0, 1, 2))
    assert '3 seeds are no whole rounds of 2 folds' in note
    (note,) = told(folds=3)
    assert '2 seeds test' in note and 'all are tested with 3 seeds' in note


CHAIN = """
    tasks['second'] = dict(
        kind='classification', config='classification.py', splits=dict(folds={folds}),
        initial_weights=dict(task='classification'),
    )
"""


def test_a_chain_must_not_test_on_what_it_was_trained_on(tmp_path):
    prepared = prepare(tmp_path, extra=CHAIN.format(folds=2))  # the same folds by name
    first, second = (prepared.folds[key].by_name() for key in ('classification', 'second'))
    assert first == second
    refused(
        tmp_path, 'second starts from classification.*folds differ', extra=CHAIN.format(folds=3)
    )
    gone = CHAIN.format(folds=2) + "    tasks['classification'].pop('splits')\n"
    refused(tmp_path, 'second starts from classification.*folds differ', extra=gone)
    other = CHAIN.format(folds=2) + "    tasks['second'].pop('splits')\n"
    refused(tmp_path, 'second starts from classification.*folds differ', extra=other)


# ---- a whole study


@pytest.fixture(scope='module')
def done(tmp_path_factory, executor):
    root = tmp_path_factory.mktemp('folds')
    prepared = prepare(root, keys=KINDS)
    with open_schedule(prepared, root / 'out') as schedule:
        schedule.run(executor)
        rows = schedule.ledger.rows().values()
        assert {row.error or row.state for row in rows} == {'done'}
    return root / 'out', prepared


@pytest.mark.parametrize('task', KINDS)
def test_over_the_seeds_every_image_is_tested_once(done, task):
    folder, prepared = done
    folds = prepared.folds[task]
    tested = []
    for seed in (0, 1):
        by_arm = [
            load_evidence(folder / 'runs' / task / arm / f'seed{seed}/evidence.npz')
            for arm in ('stock', 'spatial')
        ]
        assert by_arm[0].images == by_arm[1].images
        wanted = {folds.pool.names[i] for i in folds.splits[seed]['test']}
        named = {Path(name).stem if task == 'detection' else name for name in by_arm[0].images}
        assert named == wanted
        tested += by_arm[0].images
        config = json.loads((folder / f'runs/{task}/stock/seed{seed}/config.json').read_text())
        files = [config[f'{s}_dataloader']['dataset']['ann_file'] for s in ('train', 'val', 'test')]
        assert len(set(files)) == 3 and all(file.startswith(str(folder)) for file in files)
    assert len(tested) == len(set(tested)) == len(folds.pool.names)


def test_a_report_says_who_tested_what(done, capsys):
    folder, _ = done
    assert main(['report', str(folder)]) == 0
    text = (folder / 'report.md').read_text()
    assert 'In detection, the seeds test on 2 folds of the images in turn' in text
    analysis = analyse(load_results(folder))
    for task in KINDS:
        found = analysis.difference(task, 'spatial')
        assert found.covers == 'seeds and test images'
        assert analysis.test_groups[task].count == len(set(done[1].folds[task].groups))


def test_a_list_with_a_folder_that_is_no_class_is_told(tmp_path):
    write_folded(tmp_path)
    (tmp_path / 'list.txt').write_text('train/dark/train-0.png\ntrain/drak/train-1.png\n')
    with pytest.raises(ValueError, match=r"list\.txt.*'drak' is no class.*did you mean 'dark'"):
        ImageFolder(str(tmp_path / 'folder'), 'test', ann_file=str(tmp_path / 'list.txt'))


def annotated(*files):
    """Category, box and mask of each object, by image."""
    found = []
    for file in files:
        content = json.loads(Path(file).read_text())
        names = {image['id']: Path(image['file_name']).stem for image in content['images']}
        assert len(names) == len(content['images'])
        assert len({a['id'] for a in content['annotations']}) == len(content['annotations'])
        for a in content['annotations']:
            kept = [a[key] for key in ('category_id', 'bbox', 'segmentation', 'iscrowd')]
            found.append((names[a['image_id']], json.dumps(kept)))
    return sorted(found)


def test_objects_and_masks_follow_their_images(done):
    folder, prepared = done
    lists = [prepared.folds['detection'].files(folder, fold) for fold in range(FOLDS)]
    whole = annotated(*sorted((folder.parent / 'defects/annotations').glob('*.json')))
    assert annotated(*(files['test'] for files in lists)) == whole
    for files in lists:
        assert annotated(*files.values()) == whole


def test_a_pack_of_folds_names_no_place(done, tmp_path):
    folder, _ = done
    pack_study(folder, tmp_path / 'all.zip')
    with zipfile.ZipFile(tmp_path / 'all.zip') as archive:
        for name in archive.namelist():
            assert str(folder).encode() not in archive.read(name), name


def test_an_export_of_evidence_says_the_same(done, tmp_path):
    folder, _ = done
    assert main(['export', str(folder), '--evidence', str(tmp_path / 'small')]) == 0
    groups = sorted(path.name for path in (tmp_path / 'small').rglob('groups*'))
    assert groups == sorted(['groups-0.npz', 'groups-1.npz'] * len(KINDS))
    one, two = (analyse(load_results(place)) for place in (folder, tmp_path / 'small'))
    assert one.differences == two.differences and one.test_groups == two.test_groups


def test_pictures_are_those_of_the_fold_that_tested_them(done):
    folder, _ = done
    results = load_results(folder)
    for task in KINDS:
        for block in examples(results, task):
            assert not isinstance(block, Notice), block


def test_plan_shows_the_folds(tmp_path, capsys):
    prepared = prepare(tmp_path, seeds=(4, 2, 7))
    Console(width=100).print(folds_table(prepared))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    first, second = (
        [str(len(fold[split])) for split in ('train', 'val', 'test')]
        for fold in prepared.folds['classification'].splits
    )
    assert rows[2][:7] == ['classification', '0', '4,', '7', *first]
    assert rows[3][:6] == ['classification', '1', '2', *second]


def test_a_study_that_was_run_on_other_folds_is_stale(done, tmp_path):
    folder, _ = done
    root = tmp_path / 'again'
    shutil.copytree(folder.parent, root)
    study = root / 'tiny.py'
    study.write_text(study.read_text().replace("{'folds': 2}", "{'folds': 3}"))
    prepared = prepare_study(read_study(study))
    before = sorted((root / 'out/folds').rglob('*'))
    with (
        pytest.raises(StudyError, match=r'runs are stale.*fold changed \(0 of 2'),
        open_schedule(prepared, root / 'out'),
    ):
        pass
    assert sorted((root / 'out/folds').rglob('*')) == before
    study.write_text(study.read_text().replace(", 'splits': {'folds': 3}", ''))
    with (
        pytest.raises(StudyError, match=r'runs are stale.*fold changed \(0 of 2.* to none'),
        open_schedule(prepare_study(read_study(study)), root / 'out'),
    ):
        pass
    with open_schedule(prepared, root / 'out', 'rerun') as schedule:
        assert {row.state for row in schedule.ledger.rows().values()} == {'pending'}
    assert len(list((root / 'out/folds/detection').iterdir())) == 2 + 3
