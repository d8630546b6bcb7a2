"""The report of a study, from made-up results on disk."""

import csv
import json
import re

import pytest

from mkbackbones.study.report import write_report

from ..fake import FakeStudy


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    folder = FakeStudy(
        tmp_path_factory.mktemp('finished'), 3, ['classification', 'segmentation'], 3, gain=0.3
    ).run_all()
    return folder, write_report(folder)


def test_answer_comes_first(finished):
    _, files = finished
    page, text = files.page.read_text(), files.text.read_text()
    body = page[page.index('<body>') :]
    assert re.match(r'<body><h1>Study fake</h1>\n<p class=lead>SpatialK, 8 charts against', body)
    assert text.splitlines()[2].startswith('SpatialK, 8 charts against stock key: ')
    order = [
        'Verdicts', 'Difference to stock key', 'Every run', 'Learning curves', 'Gain against cost',
        'From classification', 'By class', 'Where the arms differ most', 'Costs',
        'Failed and missing runs', 'How the arms were compared', 'What was run', 'Versions',
        'Configuration',
    ]  # fmt: skip
    places = [body.index(f'<h2>{title}') for title in order]
    assert places == sorted(places)
    assert 'every planned run has a result' in body


def test_page_needs_nothing_from_outside(finished):
    page = finished[1].page.read_text()
    sources = re.findall(r'(?:src|href|action|data)="([^"]{0,12})', page)
    assert sources and all(s.startswith(('data:image/j', '#')) for s in sources)
    assert not re.findall(r'<script|<link|@import|url\((?!#)', page)


def test_no_path_of_this_machine(finished):
    folder, files = finished
    for path in (files.page, files.text, files.json, files.csv):
        assert str(folder) not in path.read_text()
    assert 'SyntheticSegDataset' in files.page.read_text()


def test_text_of_others_is_escaped(finished):
    page = finished[1].page.read_text()
    assert '&lt;b&gt;anything&lt;/b&gt; differ &amp; by' in page and '&lt;script&gt;' in page


def test_markdown_has_its_pictures(finished):
    _, files = finished
    names = re.findall(r'\]\((report_pictures/[^)]+)\)', files.text.read_text())
    on_disk = {p.name for p in (files.text.parent / 'report_pictures').iterdir()}
    assert len(names) == len(set(names)) > 10
    assert {name.split('/')[1] for name in names} == on_disk


def test_numbers(finished):
    folder, files = finished
    content = json.loads(files.json.read_text())
    assert len(content['runs']) == 2 * 4 * 3
    with files.csv.open() as file:
        rows = list(csv.DictReader(file))
    result = json.loads((folder / 'runs/segmentation/spatial/seed1/result.json').read_text())
    wanted = {'table': 'run', 'task': 'segmentation', 'arm': 'spatial', 'metric': 'mIoU'}
    (row,) = [r for r in rows if wanted.items() <= r.items() and r['seed'] == '1']
    assert float(row['value']) == result['metrics']['mIoU']
    kinds = {r['value'] for r in rows if r['quantity'] == 'kind'}
    assert kinds == {v['kind'] for v in content['analysis']['verdicts']}


def test_ids_of_drawings_are_unique(finished):
    ids = re.findall(r'\bid="([^"]+)"', finished[1].page.read_text())
    assert len(ids) == len(set(ids)) > 0


def test_one_seed_says_first_that_there_is_no_verdict(tmp_path):
    folder = FakeStudy(tmp_path, 2, ['segmentation'], seeds=1).run_all()
    text = write_report(folder).text.read_text()
    assert text.splitlines()[2].startswith('One seed, so no verdict.')


def test_unfinished_study_tells_what_is_missing(tmp_path):
    study = FakeStudy(tmp_path / 'study', 2, ['segmentation'])
    study.run_all(skip={('segmentation', 'spatial', 2)})
    files = write_report(tmp_path / 'study', tmp_path / 'elsewhere')
    assert files.page.parent == tmp_path / 'elsewhere'
    text = files.text.read_text()
    assert 'Unfinished: 5 of 6 runs have a result. 1 missing.' in text
    assert '| segmentation, spatial, seed 2 | missing |' in text


def test_study_without_a_finished_run(tmp_path):
    FakeStudy(tmp_path, 2, ['segmentation'])
    text = write_report(tmp_path).text.read_text()
    assert 'No run is finished' in text and '6 missing' in text


def test_pictures_are_left_out_with_a_reason_where_the_data_are_gone(tmp_path):
    folder = FakeStudy(tmp_path, 2, ['segmentation'], seeds=1).run_all()
    (tmp_path / 'data').rename(tmp_path / 'gone')
    text = write_report(folder).text.read_text()
    assert 'No pictures: the test images cannot be read' in text


def test_examples_are_left_out_on_request(tmp_path):
    folder = FakeStudy(tmp_path, 2, ['segmentation'], seeds=1).run_all()
    files = write_report(folder, examples=False)
    text = files.text.read_text()
    assert 'Where the arms differ most' not in text and '## Costs' in text
    assert not list((folder / 'report_pictures').glob('*.jpg'))
    assert 'data:image/j' not in files.page.read_text()
