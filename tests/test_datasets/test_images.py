import io
import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mkbackbones.datasets import DatasetError
from mkbackbones.datasets.images import encode_png, is_image, load_image, load_mask

GREY = np.arange(6 * 8, dtype=np.uint8).reshape(6, 8) * 5
RGB = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=2)


def encode(image, form='PNG', **kwargs):
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        stream, form, **kwargs
    )
    return stream.getvalue()


def decode(content):
    """As mmcv does by default, but in RGB."""
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]


def deep_png(pixels):
    return cv2.imencode('.png', pixels)[1].tobytes()


def turned(orientation, form='JPEG'):
    """An image whose stored pixels are RGB and which viewers turn."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(RGB, form, exif=exif.tobytes())


@pytest.mark.parametrize(
    'content, suffix',
    [
        (encode(GREY), '.png'),
        (encode(RGB), '.png'),
        (encode(RGB, 'JPEG'), '.jpg'),
        (encode(GREY, 'BMP'), '.bmp'),
        (turned(1), '.jpg'),
    ],
)
def test_what_mmcv_reads_alike_is_copied(content, suffix):
    image = load_image(content, 'a')
    assert (image.content, image.suffix, image.fixes) == (content, suffix, [])
    assert (image.width, image.height) == (8, 6)


@pytest.mark.parametrize(
    'content, pixels, fix',
    [
        (encode(Image.fromarray(RGB).convert('RGBA')), RGB, 'alpha image written as RGB'),
        (encode(Image.fromarray(GREY).convert('LA')), GREY, 'alpha image written as grey'),
        (encode(Image.fromarray(RGB).quantize(256)), RGB, 'palette image written as RGB'),
        (encode(GREY > 99), np.uint8(255) * (GREY > 99), 'bilevel image written as grey'),
        (encode(RGB, 'TIFF'), RGB, 'image format written as PNG'),
        (encode(GREY, 'WEBP', lossless=True), np.stack([GREY] * 3, 2), 'image format'),
        (deep_png(GREY.astype(np.uint16) << 8 | 77), GREY, 'grey image of 16 bits reduced'),
        (deep_png(RGB[:, :, ::-1].astype(np.uint16) << 8 | 7), RGB, 'colour image of 16 bits'),
        (encode(Image.fromarray(GREY.astype(np.uint16) << 8), 'TIFF'), GREY, 'grey image of 16'),
        (cv2.imencode('.tiff', RGB[:, :, ::-1].astype(np.uint16) << 8)[1].tobytes(), RGB, 'colour'),
    ],
)
def test_others_become_png_without_loss(content, pixels, fix):
    image = load_image(content, 'a/b.tif')
    assert image.suffix == '.png'
    (text,) = image.fixes
    assert text.startswith(fix) and text.endswith(': a/b.tif')
    assert np.array_equal(image.pixels, pixels)
    expected = pixels if pixels.ndim == 3 else np.stack([pixels] * 3, axis=2)
    assert np.array_equal(decode(image.content), expected)


def test_cmyk_is_written_as_rgb():
    image = load_image(encode(Image.fromarray(RGB).convert('CMYK'), 'JPEG'), 'a')
    assert image.fixes == ['CMYK image written as RGB: a'] and image.pixels.shape == (6, 8, 3)


@pytest.mark.parametrize('suffix', ['.png', '.tiff'])
@pytest.mark.parametrize('pixels', [GREY, RGB])
def test_twelve_bits_in_sixteen(pixels, suffix):
    deep = pixels.astype(np.uint16) << 4 | 9
    stored = deep if deep.ndim == 2 else deep[:, :, ::-1]
    content = cv2.imencode(suffix, stored)[1].tobytes()
    image = load_image(content, 'a', bits=12)
    assert np.array_equal(image.pixels, pixels)
    with pytest.raises(DatasetError, match='a: value 3769 does not fit in 11 bits'):
        load_image(content, 'a', bits=11)


@pytest.mark.parametrize('orientation', range(2, 9))
def test_images_are_written_upright(orientation):
    content = turned(orientation, 'PNG')
    image = load_image(content, 'a')
    assert image.fixes == ['image turned upright by its EXIF entry: a']
    # OpenCV reads the original as turned by EXIF, and the output as it is.
    assert np.array_equal(decode(image.content), decode(content))
    assert (image.width, image.height) == ((6, 8) if orientation >= 5 else (8, 6))


def test_the_stated_size_decides_on_the_orientation():
    content = turned(6, 'PNG')
    upright, stored = (load_image(content, 'a', size=size) for size in ((6, 8), (8, 6)))
    assert np.array_equal(upright.pixels, np.rot90(RGB, -1))
    assert np.array_equal(stored.pixels, RGB) and 'orientation dropped' in stored.fixes[0]
    assert np.array_equal(decode(stored.content), RGB)
    with pytest.raises(DatasetError, match=r'a.json: says 7x6 pixels, but a.jpg has 6x8'):
        load_image(content, 'a.jpg', size=(7, 6), size_from='a.json')


@pytest.mark.parametrize(
    'content, message',
    [
        (b'', 'not an image'),
        (b'hello', 'not an image'),
        (encode(RGB)[:-40], 'corrupt'),
        (encode(RGB, 'JPEG')[:-80], 'corrupt image file .*(?i:truncated)'),
        (encode(RGB, 'BMP')[:-8], 'corrupt'),
        (encode(Image.fromarray(GREY.astype(np.float32)), 'TIFF'), 'floating point'),
    ],
)
@pytest.mark.parametrize('load', [load_image, load_mask])
def test_faults_are_named(content, message, load):
    with pytest.raises(DatasetError, match=f'^a.png: .*{message}'):
        load(content, 'a.png')


@given(st.integers(0, 200))
def test_any_truncation_is_noticed_or_harmless(cut):
    content = encode(RGB)
    try:
        image = load_image(content[: len(content) - cut], 'a')
    except DatasetError:
        assert cut > 0
    else:
        assert np.array_equal(image.pixels, RGB)


@pytest.mark.parametrize(
    'content, expected',
    [
        (encode(GREY), GREY),
        (encode(np.stack([GREY] * 3, axis=2)), GREY),
        (encode(RGB), RGB),
        (encode(GREY > 99), (GREY > 99).astype(np.uint8)),
        (deep_png(GREY.astype(np.uint16) * 9), GREY.astype(np.uint16) * 9),
        (encode(Image.fromarray(RGB).convert('RGBA')), RGB),
    ],
)
def test_masks_keep_their_numbers(content, expected):
    mask = load_mask(content, 'a')
    assert mask.dtype == expected.dtype and np.array_equal(mask, expected)


def test_palette_masks_are_indices():
    image = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    image.putpalette([9, 0, 0] * 256)
    assert load_mask(encode(image), 'a').tolist() == [[0, 1, 2], [3, 4, 5]]


def test_suffixes_in_any_case():
    assert all(map(is_image, ['a/b.JPG', 'b.Tiff', 'c.png'])) and not is_image('png')
    assert np.array_equal(decode(encode_png(RGB)), RGB)


def test_a_colour_mask_of_16_bits_keeps_its_values():
    mask = np.zeros((4, 5, 3), np.uint16)
    mask[1, 2] = (1, 0, 300)
    content = cv2.imencode('.png', mask[:, :, ::-1])[1].tobytes()
    assert np.array_equal(load_mask(content, 'a'), mask)


def claiming(width, height):
    """A PNG of some bytes that claims a size."""
    content = encode(GREY)
    header = struct.pack('>4sII', b'IHDR', width, height) + content[24:29]
    return content[:12] + header + struct.pack('>I', zlib.crc32(header)) + content[33:]


def test_the_limit_on_pixels(monkeypatch):
    message = 'a.png: 30000x20000 pixels are 600 megapixels, more than 512; .*MAX_MEGAPIXELS'
    for read in (load_image, load_mask):
        with pytest.raises(DatasetError, match=message):
            read(claiming(30000, 20000), 'a.png')
    content = encode(np.zeros((1000, 2000), np.uint8))
    monkeypatch.setenv('MKBACKBONES_MAX_MEGAPIXELS', '1.5')
    with pytest.raises(DatasetError, match=r'more than 1\.5'):
        load_image(content, 'a.png')
    monkeypatch.setenv('MKBACKBONES_MAX_MEGAPIXELS', '2')
    assert load_image(content, 'a.png').width == 2000
    monkeypatch.setenv('MKBACKBONES_MAX_MEGAPIXELS', 'many')
    with pytest.raises(DatasetError, match='not a number'):
        load_image(content, 'a.png')


def test_more_pixels_than_pillow_takes_by_itself(monkeypatch):
    content = encode(np.zeros((100, 200), np.uint8))
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 5000)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(content))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert load_image(content, 'a.png').width == 200
    assert Image.MAX_IMAGE_PIXELS == 5000


@pytest.mark.parametrize('form', ['TIFF', 'PNG'])
@pytest.mark.parametrize('deep', [False, True])
@pytest.mark.parametrize('turn', range(1, 9))
def test_orientation_counts_alike_in_all_formats(form, deep, turn):
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    stored = pixels.astype(np.uint16) << 8 if deep else pixels
    exif = Image.Exif()
    exif[0x0112] = turn
    stream = io.BytesIO()
    Image.fromarray(stored).save(stream, form, exif=exif)
    content = stream.getvalue()

    expected = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.T,
        6: pixels[::-1].T,
        7: pixels[::-1, ::-1].T,
        8: pixels[:, ::-1].T,
    }[turn]
    image = load_image(content, 'a')
    assert np.array_equal(image.pixels, expected)
    if turn > 1:
        assert image.fixes[0].startswith('image turned upright by its EXIF entry')
    if turn > 4:
        kept = load_image(content, 'a', size=(4, 3))
        assert np.array_equal(kept.pixels, pixels)
        assert kept.fixes[0].startswith('EXIF orientation dropped')
        with pytest.raises(DatasetError, match='says 5x3 pixels'):
            load_image(content, 'a', size=(5, 3))
    assert np.array_equal(load_mask(content, 'a'), stored)


@pytest.mark.parametrize('mode', ['RGBA', 'LA'])
def test_masks_in_the_alpha_channel_alone(mode):
    image = Image.new(mode, (4, 3))
    assert not load_mask(encode(image), 'a').any()
    image.putalpha(Image.fromarray(np.eye(3, 4, dtype=np.uint8) * 255))
    with pytest.raises(DatasetError, match='alpha channel alone'):
        load_mask(encode(image), 'a')
