"""Parts of the report: choice of images, layout of labels, curves, Markdown, open runs."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mkbackbones.study.define.plan import Run
from mkbackbones.study.records.ledger import Ledger
from mkbackbones.study.records.results import load_results
from mkbackbones.study.report.blocks import Code, Report, Table, Text
from mkbackbones.study.report.choice import choose
from mkbackbones.study.report.curves import mean_curve, smoothed
from mkbackbones.study.report.markdown import to_markdown
from mkbackbones.study.report.page import to_html
from mkbackbones.study.report.style import spread
from mkbackbones.study.report.truth import TestImages
from mkbackbones.study.report.unfinished import open_runs

from ..fake import FakeStudy


def chosen(theirs, ours, groups=None):
    """Choices from scores by seed and image."""
    count = len(theirs[0])
    test = SimpleNamespace(images=list('abcdefgh')[:count], groups=groups or list(range(count)))
    scores = {('stock', s): np.array(row) for s, row in enumerate(theirs)}
    scores |= {('arm', s): np.array(row) for s, row in enumerate(ours)}
    return [(c.image, c.seed, round(c.difference, 6)) for c in choose(scores, test, 'stock', 'arm')]


def test_images_of_largest_gain_and_loss_one_a_group():
    flat = [[0.5] * 6]
    assert chosen(flat, [[0.9, 0.8, 0.7, 0.5, 0.4, 0.1]]) == [
        ('a', 0, 0.4), ('b', 0, 0.3), ('f', 0, -0.4), ('e', 0, -0.1),
    ]  # fmt: skip
    grouped = chosen(flat, [[0.9, 0.8, 0.7, 0.5, 0.4, 0.1]], groups=[1, 1, 2, 3, 4, 5])
    assert [image for image, *_ in grouped] == ['a', 'c', 'f', 'e']


def test_one_lucky_seed_chooses_no_image():
    theirs = [[0.5, 0.5]] * 3
    assert chosen(theirs, [[1.0, 0.6], [0.5, 0.7], [0.5, 0.8]]) == [('b', 1, 0.2)]


@given(st.integers(1, 5), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_half_of_the_seeds_reach_what_is_shown(seeds, images, draw):
    rng = np.random.default_rng(draw)
    theirs, ours = rng.random((2, seeds, images)).round(2)
    for image, seed, difference in chosen(theirs, ours):
        i = 'abcdefgh'.index(image)
        by_seed = (ours - theirs)[:, i].round(6)
        assert by_seed[seed] == difference != 0
        reached = by_seed >= difference if difference > 0 else by_seed <= difference
        assert 2 * reached.sum() >= seeds


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=8), st.floats(0.01, 3))
def test_labels_are_apart_in_their_order_around_their_places(places, gap):
    moved = spread(places, gap)
    order = np.argsort(places, kind='stable')
    assert (np.diff(np.array(moved)[order]) >= gap - 1e-9).all()
    assert np.mean(moved) == pytest.approx(np.mean(places), abs=1e-6)


@given(st.lists(st.floats(0, 100), max_size=700))
def test_smoothed_loss_keeps_the_mean(losses):
    at, values = smoothed(losses)
    assert len(at) == min(len(losses), 150)
    if len(losses):
        weights = np.diff(at, prepend=0)
        assert at[-1] == len(losses)
        assert (weights * values).sum() / len(losses) == pytest.approx(np.mean(losses), abs=1e-6)


def test_curves_of_unequal_length_end_with_the_shortest():
    at, values = mean_curve([np.array([[1, 2, 3], [1.0, 2, 3]]), np.array([[1, 2], [5.0, 6]])])
    assert at.tolist() == [1, 2] and values.tolist() == [[1, 2], [5, 6]]
    assert mean_curve([np.zeros((2, 0)), np.ones((2, 3))]) is None


def test_text_cannot_break_out():
    report = Report('a | b', [Text('x_y <b>\n# z'), Table(['h'], [['1|2']]), Code('```\n<i>')])
    text = to_markdown(report, 'p')
    assert text == (
        '# a \\| b\n\nx\\_y \\<b\\> # z\n\n| h |\n| --- |\n| 1\\|2 |\n\n````\n```\n<i>\n````\n'
    )
    page = to_html(report)
    assert '<b>' not in page and '<i>' not in page and '&lt;b&gt;' in page


def test_failed_and_stale_runs_come_first(tmp_path):
    study = FakeStudy(tmp_path, 2, ['segmentation'])
    study.run_all(skip={('segmentation', 'spatial', 1), ('segmentation', 'spatial', 2)})
    runs = [Run('main', 'segmentation', arm, s) for s in range(3) for arm in ('stock', 'spatial')]
    ledger = Ledger(tmp_path)
    ledger.plan([*runs, Run('trial', 'segmentation', 'stock', 9, 0.01)])
    for run in runs:
        ledger.set_state(run.key, 'done')
    ledger.set_state('runs/segmentation/stock/seed0', 'stale', 'changed since: code (a to b)')
    ledger.set_state('runs/segmentation/spatial/seed1', 'failed', 'out of memory')
    ledger.set_state('runs/segmentation/spatial/seed2', 'pending')
    ledger.set_state('trials/segmentation/stock/lr0.01/seed9', 'failed', 'no')
    ledger.close()
    found = open_runs(tmp_path, load_results(tmp_path))
    assert [(run.run, run.state, run.reason) for run in found] == [
        ('segmentation, spatial, seed 1', 'failed', 'out of memory'),
        ('segmentation, stock, seed 9 (trial of lr 0.01)', 'failed', 'no'),
        ('segmentation, stock, seed 0', 'stale', 'changed since: code (a to b)'),
        ('segmentation, spatial, seed 2', 'pending', ''),
    ]


def test_truth_is_what_the_evidence_was_made_from(tmp_path):
    study = FakeStudy(tmp_path, 2, ['detection', 'instances', 'segmentation'], seeds=1, images=6)
    study.run_all()
    name = study.files[2]
    ids = study.coco.getAnnIds(study.coco.dataset['images'][2]['id'])
    for task in ('detection', 'instances'):
        run = tmp_path / f'runs/{task}/stock/seed0'
        pixels, layer = TestImages(run, study.tasks[task].kind).read(name)
        boxes = [study.coco.anns[i]['bbox'] for i in ids]
        assert pixels.shape == (64, 64, 3)
        assert np.allclose(layer.boxes[:, :2], np.array(boxes)[:, :2])
        assert (layer.masks is None) == (task == 'detection')
    assert [mask.sum() for mask in layer.masks] == [
        study.coco.annToMask(study.coco.anns[i]).sum() for i in ids
    ]
    stem = name.rsplit('.', 1)[0]
    _, layer = TestImages(tmp_path / 'runs/segmentation/stock/seed0', 'segmentation').read(stem)
    with Image.open(tmp_path / f'data/masks/test/{stem}.png') as mask:
        assert np.array_equal(layer.classes, np.asarray(mask))
