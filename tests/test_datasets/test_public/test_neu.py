import json

import numpy as np
import pytest

from mkbackbones.datasets import DatasetError, NeuDet, NeuSeg, iter_records, write_dataset
from mkbackbones.datasets.splits import neu_det_split

from ..fakes import encode, neu_det_files, neu_seg_files, voc, write_tree, write_zip

FIRST, LAST = 'NEU-DET/{}/crazing_1.{}', 'NEU-DET/{}/scratches_300.{}'


def assert_fake_neu_det(converter):
    records = list(iter_records(converter))
    split, _ = neu_det_split()
    assert {record.file_name: record.split for record in records} == {
        f'{stem}.jpg': side for stem, side in split.items()
    }
    assert len(records) == len(converter) == 1800
    for record in records:
        (instance,) = record.instances
        assert instance.bbox == (0, 0, 10, 20)
        assert record.file_name.startswith(converter.classes[instance.label])


def test_original_layout_zip(neu_det_zip):
    assert_fake_neu_det(NeuDet(neu_det_zip))


def test_layout_of_the_common_copy_as_a_folder(tmp_path):
    files = neu_det_files('copy')
    files['NEU-DET/train/Thumbs.db'] = files['__MACOSX/NEU-DET/._x.jpg'] = b''
    # One annotation of that copy lies in the other folder than its image.
    files['NEU-DET/train/annotations/crazing_1.xml'] = files.pop(
        'NEU-DET/validation/annotations/crazing_1.xml'
    )
    write_tree(tmp_path, files)
    assert_fake_neu_det(NeuDet(tmp_path))
    assert_fake_neu_det(NeuDet(tmp_path / 'NEU-DET'))


def test_the_xml_decides_on_the_class(tmp_path):
    files = neu_det_files() | {FIRST.format('ANNOTATIONS', 'xml'): voc('patches')}
    record = NeuDet(write_zip(tmp_path / 'a.zip', files)).read(0)
    assert record.file_name == 'crazing_1.jpg'
    assert NeuDet.classes[record.instances[0].label] == 'patches'


def test_images_are_copied_bit_by_bit(neu_det_zip, tmp_path):
    summary = write_dataset(NeuDet(neu_det_zip), tmp_path / 'out')
    image = neu_det_files()[FIRST.format('IMAGES', 'jpg')]
    files = list((tmp_path / 'out/images').iterdir())
    assert len(files) == 1800 and all(file.read_bytes() == image for file in files)
    content = json.loads((tmp_path / 'out/annotations/test.json').read_text())
    assert len(content['images']) == summary.images['test'] == 360
    assert content['categories'][0] == dict(id=1, name='crazing')
    assert content['annotations'][0]['bbox'] == [0, 0, 10, 20]
    assert content['annotations'][0]['area'] == 200
    assert not (tmp_path / 'out/masks').exists()


truncated = encode(np.zeros((32, 32), np.uint8), 'JPEG')[:-60]


@pytest.mark.parametrize(
    'name, content, message',
    [
        (LAST.format('ANNOTATIONS', 'xml'), voc('rust'), "unknown class 'rust'"),
        (LAST.format('ANNOTATIONS', 'xml'), voc(side=64), 'says 64x64 pixels, but .* has 32x32'),
        (LAST.format('IMAGES', 'jpg'), truncated, 'corrupt image file .*(?i:truncated)'),
        (LAST.format('IMAGES', 'jpg'), b'', 'corrupt image file .not an image'),
    ],
)
def test_a_bad_file_is_named_and_leaves_nothing(tmp_path, name, content, message):
    source = write_zip(tmp_path / 'a.zip', neu_det_files() | {name: content})
    with pytest.raises(DatasetError, match=message) as error:
        write_dataset(NeuDet(source), tmp_path / 'out')
    assert 'scratches_300' in str(error.value)
    assert list(tmp_path.iterdir()) == [source]


def test_a_damaged_zip_is_named(tmp_path, neu_det_zip):
    content = bytearray(neu_det_zip.read_bytes())
    middle = content.find(b'<annotation>')
    content[middle + 5] ^= 1
    (tmp_path / 'a.zip').write_bytes(content)
    with pytest.raises(DatasetError, match=r'crazing_1.xml cannot be read: Bad CRC-32'):
        list(iter_records(NeuDet(tmp_path / 'a.zip')))


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda files: files.pop(FIRST.format('IMAGES', 'jpg')), '1 of 1800 image .*crazing_1.jpg'),
        (
            lambda files: files.pop(LAST.format('ANNOTATIONS', 'xml')),
            '1 of 1800 annotation .*scratches_300.xml',
        ),
        (
            lambda files: files.update({'NEU-DET/IMAGES/crazing_1_flip.jpg': b''}),
            'crazing_1_flip.jpg is not part of NEU-DET',
        ),
        (
            lambda files: files.update({'copy/IMAGES/crazing_1.jpg': b''}),
            'has crazing_1 twice: NEU-DET/IMAGES/crazing_1.jpg and copy/IMAGES/crazing_1.jpg',
        ),
        (lambda files: files.clear(), 'does not look like NEU-DET: expected IMAGES'),
    ],
)
def test_a_wrong_set_of_files_is_told_at_once(tmp_path, change, message):
    files = neu_det_files()
    change(files)
    with pytest.raises(DatasetError, match=message):
        NeuDet(write_zip(tmp_path / 'a.zip', files))


def test_segmentation(neu_seg_zip, neu_det_zip, tmp_path):
    summary = write_dataset(NeuSeg(neu_seg_zip, neu_det_zip), tmp_path / 'out')
    assert summary.images == dict(train=629, val=90, test=180)
    # Two squares that touch at a corner are one instance; the single pixel is left out.
    assert summary.count('test') == 360
    assert summary.fix_counts() == {'component below 9 pixels left out of the instances': 899}
    for kind, suffix in (('images', 'jpg'), ('masks', 'png')):
        for split, count in summary.images.items():
            assert len(list((tmp_path / 'out' / kind / split).glob(f'*.{suffix}'))) == count
    assert (tmp_path / 'out/images/test/inclusion_1.jpg').exists()


@pytest.mark.parametrize(
    'mask, message',
    [
        (np.full((32, 32), 4, np.uint8), 'class index 4, allowed are 0 .background. to 3'),
        (np.zeros((32, 16), np.uint8), 'says 16x32 pixels, but .*inclusion_1.jpg has 32x32'),
        (np.full((32, 32, 3), [0, 0, 9], np.uint8), 'not an index PNG'),
    ],
)
def test_a_bad_mask_is_named(neu_det_zip, tmp_path, mask, message):
    files = neu_seg_files()
    files['NEU_Seg/annotations/test/000001.png'] = encode(mask, 'PNG')
    converter = NeuSeg(write_zip(tmp_path / 'a.zip', files), neu_det_zip)
    with pytest.raises(DatasetError, match=rf'test/000001.png: {message}'):
        list(iter_records(converter))


def test_segmentation_sources(neu_seg_zip, neu_det_zip, tmp_path):
    files = neu_seg_files()
    del files['NEU_Seg/annotations/test/000001.png']
    with pytest.raises(DatasetError, match=r'1 of 899 mask files are missing: .*test/000001.png'):
        NeuSeg(write_zip(tmp_path / 'a.zip', files), neu_det_zip)
    with pytest.raises(DatasetError, match='does not look like NEU-Seg'):
        NeuSeg(neu_det_zip, neu_det_zip)
    with pytest.raises(DatasetError, match='does not look like NEU-DET'):
        NeuSeg(neu_seg_zip, neu_seg_zip)
