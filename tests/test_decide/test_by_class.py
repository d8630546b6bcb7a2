"""A threshold for each class: what each promises, and what all together give."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mkbackbones.decide.by_class import Scored, choose_by_class, decide_by_class, most_in_all
from mkbackbones.decide.looked import Looked
from mkbackbones.decide.operating_point import OperatingPoint
from mkbackbones.decide.thresholds import Outcome, Wish, choose_threshold
from mkbackbones.decide.words import by_class_notes, told_lines

from ..test_study.simulated import NEU_DET
from .simulated import TILES, promises, recalls

NAMES = ('crack', 'dent', 'pit')


def scored(good=40, each=(30, 30, 3), seed=0, names=NAMES):
    """Good images, then images of one class each, whose score is higher by a half."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(-1, len(each)), [good, *each])
    truth = label[:, None] == np.arange(len(each))
    score = rng.random(truth.shape) * 0.5 + 0.5 * truth * rng.random((len(truth), 1))
    return Scored(names, score, truth, label >= 0, np.arange(len(label)))


def point_of(found, wish):
    nothing = Outcome(None, None)
    return OperatingPoint(0.5, wish, list(NAMES), 'x.pth', nothing, by_class=found)


def test_a_class_with_too_few_images_is_told_and_counts_by_that_of_all():
    splits = dict(validation=scored(), test=scored(seed=1))
    wish = Wish(min_recall=0.9)
    found = decide_by_class(splits, wish, {})
    crack, dent, pit = found.points
    assert crack.threshold is not None and dent.threshold is not None and pit.threshold is None
    assert '3 validation images with pit cannot tell that at least 90.00% of such' in pit.why
    first = splits['validation']
    assert found.rest == choose_threshold(first.score.max(1), first.defective, wish)
    assert found.limits == dict(crack=crack.threshold, dent=dent.threshold, pit=found.rest)
    assert pit.test.recall.images == 3 and pit.test.others.images == 60
    assert crack.validation.recall.value >= 0.9
    looked = Looked(first.score.max(1), first.defective, first.groups, [], NAMES, first.score,
                    first.truth)  # fmt: skip
    told = '\n'.join(told_lines(point_of(found, wish), looked))
    assert 'that of the highest score of any class' in told
    assert 'pit: 3 validation images with pit' in told
    assert 'recall of all together is no lower' not in told  # pits may be missed
    assert 'images of other classes alone with an alarm for it: ' in told
    hits = pit.test.recall.hits
    assert f'of the test images with one, {hits} of 3 (' in told


def test_a_class_may_have_a_wish_of_its_own():
    first = scored(each=(60, 60, 60))
    own = dict(crack=Wish(min_recall=0.98))
    found = decide_by_class(dict(validation=first), Wish(min_recall=0.8), own)
    shares = [each.validation.recall.value for each in found.points]
    assert shares[0] >= 0.98 and 0.8 <= shares[1] < 0.9 and found.rest is None
    assert [each.wish for each in found.points][1:] == [Wish(min_recall=0.8)] * 2


def test_a_wish_of_a_class_that_cannot_be_kept_is_no_threshold_of_another():
    for name, wish in (('pit', 0.9), ('crack', 0.99)):
        words = rf'--per-class {name}: \d+ validation images with {name} cannot tell'
        with pytest.raises(ValueError, match=words):
            decide_by_class(
                dict(validation=scored()), Wish(min_recall=0.9), {name: Wish(min_recall=wish)}
            )


def test_where_it_is_not_known_which_images_are_good_no_wish_is_advised():
    with pytest.raises(ValueError, match=r'^60 validation images, good and defective') as error:
        Wish(max_false_alarms=0.01).check_number(60, at_most=True)
    assert 'at least 99 good ones' in str(error.value) and 'wish of' not in str(error.value)


def test_false_alarms_of_all_are_told_beside_those_of_each():
    first = scored(good=120)
    wish = Wish(max_false_alarms=0.02)
    found = decide_by_class(dict(validation=first), wish, dict(dent=Wish(max_false_alarms=0.01)))
    assert most_in_all(found, wish) == pytest.approx(0.05)
    looked = Looked(first.score.max(1), first.defective, first.groups, [])
    notes = ' '.join(by_class_notes(found, wish, looked))
    assert '3 thresholds' in notes and 'up to 5.00% of the good images in all' in notes
    # 0.02 / 3 with two digits, from below.
    assert 'ask for 0.0066, which takes 151 good validation images' in notes
    hits = [each.validation.false_alarms.hits for each in found.points]
    assert max(hits) <= found.validation.false_alarms.hits <= sum(hits)


