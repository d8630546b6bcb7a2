"""What is on disk after a data set was written, whatever its source."""

import hashlib
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from mkbackbones.commands.prepare_dataset import main
from mkbackbones.datasets import DatasetError, Instance, Record, write_dataset
from mkbackbones.datasets.generic.coco import Coco
from mkbackbones.datasets.instances import components
from mkbackbones.datasets.splitting import Splitter

from .fakes import neu_det_files, write_zip
from .test_generic.common import png, write


class Memory:
    """A converter of ready records; an error among them is a bad image."""

    classes = ('dent', 'crack')
    image_dir = 'images/{split}'

    def __init__(self, *records):
        self.notes, self.records = [], records

    def __len__(self):
        return len(self.records)

    def read(self, index):
        record = self.records[index]
        if isinstance(record, Exception):
            raise record
        return replace(record)


def record(name, split='train', **kwargs):
    return Record(split, name, png(), 30, 20, **kwargs)


def content(folder):
    """Path and digest of every file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.md5(path.read_bytes()).hexdigest()
        for path in folder.rglob('*')
        if path.is_file()
    }


def info(out):
    return json.loads((out / 'dataset.json').read_text(encoding='utf-8'))


def test_bad_images_stop_or_are_listed(tmp_path):
    bad = DatasetError('b.png: corrupt')
    converter = Memory(record('a.png'), bad, record('c.png', fixes=['box clipped: c', 'x: y']))
    with pytest.raises(DatasetError, match=r'b.png: corrupt'):
        write_dataset(converter, tmp_path / 'out')
    assert not list(tmp_path.iterdir())
    summary = write_dataset(converter, tmp_path / 'out', skip_bad=True)
    assert summary.images == {'train': 2}
    assert info(tmp_path / 'out')['skipped'] == summary.skipped == ['b.png: corrupt']
    assert summary.fix_counts() == {'box clipped': 1, 'x': 1}
    assert info(tmp_path / 'out')['fixes'] == ['box clipped: c', 'x: y']
    with pytest.raises(DatasetError, match='no image is left'):
        write_dataset(Memory(bad), tmp_path / 'none', skip_bad=True)


def test_negatives_are_kept(tmp_path):
    write_dataset(Memory(record('a.png')), tmp_path / 'out')
    coco = COCO(tmp_path / 'out/annotations/train.json')
    assert len(coco.imgs) == 1 and not coco.anns
    assert info(tmp_path / 'out')['counts']['train'] == dict(
        images=1, defect_free=1, instances=dict(dent=0, crack=0)
    )
    # There is nothing to read for the others, so there is no file that seems to say otherwise.
    assert not (tmp_path / 'out/annotations/val.json').exists()


def test_classes_that_differ_in_case_are_told(tmp_path):
    converter = Memory(record('a.png'))
    converter.classes = ('Dent', 'crack', 'dent')
    write_dataset(converter, tmp_path / 'out')
    told = [note for note in info(tmp_path / 'out')['notes'] if 'of their own' in note]
    assert len(told) == 1 and told[0].startswith('Dent and dent are classes')


def test_groups_and_splits_are_written(tmp_path):
    records = [record(f'ä {n // 3}_{n}.png', None) for n in range(30)]
    write_dataset(
        Memory(*records), tmp_path / 'out', splitter=Splitter('group', group_regex='^ä [0-9]+')
    )
    groups = json.loads((tmp_path / 'out/groups.json').read_text(encoding='utf-8'))
    assert groups['ä 9_29'] == 'ä 9'
    sides = {}
    for split in ('train', 'val', 'test'):
        names = [path.name for path in (tmp_path / 'out/images' / split).iterdir()]
        coco = COCO(tmp_path / f'out/annotations/{split}.json')
        assert sorted(names) == sorted(image['file_name'] for image in coco.imgs.values())
        sides |= {name[:-4]: split for name in names}
    assert len({(groups[stem], split) for stem, split in sides.items()}) == 10
    assert info(tmp_path / 'out')['split'] == dict(
        method='group', ratios=[0.7, 0.1, 0.2], seed=0, group_regex='^ä [0-9]+'
    )


def test_crowds_keep_their_flag(tmp_path):
    mask = np.ones((20, 30), bool)
    mask[5:9, 5:9] = False
    crowd = Instance.from_mask(1, mask, crowd=True)
    write_dataset(Memory(record('a.png', instances=[crowd])), tmp_path / 'out')
    coco = COCO(tmp_path / 'out/annotations/train.json')
    (annotation,) = coco.anns.values()
    assert annotation['iscrowd'] == 1 and np.array_equal(coco.annToMask(annotation), mask)


def test_one_suffix_where_there_are_class_maps(tmp_path):
    jpg = cv2.imencode('.jpg', np.zeros((20, 30), np.uint8))[1].tobytes()
    seg_map = np.zeros((20, 30), np.uint8)
    mixed = [
        Record('train', 'a.jpg', jpg, 30, 20, seg_map=seg_map),
        record('b.png', seg_map=seg_map),
    ]
    summary = write_dataset(Memory(*mixed), tmp_path / 'out')
    assert 'suffixes .jpg, .png were written as PNG' in summary.notes[0]
    for kind in ('images', 'masks'):
        names = sorted(path.name for path in (tmp_path / 'out' / kind / 'train').iterdir())
        assert names == ['a.png', 'b.png']
    coco = COCO(tmp_path / 'out/annotations/train.json')
    assert {image['file_name'] for image in coco.imgs.values()} == {'a.png', 'b.png'}


@pytest.mark.parametrize(
    'records, message',
    [
        ([record('a.png'), record('a.png')], 'two images are called a'),
        ([record('a.png'), record('a.jpg')], r'two images are called a: a.png, a.jpg'),
        ([record('a.png', 'dev')], "split 'dev' is none of"),
        ([record('a.png', instances=[Instance(2, (0, 0, 1, 1))])], 'label 2 of 2 classes'),
        ([record('a.png', instances=[Instance(0, (29, 0, 2, 1))])], 'leaves the image of 30x20'),
        ([record('a.png', seg_map=np.zeros((3, 3), np.uint8))], 'class map of 3x3'),
        (
            [record('a.png'), record('b.png', seg_map=np.zeros((20, 30), np.uint8))],
            r'b.png has a class map, but a.png has none',
        ),
    ],
)
def test_faults_of_a_converter_leave_nothing(tmp_path, records, message):
    with pytest.raises(DatasetError, match=message):
        write_dataset(Memory(*records), tmp_path / 'out')
    assert not list(tmp_path.iterdir())


@pytest.fixture
def yolo(tmp_path):
    files = {'classes.txt': 'dent\ncrack\n'}
    for n in range(12):
        files |= {f's{n // 3}_{n}.png': png(n), f's{n // 3}_{n}.txt': f'{n % 2} .9 .5 .4 .3'}
    return write(tmp_path / 'raw', files)


def arguments(src, out, *more):
    return ['yolo', '--src', str(src), '--out', str(out), '--split', 'random', *more]


def test_a_rerun_is_idempotent(tmp_path, yolo, capsys):
    out = tmp_path / 'out'
    assert main(arguments(yolo, out)) == 0
    assert len(info(out)['fixes']) == 12
    before = content(out)
    stamp = (out / 'dataset.json').stat().st_mtime_ns
    capsys.readouterr()
    assert main(arguments(yolo, out)) == 0
    assert 'is up to date' in capsys.readouterr().out
    assert (out / 'dataset.json').stat().st_mtime_ns == stamp
    # Written anew, elsewhere, and from a copy of the source: the same bytes.
    assert main(arguments(yolo, out, '--overwrite')) == 0
    assert content(out) == before
    (tmp_path / 'copy').mkdir()
    write(tmp_path / 'copy/raw', {path.name: path.read_bytes() for path in yolo.iterdir()})
    assert main(arguments(tmp_path / 'copy/raw', tmp_path / 'other')) == 0
    assert content(tmp_path / 'other') == before


def change_label(yolo, out):
    (yolo / 's0_0.txt').write_text('1 .5 .5 .2 .3')


def lose_image(yolo, out):
    next((out / 'images/train').iterdir()).unlink()


@pytest.mark.parametrize(
    'change, more', [(change_label, ()), (lose_image, ()), (lambda *_: None, ('--seed', '1'))]
)
def test_another_input_or_output_is_not_up_to_date(tmp_path, yolo, capsys, change, more):
    out = tmp_path / 'out'
    assert main(arguments(yolo, out)) == 0
    change(yolo, out)
    before = content(out)
    assert main(arguments(yolo, out, *more)) == 2
    assert '--overwrite' in capsys.readouterr().err and content(out) == before
    assert main(arguments(yolo, out, *more, '--overwrite')) == 0
    assert main(arguments(yolo, out, *more)) == 0
    assert 'is up to date' in capsys.readouterr().out


def test_a_split_by_group_from_the_command_line(tmp_path, yolo, capsys):
    command = ['yolo', '--src', str(yolo), '--split', 'group', '--ratios', '2', '1', '1']
    assert main([*command, '--out', str(tmp_path / 'a'), '--group-regex', '^s[0-9]']) == 0
    groups = tmp_path / 'a/groups.json'
    assert main([*command, '--out', str(tmp_path / 'b'), '--groups', str(groups)]) == 0
    assert json.loads((tmp_path / 'b/groups.json').read_text()) == json.loads(groups.read_text())
    assert info(tmp_path / 'a')['counts'] == info(tmp_path / 'b')['counts']
    assert main([*command, '--out', str(tmp_path / 'c')]) == 2
    assert 'no group for s0_0: the source states none' in capsys.readouterr().err


def test_skipping_from_the_command_line(tmp_path, yolo, capsys):
    (yolo / 's0_1.png').write_bytes(png()[:-30])
    (yolo / 's0_2.txt').write_text('0 .5 .5')
    assert main(arguments(yolo, tmp_path / 'out')) == 2
    error = capsys.readouterr().err
    assert 's0_2.txt, line 1: 3 values' in error and '--skip-bad' in error
    assert main(arguments(yolo, tmp_path / 'out', '--skip-bad')) == 0
    output = capsys.readouterr().out
    assert 'skipped: 2 images' in output and 's0_1.png: corrupt' in output
    assert len(info(tmp_path / 'out')['skipped']) == 2


def test_instances_from_the_command_line(tmp_path, yolo, capsys):
    boxes = arguments(yolo, tmp_path / 'out')
    assert main([*boxes, '--instances', 'components']) == 2
    assert 'has no mask' in capsys.readouterr().err
    assert main([*boxes, '--min-area', '3']) == 2
    assert '--min-area goes with --instances components' in capsys.readouterr().err
    for path in yolo.glob('*.txt'):
        if path.name != 'classes.txt':
            path.write_text('0 .1 .1 .5 .1 .5 .5\n0 .3 .1 .7 .1 .7 .5')
    counts = {}
    for rule in ('source', 'components', 'class', 'boxes'):
        assert main(arguments(yolo, tmp_path / rule, '--instances', rule)) == 0
        counts[rule] = info(tmp_path / rule)['counts']['train']['instances']['dent']
        assert (tmp_path / rule / 'masks').exists() == (rule != 'boxes')
    assert counts['source'] == counts['boxes'] == 2 * counts['components'] == 2 * counts['class']


def test_small_components_are_counted_by_the_rule_that_was_asked_for(tmp_path):
    seg_map = np.zeros((20, 30), np.uint8)
    seg_map[0:2, 0:2] = seg_map[5:9, 5:9] = 1
    image = record('a.png', seg_map=seg_map, fixes=['component below 99 pixels left out: a'])
    out = tmp_path / 'out'
    summary = write_dataset(Memory(image), out, instances='components', min_area=5)
    assert summary.fix_counts() == {'component below 5 pixels left out of the instances': 1}
    assert summary.count('train') == 1


def test_the_output_may_not_lie_in_the_source(yolo, capsys):
    assert main(arguments(yolo, yolo / 'out')) == 2
    assert 'lies in the source' in capsys.readouterr().err


def test_neu_det_can_be_split_anew_by_its_shipped_groups(tmp_path):
    source = write_zip(tmp_path / 'a.zip', neu_det_files())
    command = ['neu-det', '--src', str(source), '--out', str(tmp_path / 'out')]
    assert main([*command, '--split', 'group', '--seed', '3', '--ratios', '8', '1', '1']) == 0
    counts = info(tmp_path / 'out')['counts']
    assert [counts[split]['images'] for split in ('train', 'val', 'test')] == pytest.approx(
        [1440, 180, 180], abs=30
    )


def square(label, low, high):
    mask = np.zeros((20, 30), bool)
    mask[low:high, low:high] = True
    return Instance.from_mask(label, mask)


def mixed(tmp_path, **kwargs):
    """A box without a mask beside a mask."""
    seg_map = np.zeros((20, 30), np.uint8)
    seg_map[2:6, 2:6], seg_map[8:12, 10:18] = 1, 255
    instances = [square(0, 2, 6), Instance(1, (10, 8, 8, 4))]
    only = record('a.png', instances=instances, seg_map=seg_map)
    summary = write_dataset(Memory(only), tmp_path / 'out', **kwargs)
    coco = json.loads((tmp_path / 'out/annotations/train.json').read_text())
    written = cv2.imread(str(tmp_path / 'out/masks/train/a.png'), cv2.IMREAD_UNCHANGED)
    return summary, coco['annotations'], written, seg_map


def test_boxes_without_masks_are_told_and_load(tmp_path):
    summary, (mask, box), written, seg_map = mixed(tmp_path)
    assert summary.notes[-1].startswith('1 of 2 objects are boxes without a mask: box detectors')
    assert len(mask['segmentation'][0]) == 8 and box['segmentation'] == [[10, 8, 10, 8, 10]]
    assert box['area'] == 32 and np.array_equal(written, seg_map)
    # It is a box again when it is read.
    again = Coco(tmp_path / 'out').read(0)
    assert again.instances[0].mask is not None and again.instances[1].mask is None
    assert again.instances[1].bbox == (10, 8, 8, 4)


def test_boxes_as_polygons(tmp_path):
    summary, (_, box), written, _ = mixed(tmp_path, boxes_as_polygons=True)
    assert not any('without a mask' in note for note in summary.notes)
    assert len(box['segmentation'][0]) == 8 and box['area'] == 32
    assert (written[8:12, 10:18] == 2).all() and (written == 255).sum() == 0


def test_boxes_as_polygons_from_the_command_line(tmp_path, yolo, capsys):
    assert main(arguments(yolo, tmp_path / 'out', '--boxes-as-polygons')) == 0
    assert (tmp_path / 'out/masks/train').is_dir()
    more = ['--boxes-as-polygons', '--instances', 'boxes', '--overwrite']
    assert main(arguments(yolo, tmp_path / 'out', *more)) == 2
    assert 'drops them' in capsys.readouterr().err


@pytest.mark.parametrize('skip', [False, True])
def test_no_image_for_training_is_an_error(tmp_path, skip):
    records = [record('a.png', 'val')] + [DatasetError('b.png: corrupt')] * skip
    message = '1 are for val.*1 more were left out' if skip else '1 are for val; use --split'
    with pytest.raises(DatasetError, match=f'no image is for training: all {message}'):
        write_dataset(Memory(*records), tmp_path / 'out', skip_bad=skip)
    assert list(tmp_path.iterdir()) == []


def test_nothing_left_tells_why(tmp_path):
    with pytest.raises(DatasetError, match=r'no image is left to write: b.png: corrupt'):
        write_dataset(Memory(DatasetError('b.png: corrupt')), tmp_path / 'out', skip_bad=True)


def test_memory_does_not_grow_with_components_times_pixels(tmp_path):
    """2000 pores in 4 megapixels would be 8 GB as masks of the whole image."""
    seg_map = np.zeros((2000, 2000), np.uint8)
    for row in range(40):
        for column in range(50):
            seg_map[row * 50 : row * 50 + 5, column * 40 : column * 40 + 5] = 1
    instances, _ = components(seg_map)
    assert len(instances) == 2000
    assert sum(item.mask.nbytes for item in instances) == 2000 * 25
    owners = {id(item.mask.base) for item in instances if item.mask.base is not None}
    assert all(item.mask.base is None or item.mask.base.nbytes < 100 for item in instances), owners


def test_a_split_that_is_lost_to_faults_is_an_error(tmp_path, capsys):
    files = {'classes.txt': 'dent', 'train/1.png': png(), 'train/1.txt': '0 .5 .5 .2 .2'}
    files |= {'val/2.png': b'no image', 'val/2.txt': '0 .5 .5 .2 .2'}
    source = write(tmp_path / 'set', files)
    options = ['--skip-bad', '--split']
    assert main(arguments(source, tmp_path / 'out', *options, 'official')) == 2
    assert 'no image for val is left: set/val/2.png: corrupt' in capsys.readouterr().err
    assert main(arguments(source, tmp_path / 'out', *options, 'random')) == 0
