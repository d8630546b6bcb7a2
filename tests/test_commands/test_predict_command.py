import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mkbackbones.commands.predict import main
from mkbackbones.decide.by_class import ByClass, ClassOutcome, ClassPoint
from mkbackbones.decide.interval import share_of
from mkbackbones.decide.operating_point import OperatingPoint, Tiles, digest_of
from mkbackbones.decide.thresholds import Outcome, Wish
from mkbackbones.predict.findings import Findings
from mkbackbones.predict.output import Output

from ..test_predict.blobs import write_blobs, write_pictures

CPU = ['--device', 'cpu']


@pytest.fixture
def model(tmp_path, monkeypatch):
    """Words of the command that name a model: a detector."""
    folder = tmp_path / 'project'
    monkeypatch.setattr(sys, 'path', [str(folder), *sys.path])
    return write_blobs(folder)


@pytest.fixture
def pictures(tmp_path):
    return write_pictures(tmp_path / 'pictures')


def rows(out='out'):
    return list(csv.DictReader(io.StringIO(Path(out, 'predictions.csv').read_text())))


def files(out='out'):
    return sorted(path.relative_to(out).as_posix() for path in Path(out).rglob('*.*'))


def left_over():
    return [path.name for path in Path().iterdir() if path.name.startswith('.out')]


def test_everything_at_once(model, pictures, capsys):
    formats = ['--format', 'coco', 'csv', 'labelme', 'yolo', 'png', '--paint']
    assert main([*model, str(pictures), '--out', 'out', *formats, *CPU]) == 0
    per_picture = [
        f'{folder}/{stem}{suffix}'
        for folder, suffix in (
            ('labelme', '.json'), ('masks', '.png'), ('painted', '.jpg'), ('yolo/labels', '.txt')
        )
        for stem in 'abc'
    ]  # fmt: skip
    assert files() == sorted(
        [*per_picture, 'predictions.csv', 'predictions.json', 'yolo/classes.txt']
    )
    assert [row['picture'] for row in rows()] == ['a.png', 'a.png', 'b.png', 'c.png']
    content = json.loads(Path('out/predictions.json').read_text())
    assert len(content['annotations']) == 3
    shown = json.loads(Path('out/labelme/a.json').read_text())['imagePath']
    assert Path('out/labelme', shown).resolve() == (pictures / 'a.png').resolve()
    assert 'images/s' in capsys.readouterr().out
    assert left_over() == []


