import io

import cv2
import numpy as np
import pytest
from PIL import Image

from mkbackbones.datasets import DatasetError
from mkbackbones.datasets.generic.mask_folder import MaskFolder, parse_value

from .common import boxes, by_name, png, write


def mask(value=1, colour=None):
    pixels = np.zeros((20, 30), np.uint8)
    pixels[2:6, 3:9] = value
    if colour is None:
        return pixels
    rgb = np.zeros((20, 30, 3), np.uint8)
    rgb[2:6, 3:9] = colour
    return rgb[:, :, ::-1]


def test_masks_in_a_folder(tmp_path):
    write(
        tmp_path,
        {
            'train/images/a.PNG': png(),
            'train/masks/a.png': mask(2),
            'test/images/a.png': png(1),
            'test/masks/a.png': mask(0),
        },
    )
    converter = MaskFolder(tmp_path, ['1=dent', '2=crack', '3=dent'])
    assert converter.classes == ('dent', 'crack')
    records = by_name(converter)
    first, second = records['train__a.png'], records['test__a.png']
    assert boxes(first) == [(1, (3, 2, 6, 4))] and (first.seg_map == 2).sum() == 24
    assert boxes(second) == [] and not second.seg_map.any()
    assert (first.split, second.split) == ('train', 'test')


def test_masks_beside_the_images(tmp_path):
    blurred = mask(255)
    blurred[1, 3:9] = 60
    write(
        tmp_path,
        {
            'a.png': png(),
            'a_mask.jpg': cv2.imencode('.jpg', blurred)[1].tobytes(),
            'good.png': png(1),
        },
    )
    records = by_name(
        MaskFolder(tmp_path, ['dent'], suffix='_mask', threshold=127, unannotated='negative')
    )
    assert boxes(records['a.png']) == [(0, (3, 2, 6, 4))]
    assert not records['good.png'].seg_map.any()


def test_colours_and_ignored_pixels(tmp_path):
    write(tmp_path, {'images/a.png': png(), 'masks/a.png': mask(colour=(255, 0, 16))})
    record = MaskFolder(tmp_path, ['#ff0010=dent']).read(0)
    assert boxes(record) == [(0, (3, 2, 6, 4))]
    unsure = mask(1)
    unsure[10:] = 255
    write(tmp_path, {'masks/a.png': unsure})
    record = MaskFolder(tmp_path, ['1=dent'], ignore=255).read(0)
    assert boxes(record) == [(0, (3, 2, 6, 4))] and (record.seg_map[10:] == 255).all()


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(classes=['2=dent']), r'a.png: value 1 at x 3, y 2 is no class; known are 2 and 0'),
        (dict(classes=['dent']), "class 'dent': write VALUE=NAME"),
        (dict(classes=['1=a', '1=b']), 'mask value 1 is given twice'),
        (dict(classes=['1=a'], ignore=1), 'mask value 1 is given twice'),
        (dict(classes=['0=a']), 'mask value 0 is the background'),
        (dict(classes=['1=a'], threshold=3), '--threshold goes with a single class name'),
        (dict(classes=['a'], threshold=-1), 'threshold -1: every pixel is above it'),
        (dict(classes=['1=a'], masks='gt'), "no mask in a folder 'gt'"),
        (dict(classes=['1=a'], suffix='_GT'), "no mask whose stem ends with '_GT'"),
    ],
)
def test_faults(tmp_path, kwargs, message):
    write(tmp_path, {'images/a.png': png(), 'masks/a.png': mask()})
    with pytest.raises(DatasetError, match=message):
        MaskFolder(tmp_path, **kwargs).read(0)


def test_another_size(tmp_path):
    write(tmp_path, {'images/a.png': png(), 'masks/a.png': mask()[:, :-1]})
    with pytest.raises(DatasetError, match=r'masks/a.png: says 29x20 .* images/a.png|has 30x20'):
        MaskFolder(tmp_path, ['1=dent']).read(0)


def test_masks_in_folders_of_another_name(tmp_path):
    files = {'train/images/a.png': png(), 'train/masks/a.png': mask(1)}
    files |= {'valid/images/b.png': png(1), 'valid/Masks/b.png': mask(1)}
    assert len(MaskFolder(write(tmp_path, files), ['1=dent'])) == 2
    write(tmp_path, {'test/images/c.png': png(2), 'test/mask/c.png': mask(1)})
    with pytest.raises(DatasetError, match=r'test/mask/c.png seems to be a mask'):
        MaskFolder(tmp_path, ['1=dent'], unannotated='negative')


@pytest.mark.parametrize('classes', [['#ff0000=dent'], ['1=dent']])
def test_palettes_by_colour_and_by_number(tmp_path, classes):
    image = Image.fromarray(mask(1), 'P')
    image.putpalette([0, 0, 0, 255, 0, 0, *[0] * 762])
    stream = io.BytesIO()
    image.save(stream, 'PNG')
    write(tmp_path, {'images/a.png': png(), 'masks/a.png': stream.getvalue()})
    assert boxes(MaskFolder(tmp_path, classes).read(0)) == [(0, (3, 2, 6, 4))]


def test_mask_values_of_thousands_of_digits():
    with pytest.raises(DatasetError, match='mask values go up to 65535'):
        parse_value('9' * 5000 + '=dent')