def test_a_class_that_no_image_has_is_told_with_its_false_alarms():
    found = choose_by_class(
        scored(each=(30, 30, 0)), dict.fromkeys(NAMES, Wish(max_false_alarms=0.05))
    )
    assert found['pit'].threshold is not None and 'no validation image has one' in found['pit'].why
    assert found['crack'].why == ''


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 9), st.integers(0, 9)), max_size=60),
    st.booleans(),
    st.sampled_from([0.1, 0.3, 0.6]),
)
def test_all_classes_find_what_each_finds(images, recall, share):
    label = np.array([each[0] for each in images], int)
    truth = label[:, None] == np.arange(3)
    score = np.array([[a, b, (a + b) / 2] for _, a, b in images]).reshape(-1, 3) / 9
    first = Scored(NAMES, score, truth, label >= 0, np.arange(len(label)))
    wish = Wish(min_recall=1 - share) if recall else Wish(max_false_alarms=share)
    try:
        found = decide_by_class(dict(validation=first), wish, {})
    except ValueError as error:
        assert 'cannot tell' in str(error) or 'nothing is found' in str(error)
        return
    together = found.validation
    for each in found.points:
        own = each.validation
        if own.recall is not None:
            assert together.recall.hits >= own.recall.hits
            if recall and each.threshold is not None:
                assert own.recall.value >= 1 - share - 1e-9
        if own.false_alarms is not None:
            assert together.false_alarms.hits >= own.false_alarms.hits
            if not recall:
                assert own.false_alarms.value <= share + 1e-9


def test_scores_of_one_are_no_trap():
    """A segmentor that is sure is so to the last digit: the threshold has to lie below."""
    score, defective = np.ones(60), np.arange(60) < 30
    score[~defective] = 0.2
    threshold = choose_threshold(score, defective, Wish(min_recall=0.9))
    assert 0.99 < threshold < 1


def test_nothing_found_at_all_is_no_threshold():
    score, defective = np.where(np.arange(60) < 10, 0.0, 0.9), np.arange(60) < 50
    with pytest.raises(ValueError, match='in 10 of the 50 validation images nothing is found'):
        choose_threshold(score, defective, Wish(min_recall=0.9))
    assert choose_threshold(score, defective, Wish(min_recall=0.75)) > 0.89


def test_a_file_has_what_was_chosen_and_former_files_are_read(tmp_path):
    file = tmp_path / 'threshold.json'
    splits = dict(validation=scored(), test=scored(seed=1))
    point = point_of(decide_by_class(splits, Wish(min_recall=0.9), {}), Wish(min_recall=0.9))
    point.save(file)
    assert OperatingPoint.load(file) == point
    assert OperatingPoint.load(file).above == point.by_class.limits
    content = json.loads(file.read_text())
    assert content['version'] == 2 and content['by_class']['points'][2]['threshold'] is None
    former = {k: v for k, v in content.items() if k not in ('by_class', 'digest')}
    file.write_text(json.dumps(dict(former, version=1)))
    assert OperatingPoint.load(file).by_class is None
    assert OperatingPoint.load(file).above == 0.5
    points = content['by_class']['points']
    for broken in (
        dict(content['by_class'], points=[dict(points[0], name='scratch')]),
        dict(content['by_class'], points=[points[0], points[0]]),
        dict(content['by_class'], rest=None),  # by which pits count
        dict(content['by_class'], points=[dict(points[0], threshold=float('nan'))]),
        [1],
    ):
        file.write_text(json.dumps(dict(content, by_class=broken)))
        with pytest.raises(ValueError, match='cannot be read as an operating point'):
            OperatingPoint.load(file)


@pytest.mark.parametrize('alike, most', [(0.0, 0.0565), (0.9, 0.036), (1.0, 0.021)])
def test_promises_of_classes_add_up_to_no_more(alike, most):
    """docs/statistics.md has the table of 3,000 validation sets each."""
    of_class, of_any, covered = promises(150, TILES, 3, alike, 0.0, 0.02)
    assert of_class < 0.0205 and of_class <= of_any + 1e-9 and of_any < most
    assert covered > 0.91  # 97.6 % at least in the table, less four standard errors


def test_intervals_of_recall_cover_for_classes_of_real_groups():
    each, together = recalls(150, NEU_DET, 0.9, 0.3)
    assert each.min() > 0.9 and together > 0.85