def test_class_maps_come_as_png(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(sys, 'path', [str(tmp_path / 'project'), *sys.path])
    model = write_blobs(tmp_path / 'project', 'segmentation')
    assert main([*model, str(pictures), '--out', 'out', *CPU]) == 0
    values = cv2.imread('out/masks/a.png', cv2.IMREAD_UNCHANGED)
    assert values.dtype == np.uint8 and set(np.unique(values)) == {0, 1}


def test_what_cannot_be_read_is_named_counted_and_skipped(model, pictures, capsys):
    (pictures / 'broken.png').write_bytes(b'no picture')
    assert main([*model, str(pictures), '--out', 'out', *CPU]) == 1
    told = capsys.readouterr()
    assert 'broken.png: corrupt image file' in told.err and '1 picture skipped' in told.err
    assert 'out: 3 pictures' in told.out and len(rows()) == 4
    assert main([*model, str(pictures / 'broken.png'), '--out', 'none', *CPU]) == 2
    assert not Path('none').exists() and not left_over()


def test_a_list_on_standard_input(model, pictures, monkeypatch):
    monkeypatch.setattr(sys, 'stdin', io.StringIO(f'{pictures}/b.png\n{pictures}/gone.png\n'))
    assert main([*model, '-', '--out', 'out', *CPU]) == 1
    assert [row['picture'] for row in rows()] == ['b.png']


class Killed(BaseException):
    pass


def stop_after(monkeypatch, count):
    """Let a run end behind so many pictures, as if it was killed; return whom it predicts."""
    seen = []
    former = Output.add

    def add(self, picture, *rest):
        if len(seen) == count:
            raise Killed
        seen.append(picture.stem)
        former(self, picture, *rest)

    monkeypatch.setattr(Output, 'add', add)
    return seen


def test_a_run_that_was_killed_goes_on(model, pictures, monkeypatch):
    words = [*model, str(pictures), *CPU, '--paint', '--format', 'coco', 'csv', 'png']
    assert main([*words, '--out', 'whole']) == 0
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_after(patch, 2)
        main([*words, '--out', 'out'])
    assert not Path('out').exists() and left_over()
    # What has changed since is done again, and what is new, too.
    for name in ('a.png', 'd.png'):
        cv2.imwrite(str(pictures / name), cv2.imread(str(pictures / 'a.png')))
    with monkeypatch.context() as patch:
        seen = stop_after(patch, 9)
        assert main([*words, '--out', 'out']) == 0
    assert sorted(seen) == ['a', 'c', 'd'] and not left_over()
    (pictures / 'd.png').unlink()
    assert [row for row in rows() if row['picture'] != 'd.png'] == rows('whole')
    for name in files('whole'):
        if name.startswith(('masks', 'painted')):
            assert Path('out', name).read_bytes() == Path('whole', name).read_bytes()


@pytest.mark.parametrize(
    'more, told',
    [
        (['--tile', '64', '--overlap', '8'], 'another tile (none, now 64)'),
        (['--paint'], 'another paint'),
        (['--amp', 'bf16'], 'another amp'),
        (['--cfg-options', 'model.init_cfg=None'], 'another config'),
    ],
)
def test_other_settings_are_refused(model, pictures, monkeypatch, capsys, more, told):
    words = [*model, str(pictures), *CPU, '--out', 'out']
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_after(patch, 1)
        main(words)
    assert main([*words, *more]) == 2
    assert told in capsys.readouterr().err
    assert main(words) == 0


def test_former_predictions_are_replaced_when_asked(model, pictures, capsys):
    words = [*model, str(pictures), *CPU, '--out', 'out']
    assert main(words) == 0 and main(words) == 2
    assert '--overwrite' in capsys.readouterr().err
    assert main([*words, '--overwrite', '--format', 'csv']) == 0
    assert files() == ['predictions.csv']
    Path('out/mine.txt').touch()
    assert main([*words, '--overwrite']) == 2
    assert 'mine.txt' in capsys.readouterr().err and Path('out/mine.txt').exists()


def test_an_error_leaves_the_place_as_it_was(model, pictures, monkeypatch):
    monkeypatch.setattr(Findings, '__init__', lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main([*model, str(pictures), *CPU, '--out', 'out'])
    assert not Path('out').exists()


@pytest.mark.parametrize(
    'words, told',
    [
        (['none', '--out', 'out'], 'input none does not exist'),
        (['pictures', '--out', 'out', '--min-score', '3'], '--min-score 3'),
        (['pictures', '--out', 'out', '--tile', '64', '--overlap', '40'], 'overlap 40'),
        (['pictures', '--out', 'file'], 'is a file'),
        (['pictures', '--out', 'out', '--amp', 'fp16'], 'bf16'),
    ],
)
def test_bad_input_ends_with_code_2(model, pictures, capsys, words, told):
    Path('file').touch()
    assert main([*model, *words, *CPU]) == 2
    assert told in capsys.readouterr().err and not Path('out').exists() and not left_over()


@pytest.mark.skipif(sys.platform != 'linux', reason='other systems want names to be text')
def test_a_name_that_is_no_text(model, pictures):
    raw = os.fsencode(pictures / 'a.png')
    os.rename(raw, raw.replace(b'a.png', b'\xff.png'))
    formats = ['--format', 'coco', 'csv', 'labelme', 'yolo', '--paint']
    assert main([*model, str(pictures), '--out', 'out', *formats, *CPU]) == 0
    assert b'\xff.png,' in Path('out/predictions.csv').read_bytes()


def write_point(score, classes=('red', 'white'), checkpoint='mk_detection.pth'):
    outcome = Outcome(None, share_of(np.zeros(3, bool), np.arange(3)))
    point = OperatingPoint(score, Wish(max_false_alarms=0.25), list(classes), checkpoint, outcome)
    point.save(Path('threshold.json'))
    return ['--threshold', 'threshold.json']


def test_a_threshold_tells_which_pictures_raise_an_alarm(model, pictures, capsys):
    assert main([*model, str(pictures), '--out', 'first', *CPU]) == 0
    scores = {row['picture']: float(row['picture_score']) for row in rows('first')}
    assert 'alarm' not in rows('first')[0] and len(set(scores.values())) == 3
    middle = sorted(scores.values())[1]  # itself not above
    wanted = {name: score > middle for name, score in scores.items()}
    capsys.readouterr()
    assert main([*model, str(pictures), '--out', 'out', *write_point(middle), *CPU]) == 0
    told = capsys.readouterr()
    assert '1 picture with an alarm, above' in told.out and told.err == ''
    assert {row['picture']: row['alarm'] == '1' for row in rows()} == wanted
    images = json.loads(Path('out/predictions.json').read_text())['images']
    assert {image['file_name']: image['alarm'] for image in images} == wanted
    without = [{k: v for k, v in row.items() if k != 'alarm'} for row in rows()]
    assert without == rows('first')


def test_a_threshold_of_another_model_is_told(model, pictures, capsys):
    other = write_point(0.5, classes=['red', 'blue'])
    assert main([*model, str(pictures), '--out', 'out', *other, *CPU]) == 2
    assert 'is for the classes red, blue; the config has red, white' in capsys.readouterr().err
    assert not Path('out').exists()
    later = write_point(0.5, checkpoint='epoch_9.pth')
    assert main([*model, str(pictures), '--out', 'out', *later, *CPU]) == 0
    assert 'was chosen for epoch_9.pth' in capsys.readouterr().err
    content = json.loads(Path('threshold.json').read_text())
    content.update(checkpoint=Path(model[-1]).name, digest='0' * 16)
    Path('threshold.json').write_text(json.dumps(content))
    again = ['--out', 'out', '--overwrite', *later, *CPU]
    assert main([*model, str(pictures), *again]) == 0
    assert 'was chosen for another file, not for' in capsys.readouterr().err
    content.update(checkpoint='renamed.pth', digest=digest_of(Path(model[-1])))
    Path('threshold.json').write_text(json.dumps(content))
    assert main([*model, str(pictures), *again]) == 0
    assert capsys.readouterr().err == ''
    assert main([*model, str(pictures), *again, '--amp', 'bf16', '--bit-depth', '12']) == 0
    precision, bits = capsys.readouterr().err.splitlines()
    assert 'threshold.json was chosen in float32: with --amp bf16 scores differ' in precision
    assert 'for --bit-depth 12 only if prepare-dataset was given the same' in bits
    nowhere = ['--out', 'out', '--overwrite', '--threshold', 'nowhere.json', *CPU]
    assert main([*model, str(pictures), *nowhere]) == 2
    assert '--threshold nowhere.json does not exist' in capsys.readouterr().err
    Path('threshold.json').write_text('{}')
    assert main([*model, str(pictures), '--out', 'more', *later, *CPU]) == 2
    assert 'cannot be read as an operating point' in capsys.readouterr().err


def test_a_gallery_comes_alone_and_after_a_stop(model, pictures, monkeypatch):
    add, left = Output.add, [2]

    def stops(self, *args):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        add(self, *args)

    argv = [*model, str(pictures), '--out', 'out', '--report', '--format', 'csv', *CPU]
    with monkeypatch.context() as patch:
        patch.setattr(Output, 'add', stops)
        assert main(argv) == 130
    assert main(argv) == 0
    assert files() == ['gallery.html', 'predictions.csv'] and left_over() == []
    page = Path('out/gallery.html').read_text()
    assert page.count('<figure ') == page.count('data:image/jpeg;base64,') == 3
    assert main([*argv, '--overwrite']) == 0


def write_points_by_class(limits, rest=None, checkpoint='mk_detection.pth', tiles=None):
    """A file with thresholds by class; None counts by that of all."""
    nothing, wish = Outcome(None, None), Wish(max_false_alarms=0.25)
    points = tuple(
        ClassPoint(name, wish, limit, '', ClassOutcome(None, None, None))
        for name, limit in limits.items()
    )
    by_class = ByClass(points, rest, nothing)
    point = OperatingPoint(
        0.0, wish, ['red', 'white'], checkpoint, nothing, by_class=by_class, tiles=tiles
    )
    point.save(Path('threshold.json'))
    return ['--threshold', 'threshold.json']


@pytest.mark.parametrize('more', [[], ['--tile', '48', '--overlap', '16']], ids=['', 'tiles'])
def test_each_class_counts_by_its_own_threshold(model, pictures, capsys, more):
    first = [*model, str(pictures), '--out', 'first', *more, *CPU]
    assert main(first) == 0
    best = {}
    for row in rows('first'):
        scores = best.setdefault(row['picture'], dict(red=0.0, white=0.0))
        if row['class']:
            scores[row['class']] = max(scores[row['class']], float(row['score']))
    limits = dict(red=max(each['red'] for each in best.values()) - 0.01, white=0.99)
    wanted = {
        name: [c for c, score in scores.items() if score > limits[c]]
        for name, scores in best.items()
    }
    assert sorted(map(len, wanted.values()))[-1] == 1
    tiles = Tiles(48, 16) if more else None
    given = write_points_by_class(dict(limits, white=None), rest=0.99, tiles=tiles)
    again = [*model, str(pictures), '--out', 'out', '--report', *more, *given, *CPU]
    assert main(again) == 0
    assert (
        f'with an alarm, above {limits["red"]:.6g} (red), 0.99 (white)' in capsys.readouterr().out
    )
    for row in rows():
        assert row['alarm'] == str(int(bool(wanted[row['picture']])))
        assert row['alarm_by'] == '; '.join(wanted[row['picture']])
    for image in json.loads(Path('out/predictions.json').read_text())['images']:
        assert image['alarm_by'] == wanted[image['file_name']]
        assert image['alarm'] == bool(image['alarm_by'])
    assert '<b>alarm red</b>' in Path('out/gallery.html').read_text()


def test_a_threshold_of_an_exported_file_is_refused(model, pictures, capsys):
    given = write_points_by_class(dict(red=0.5, white=0.5), checkpoint='model_int8.onnx')
    assert main([*model, str(pictures), '--out', 'out', *given, *CPU]) == 2
    assert 'chosen for the exported file model_int8.onnx, whose scores' in capsys.readouterr().err
    assert not Path('out').exists()


def test_mistakes_are_told_without_the_libraries_of_models(tmp_path):
    """They took four seconds, of which all but a half were imports."""
    code = (
        'import sys\n'
        'from mkbackbones.commands.predict import main\n'
        'for more in ([], ["--min-score", "3"], ["--threshold", "none.json"]):\n'
        '    given = ["a.py", "b.pth", "nowhere", "--out", "x", "--device", "cpu", *more]\n'
        '    assert main(given) == 2\n'
        'print([name for name in ("torch", "mmengine") if name in sys.modules])\n'
    )
    found = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert found.stdout.strip() == '[]' and found.stderr.count('error: ') == 3
