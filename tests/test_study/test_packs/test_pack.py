"""Two halves of a study, packed and merged, are the study; and a pack from a stranger is data."""

import json
import shutil
import stat
import zipfile

import pytest
import torch
from mmengine.config import Config

import mkbackbones
from mkbackbones.commands import study as command
from mkbackbones.study.define.spec import read_study
from mkbackbones.study.packs.merge import DifferentStudies, merge_packs
from mkbackbones.study.packs.pack import PackError, pack_study, paths_of_this_machine, without_paths
from mkbackbones.study.packs.unpack import LIMITS
from mkbackbones.study.prepare.prepared import prepare_study
from mkbackbones.study.records.results import load_results
from mkbackbones.study.records.run_folder import About
from mkbackbones.study.run.schedule import open_schedule

from ..killing import numbers
from ..tiny import write_study


@pytest.fixture(scope='module')
def halves(tmp_path_factory, executor):
    """Folder with a study done as a whole, in two halves, and the packs of these."""
    root = tmp_path_factory.mktemp('parts')
    prepared = prepare_study(read_study(write_study(root)))
    for name, part in (('whole', None), ('one', '1/2'), ('two', '2/2')):
        with open_schedule(prepared, root / name) as schedule:
            if part:
                assert len(schedule.take_part(part)) == 2
            schedule.run(executor)
            states = [row.state for row in schedule.ledger.rows().values()]
        assert states.count('done') == (2 if part else 4), states
    assert pack_study(root / 'one', root / 'one.zip', predictions=True) == (2, 2)
    assert pack_study(root / 'two', root / 'two.zip', weights=True) == (2, 2)
    return root, prepared


def test_the_same_numbers_as_in_one_piece(halves, tmp_path, capsys):
    root, prepared = halves
    both = tmp_path / 'both'
    packs = [str(root / 'one.zip'), str(root / 'two.zip')]
    assert command.main(['merge', *packs, '--into', str(both)]) == 0
    out = capsys.readouterr().out
    assert 'one.zip: 2 runs (CPU)' in out and 'two.zip: 2 runs (CPU)' in out
    assert numbers(both) == numbers(root / 'whole') and len(numbers(both)) == 4
    # Nothing is left to do, and the ledger knows.
    with open_schedule(prepared, both) as schedule:
        assert {row.state for row in schedule.ledger.rows().values()} == {'done'}
    results = load_results(both)
    assert (
        'The runs were done in several places: one (CPU) 2; two (CPU) 2.' in results.info.fairness
    )
    assert command.main(['report', str(both)]) == 0
    assert 'one (CPU) 2; two (CPU) 2' in (both / 'report.md').read_text()
    # A second time all is known, and nothing is replaced.
    before = {path: path.stat().st_mtime_ns for path in both.rglob('result.json')}
    assert [entry.known for entry in merge_packs([root / 'one.zip'], both)] == [2]
    assert {path: path.stat().st_mtime_ns for path in both.rglob('result.json')} == before


def test_a_half_is_merged_into_the_other(halves, tmp_path):
    root, prepared = halves
    shutil.copytree(root / 'one', tmp_path / 'one')
    (merged,) = merge_packs([root / 'two.zip'], tmp_path / 'one')
    assert (merged.taken, merged.known) == (2, 0)
    assert numbers(tmp_path / 'one') == numbers(root / 'whole')
    with open_schedule(prepared, tmp_path / 'one') as schedule:
        assert {row.state for row in schedule.ledger.rows().values()} == {'done'}
    run = next((tmp_path / 'one').glob('runs/*/*/seed1'))
    assert About.read(run).machine == 'two'
    assert prepared.tasks['classification'].data_root in (run / 'config.json').read_text()
    # The config can be used: tuples are tuples, and it names folders that are there.
    found, wanted = [
        Config.fromfile(root / run.relative_to(tmp_path / 'one') / 'config.py').to_dict()
        for root in (tmp_path / 'one', root / 'two')
    ]
    assert repr(found) == repr(wanted).replace(str(root / 'two'), str(tmp_path / 'one'))
    assert '<' not in str(found) and '(' in str(found)


def test_a_pack_names_no_path_of_its_machine(halves):
    root, _ = halves
    for name in ('one.zip', 'two.zip'):
        with zipfile.ZipFile(root / name) as archive:
            for member in archive.namelist():
                content = archive.read(member)
                for place in (str(root), '/home/', '/root/', '/usr/', '/tmp/'):
                    assert place.encode() not in content, (member, place)


def test_weights_and_predictions_on_request(halves):
    root, _ = halves
    names = {name: zipfile.ZipFile(root / name).namelist() for name in ('one.zip', 'two.zip')}
    assert not any('best.pth' in name for name in names['one.zip'])
    (first, _) = [name for name in names['two.zip'] if 'best.pth' in name]
    with zipfile.ZipFile(root / 'two.zip') as archive, archive.open(first) as file:
        content = torch.load(file, weights_only=True)
    whole = torch.load(root / 'whole' / first, weights_only=False)
    assert set(content['meta']) == {'iter', 'epoch'}
    assert all(torch.equal(content['state_dict'][k], v) for k, v in whole['state_dict'].items())


