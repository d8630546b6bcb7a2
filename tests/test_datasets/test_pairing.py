import pytest

from mkbackbones.datasets import DatasetError
from mkbackbones.datasets.generic.pairing import pair_files
from mkbackbones.datasets.sources import Source


@pytest.fixture
def pair(tmp_path):
    return lambda images, labels: dict(pair_files(Source(tmp_path, 'set'), images, labels)[0])


@pytest.mark.parametrize(
    'image, label',
    [
        ('images/7.png', 'labels/7.txt'),
        ('train/images/7.png', 'train/labels/7.txt'),
        ('train_images/7.png', 'train_labels/7.txt'),
        ('images-train/7.png', 'labels_train/7.txt'),
        ('JPEGImages/7.png', 'Annotations/7.xml'),
        ('train/images/crazing/7.png', 'train/annotations/7.xml'),
        ('train/7.png', 'train/more/7.txt'),
        ('pictures/7.png', 'defects/7.xml'),
        ('pictures/line1/7.png', 'defects/line1/7.xml'),
        ('7.png', 'Annotations/7.xml'),
    ],
)
def test_folders_that_belong_together(pair, image, label):
    assert pair([image], [label]) == {image: label}


@pytest.mark.parametrize(
    'images, label',
    [
        (['train/images/1.png', 'val/images/5.png'], 'train/labels/5.txt'),
        (['line2/images/7.png'], 'line1/labels/7.txt'),
        (['line1/1.png', 'line2/7.png'], 'line1/7.txt'),
        (['test_images/7.png'], 'train_labels/7.txt'),
        (['train/7.png'], 'val/7.xml'),
    ],
)
def test_an_annotation_never_goes_to_another_image(pair, images, label):
    with pytest.raises(DatasetError, match=f'no image for 1 of 1 annotation files: {label}'):
        pair(images, [label])


def test_pictures_that_are_not_read_and_folders_without_labels(tmp_path):
    for name in ('a.png', 'a.txt', 'b.jp2', 'b.txt', 'test/c.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    source = Source(tmp_path, 'set')
    with pytest.raises(DatasetError, match=r'b.jp2 is of a format that is not read'):
        pair_files(source, ['a.png', 'test/c.png'], ['a.txt', 'b.txt'])
    _, notes = pair_files(source, ['a.png', 'test/c.png'], ['a.txt'], unannotated='negative')
    assert '1 of 2 images have no annotation file' in notes[0]
    assert '(none of those in test has one)' in notes[0]
