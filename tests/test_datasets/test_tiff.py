import io
import struct

import numpy as np
import pytest
from PIL import Image

from mkbackbones.datasets import DatasetError
from mkbackbones.datasets.images import load_image, load_mask
from mkbackbones.datasets.tiff import read_planes, tiff_tags

PIXELS = np.random.default_rng(0).integers(0, 65536, (6, 5, 3)).astype(np.uint16)


def planar_tiff(pixels, order='<', rows=6):
    """16-bit RGB, one plane after the other, in strips of some rows."""
    height, width, _ = pixels.shape
    strips = [
        pixels[top : top + rows, :, channel].astype(f'{order}u2').tobytes()
        for channel in range(3)
        for top in range(0, height, rows)
    ]
    offsets = np.cumsum([8, *map(len, strips)])[:-1]
    data = b''.join(strips)
    arrays = [(258, 'H', [16] * 3), (273, 'L', offsets), (279, 'L', list(map(len, strips)))]
    entries = {256: width, 257: height, 259: 1, 262: 2, 277: 3, 278: rows, 284: 2}
    behind = 8 + len(data)
    fields = [(tag, 'H', 1, struct.pack(f'{order}HH', value, 0)) for tag, value in entries.items()]
    for tag, kind, values in arrays:
        packed = struct.pack(f'{order}{len(values)}{kind}', *map(int, values))
        fields.append((tag, kind, len(values), struct.pack(f'{order}L', behind)))
        data, behind = data + packed, behind + len(packed)
    head = (b'II' if order == '<' else b'MM') + struct.pack(f'{order}HL', 42, behind)
    directory = struct.pack(f'{order}H', len(fields))
    for tag, kind, count, value in sorted(fields):
        directory += struct.pack(f'{order}HHL', tag, dict(H=3, L=4)[kind], count) + value
    return head + data + directory + bytes(4)


@pytest.mark.parametrize('order', '<>')
@pytest.mark.parametrize('rows', [6, 2])
def test_planes_of_16_bits(order, rows):
    content = planar_tiff(PIXELS, order, rows)
    assert np.array_equal(read_planes(content), PIXELS)
    loaded = load_image(content, 'a.tif')
    assert np.array_equal(loaded.pixels, PIXELS >> 8)
    assert loaded.fixes == ['colour image of 16 bits reduced to 8: a.tif']


def test_other_files_have_no_planes():
    stream = io.BytesIO()
    Image.fromarray(PIXELS[:, :, 0]).save(stream, 'TIFF')
    assert read_planes(stream.getvalue()) is None and tiff_tags(stream.getvalue())[256] == 5
    for content in (b'', b'II*\0', b'II*\0' + bytes(9), b'no TIFF'):
        assert read_planes(content) is None


def pages(form='TIFF'):
    first, second = (Image.fromarray(np.full((4, 5), value, np.uint8)) for value in (1, 2))
    stream = io.BytesIO()
    first.save(stream, form, save_all=True, append_images=[second])
    return stream.getvalue()


@pytest.mark.parametrize('form', ['TIFF', 'PNG'])
def test_several_pages_are_told(form):
    loaded = load_image(pages(form), 'a')
    assert (loaded.pixels == 1).all()
    assert loaded.fixes[0] == 'first page of 2 taken: a'
    with pytest.raises(DatasetError, match='a: a mask of 2 pages'):
        load_mask(pages(form), 'a')


def test_zero_is_white():
    stream = io.BytesIO()
    Image.fromarray(PIXELS[:, :, 0]).save(stream, 'TIFF', tiffinfo={262: 0})
    if tiff_tags(stream.getvalue())[262] != 0:
        pytest.skip('this Pillow writes black as zero whatever it is told')
    with pytest.raises(DatasetError, match='0 is white'):
        load_image(stream.getvalue(), 'a')