def test_what_differs_is_refused_with_a_table(halves, tmp_path, capsys):
    root, _ = halves
    study = write_study(tmp_path)
    config = tmp_path / 'classification.py'
    config.write_text(config.read_text().replace('lr=1e-3', 'lr=2e-3'))
    other = prepare_study(read_study(study))
    with open_schedule(other, tmp_path / 'other'):
        pass
    target = str(tmp_path / 'other')
    assert command.main(['merge', str(root / 'one.zip'), '--into', target]) == 2
    err = capsys.readouterr().err
    assert 'nothing was merged: the runs were not done alike' in err
    assert 'config' in err and 'one.zip' in err and 'what differs' in err
    assert not (tmp_path / 'other' / 'runs').exists()


def rewrite(source, target, change):
    """Copy an archive, each member's name and content through ``change``."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, 'w') as new:
        for name in old.namelist():
            for member, content in change(name, old.read(name)):
                new.writestr(member, content)
    return target


def edit(part, change):
    """A change of the JSON objects whose names end in ``part``."""

    def apply(name, content):
        if name.endswith(part):
            found = json.loads(content)
            change(found)
            content = json.dumps(found)
        return [(name, content)]

    return apply


def test_another_result_of_a_run_is_refused(halves, tmp_path):
    root, _ = halves
    edited = rewrite(
        root / 'one.zip', tmp_path / 'x.zip', edit('result.json', lambda r: r.update(lr=0.5))
    )
    shutil.copytree(root / 'whole', tmp_path / 'whole')
    with pytest.raises(DifferentStudies):
        merge_packs([edited], tmp_path / 'whole')
    with pytest.raises(DifferentStudies) as caught:
        merge_packs([root / 'one.zip', edited], tmp_path / 'new')
    assert {entry.what for entry in caught.value.differences} == {'result: lr'}
    assert {(entry.here, entry.there) for entry in caught.value.differences} == {('0.001', '0.5')}
    assert not (tmp_path / 'new').exists()
    assert numbers(tmp_path / 'whole') == numbers(root / 'whole')


def test_a_run_that_was_done_twice_with_the_same_numbers_is_known(halves, tmp_path):
    """Its times, its memory and its card are others."""
    root, _ = halves
    again = dict(step_seconds=9.0, train_seconds=9.0, inference_seconds=9.0, peak_memory=9)
    edited = rewrite(
        root / 'one.zip', tmp_path / 'x.zip', edit('result.json', lambda r: r.update(again))
    )
    shutil.copytree(root / 'whole', tmp_path / 'whole')
    (merged,) = merge_packs([edited], tmp_path / 'whole')
    assert merged.taken == 0 and merged.known > 0
    assert numbers(tmp_path / 'whole') == numbers(root / 'whole')


def test_runs_of_another_plan_are_refused(halves, tmp_path):
    root, _ = halves
    plan = dict(margin={'classification': 2.0}, power=0.8, looks=[], digest='ab', deviations=[])
    edited = rewrite(
        root / 'one.zip', tmp_path / 'x.zip', edit('study.json', lambda s: s.update(plan=plan))
    )
    shutil.copytree(root / 'whole', tmp_path / 'whole')
    with pytest.raises(DifferentStudies) as caught:
        merge_packs([edited], tmp_path / 'whole')
    (entry,) = caught.value.differences
    assert entry.what == 'plan' and entry.here == 'none' and '±2 points' in entry.there


def first_run(content):
    return next(iter(content['runs'].values()))


@pytest.mark.parametrize(
    'change, differs',
    [
        (lambda c: first_run(c)['fingerprint'].update(code='f00'), 'code'),
        (lambda c: first_run(c)['fingerprint'].update(data='f00'), 'data'),
    ],
)
def test_runs_that_were_not_done_alike(halves, tmp_path, change, differs):
    root, _ = halves
    edited = rewrite(root / 'one.zip', tmp_path / 'x.zip', edit('pack.json', change))
    with pytest.raises(DifferentStudies) as caught:
        merge_packs([edited, root / 'two.zip'], tmp_path / 'new')
    assert [entry.what for entry in caught.value.differences] == [differs]


def test_other_versions_are_noted_with_the_run(halves, tmp_path):
    root, prepared = halves
    edited = rewrite(
        *(root / 'one.zip', tmp_path / 'x.zip'),
        edit('pack.json', lambda c: first_run(c)['fingerprint'].update(versions='torch 1')),
    )
    merge_packs([edited], tmp_path / 'new')
    with open_schedule(prepared, tmp_path / 'new') as schedule:
        kept = [row.kept for row in schedule.ledger.rows().values() if row.kept]
    assert len(kept) == 1 and kept[0].startswith('versions changed (torch 1 to ')


EVIL = [
    '../evil',
    '/tmp/evil',
    'runs/../../evil',
    'C:\\evil',
    'runs/classification/stock/seed0/x.py',
]


@pytest.mark.parametrize('name', EVIL)
def test_no_file_leaves_the_folder(halves, tmp_path, name):
    root, _ = halves
    pack = tmp_path / 'x.zip'
    shutil.copy(root / 'one.zip', pack)
    with zipfile.ZipFile(pack, 'a') as archive:
        archive.writestr(name, 'evil')
    with pytest.raises(PackError, match='it has a file'):
        merge_packs([pack], tmp_path / 'new')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['x.zip']


def move(content):
    """Give a run a key that leads elsewhere."""
    key = next(iter(content['planned']))
    content['planned']['../' + key] = content['planned'].pop(key)


DAMAGE = {
    'a key that leads elsewhere': edit('pack.json', move),
    'a task that leads elsewhere': edit(
        'pack.json', lambda c: next(iter(c['planned'].values())).update(task='../..')
    ),
    'no runs': edit('pack.json', lambda c: c.update(runs={})),
    'no plan': edit('pack.json', lambda c: c.update(planned=3)),
    'another format': edit('pack.json', lambda c: c.update(format='x')),
    'a ledger row of another type': edit('pack.json', lambda c: first_run(c).update(kept=3)),
    'no result': lambda name, content: [] if name.endswith('result.json') else [(name, content)],
    'a result without numbers': edit('result.json', lambda r: r.update(metrics=None)),
    'no study.json': lambda name, content: [] if name == 'study.json' else [(name, content)],
    'a study.json of another kind': edit('study.json', lambda c: c.pop('arms')),
    'evidence of nothing': lambda name, content: [
        (name, b'PK' if name.endswith('evidence.npz') else content)
    ],
    'brackets': lambda name, content: [(name, '[' * 10**5 if name == 'pack.json' else content)],
}


@pytest.mark.parametrize('damage', DAMAGE)
def test_a_damaged_pack_is_refused_in_a_sentence_and_leaves_nothing(
    halves, tmp_path, damage, capsys
):
    root, _ = halves
    pack = rewrite(root / 'one.zip', tmp_path / 'x.zip', DAMAGE[damage])
    new = tmp_path / 'new'
    assert command.main(['merge', str(pack), '--into', str(new)]) == 2
    err = capsys.readouterr().err
    assert err.startswith('error: ') and len(err.splitlines()) == 1
    assert not new.exists()


def test_what_is_larger_than_it_may_be(halves, tmp_path, monkeypatch):
    root, _ = halves
    monkeypatch.setitem(LIMITS, 'result.json', 9)
    with pytest.raises(PackError, match=r'result\.json is larger than'):
        merge_packs([root / 'one.zip'], tmp_path / 'new')


def test_links_are_files(halves, tmp_path):
    """A link in an archive is its text: nothing is followed."""
    root, _ = halves
    pack = tmp_path / 'x.zip'

    def link(name, content):
        if not name.endswith('console.log'):
            return [(name, content)]
        about = zipfile.ZipInfo(name)
        about.external_attr = (stat.S_IFLNK | 0o777) << 16
        return [(about, '/etc/passwd')]

    merge_packs([rewrite(root / 'one.zip', pack, link)], tmp_path / 'new')
    log = next((tmp_path / 'new').rglob('console.log'))
    assert not log.is_symlink() and log.read_text() == '/etc/passwd'


@pytest.mark.parametrize('content', [b'', b'no archive', b'PK\x05\x06' + 18 * b'\0'])
def test_what_is_no_archive(tmp_path, content):
    (tmp_path / 'x.zip').write_bytes(content)
    with pytest.raises(PackError, match=r'x\.zip is'):
        merge_packs([tmp_path / 'x.zip'], tmp_path / 'new')
    with pytest.raises(PackError, match='does not exist'):
        merge_packs([tmp_path / 'y.zip'], tmp_path / 'new')


def test_a_folder_that_is_no_study(halves, tmp_path):
    root, _ = halves
    (tmp_path / 'thesis.txt').write_text('mine')
    with pytest.raises(PackError, match='name a new folder'):
        merge_packs([root / 'one.zip'], tmp_path)


@pytest.mark.parametrize(
    'text, found',
    [
        ('at /home/me/data/x.json', 'at <home>/data/x.json'),
        ('File "/usr/lib/x/y.py", line 3', 'File "<path>/y.py", line 3'),
        ('accuracy/top1 50/60 https://a.b/c/d', 'accuracy/top1 50/60 https://a.b/c/d'),
        (r'C:\Users\me\x.py', '<path>/x.py'),
        ('<study>/runs/a/b', '<study>/runs/a/b'),
    ],
)
def test_paths_in_texts(text, found):
    assert without_paths(text, {'/home/me': '<home>'}) == found


def test_the_package_has_a_name_of_its_own_wherever_it_lies(tmp_path):
    file = mkbackbones.backbones.swin.__file__
    assert (
        without_paths(file, paths_of_this_machine(tmp_path, []))
        == '<mkbackbones>/backbones/swin.py'
    )
