"""Pictures are read as mmcv reads what ``prepare-dataset`` writes of them."""

import io

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from mkbackbones.predict.pictures import PictureError, decode

PIXELS = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize('more', [{}, dict(color_type='grayscale'), dict(to_float32=True)])
@pytest.mark.parametrize('grey', [False, True])
@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.bmp'])
def test_what_needs_no_change_is_read_as_it_is(tmp_path, suffix, grey, more):
    path = tmp_path / f'a{suffix}'
    cv2.imwrite(str(path), PIXELS[:, :, 0] if grey else PIXELS)
    load = LoadImageFromFile(**more)
    wanted = load(dict(img_path=str(path)))['img']
    found = decode(path, load)
    assert found.dtype == wanted.dtype and np.array_equal(found, wanted)
    assert found.flags.c_contiguous == wanted.flags.c_contiguous


def test_other_kinds_look_alike(tmp_path):
    """Deep, with alpha, as TIFF, and turned by EXIF."""
    load = LoadImageFromFile()
    for name, pixels in (
        ('deep.png', PIXELS.astype(np.uint16) << 8),
        ('alpha.png', np.dstack([PIXELS, PIXELS[:, :, :1]])),
        ('deep.tif', PIXELS.astype(np.uint16) << 8),
        ('plain.tif', PIXELS),
    ):
        cv2.imwrite(str(tmp_path / name), pixels)
        assert np.array_equal(decode(tmp_path / name, load), PIXELS), name
    image = Image.fromarray(PIXELS[:, :, ::-1])
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / 'turned.png', exif=exif)
    assert np.array_equal(decode(tmp_path / 'turned.png', load), np.rot90(PIXELS, -1))


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.tif'])
def test_half_a_file_is_told(tmp_path, suffix):
    """OpenCV alone takes half a JPEG for a picture with a grey half."""
    path = tmp_path / f'half{suffix}'
    content = cv2.imencode(suffix, np.repeat(PIXELS, 20, axis=0))[1].tobytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(PictureError, match='half'):
        decode(path, LoadImageFromFile())


def test_several_channels_are_told(tmp_path):
    path = tmp_path / 'five.tif'
    cv2.imwritemulti(str(path), [PIXELS])
    with Image.open(path) as image, io.BytesIO() as file:
        image.save(file, 'TIFF')
        content = bytearray(file.getvalue())
    place = content.index(b'\x15\x01\x03\x00\x01\x00\x00\x00\x03\x00')  # SamplesPerPixel
    content[place + 8] = 5
    path.write_bytes(content)
    with pytest.raises(PictureError, match=r'five.tif has 5 channels'):
        decode(path, LoadImageFromFile())
