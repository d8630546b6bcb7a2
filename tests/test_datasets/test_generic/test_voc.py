import pytest

from mkbackbones.datasets import DatasetError
from mkbackbones.datasets.generic.voc import Voc

from ..fakes import voc
from .common import boxes, by_name, png, write

SIZE = '<size><width>30</width><height>20</height></size>'


def xml(name='dent', box=(1, 1, 10, 10)):
    return voc(name, box, side=0)


def test_folders_spaces_accents_and_suffixes(tmp_path):
    write(
        tmp_path,
        {
            'Línea 1/images/Foto ä.PNG': png(),
            'Línea 1/annotations/Foto ä.xml': xml('Kratzer'),
            'JPEGImages/b.png': png(1),
            'Annotations/b.XML': xml('dent'),
            'JPEGImages/c.png': png(2),
            'Annotations/c.xml': f'<annotation>{SIZE}</annotation>',
        },
    )
    converter = Voc(tmp_path)
    assert converter.classes == ('Kratzer', 'dent')
    records = by_name(converter)
    assert set(records) == {'Foto ä.png', 'b.png', 'c.png'}
    assert boxes(records['Foto ä.png']) == [(0, (0, 0, 10, 10))]
    assert boxes(records['c.png']) == []
    assert all(record.split is None and record.seg_map is None for record in records.values())
    assert Voc(tmp_path, classes=['dent', 'Kratzer']).classes == ('dent', 'Kratzer')


def test_image_sets_are_the_official_split(tmp_path):
    files = {f'JPEGImages/my {n}.png': png(n) for n in range(4)}
    files |= {f'Annotations/my {n}.xml': xml() for n in range(4)}
    files['ImageSets/Main/trainval.txt'] = 'my 0\nmy 1\nmy 2\n'
    files['ImageSets/Main/val.txt'] = 'my 1 \n\n'
    files['ImageSets/Main/test.txt'] = 'my 3.png\n'
    splits = [record.split for record in by_name(Voc(write(tmp_path, files))).values()]
    assert splits == ['train', 'val', 'train', 'test']


def test_images_without_a_file(tmp_path):
    write(tmp_path, {'a.png': png(), 'a.xml': xml(), 'b.png': png(1), 'c.png': png(2)})
    with pytest.raises(DatasetError, match=r'no annotation for 2 of 3 images: b.png, c.png; .*neg'):
        Voc(tmp_path)
    assert len(Voc(tmp_path, unannotated='negative')) == 3
    skipping = Voc(tmp_path, unannotated='skip')
    assert len(skipping) == 1 and skipping.notes == ['2 images without an annotation left out']


def test_files_without_an_image(tmp_path):
    write(tmp_path, {'a.png': png(), **{f'{name}.xml': xml() for name in 'abcdefgh'}})
    with pytest.raises(DatasetError, match=r'7 of 8 .*: b.xml, c.xml, d.xml, e.xml, f.xml and 2'):
        Voc(tmp_path)
    assert (
        Voc(tmp_path, skip_bad=True).notes[0] == 'left out, since there is no image for it: b.xml'
    )


def test_names_that_collide(tmp_path):
    write(
        tmp_path,
        {
            f'{place}/1.{end}': png() if end == 'png' else xml()
            for place in 'ab'
            for end in ('png', 'xml')
        },
    )
    assert set(by_name(Voc(tmp_path))) == {'a__1.png', 'b__1.png'}
    write(tmp_path, {'a/1.bmp': b''})
    with pytest.raises(DatasetError, match=r'a/1.xml may belong to a/1.bmp, a/1.png'):
        Voc(tmp_path)


def test_faults(tmp_path):
    write(
        tmp_path,
        {'a.png': png(), 'a.xml': b'<annotation>\n<object>', 'b.png': png(), 'b.xml': xml()},
    )
    with pytest.raises(DatasetError, match=r'a.xml: malformed XML .*line 2'):
        Voc(tmp_path)
    converter = Voc(tmp_path, skip_bad=True)
    with pytest.raises(DatasetError, match=r'a.xml: malformed XML'):
        converter.read(0)
    assert boxes(converter.read(1)) == [(0, (0, 0, 10, 10))]
    with pytest.raises(DatasetError, match=r"b.xml, line 2, object 1: unknown class 'dent'"):
        Voc(tmp_path, classes=['rust'], skip_bad=True).read(1)
    for files, message in (({}, 'no VOC file'), ({'a.xml': xml()}, 'holds no image')):
        folder = tmp_path / message
        folder.mkdir()
        with pytest.raises(DatasetError, match=message):
            Voc(write(folder, files))


@pytest.mark.parametrize(
    'content, message',
    [
        ('<html><body>404</body></html>', r'a.xml: not a VOC file: its root is <html>'),
        ('<annotations><image name="a.png"/></annotations>', 'this looks like CVAT for images'),
        ('<annotation><Object/></annotation>', '<Object> is not what VOC calls an object'),
        ('<annotation><object><name>a</name></object></annotation>', 'object 1: no <bndbox>'),
        (xml('').decode(), 'object 1: no <name>'),
        (xml().decode().replace('</bndbox>', '</bndbox><bndbox/>'), '2 boxes'),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', 'declares entities'),
    ],
)
def test_files_that_are_not_voc(tmp_path, content, message):
    write(tmp_path, {'a.png': png(), 'a.xml': content})
    with pytest.raises(DatasetError, match=message):
        Voc(tmp_path, unannotated='negative')


def test_masks_of_a_devkit_are_no_images(tmp_path):
    files = {'JPEGImages/1.png': png(), 'Annotations/1.xml': xml(), 'masks/2.png': png(2)}
    files |= {f'Segmentation{kind}/1.png': png(1) for kind in ('Class', 'Object')}
    files['Annotations/2.xml'] = xml()
    converter = Voc(write(tmp_path, files))
    # What has no other image is one.
    assert sorted(by_name(converter)) == ['1.png', '2.png']
    assert converter.notes == [
        '2 masks are no images and were passed over: SegmentationClass, SegmentationObject'
    ]


@pytest.mark.parametrize('encoding', ['gb2312', 'windows-1252', 'utf-16', 'utf-8', 'iso-8859-1'])
def test_names_in_the_declared_encoding(tmp_path, encoding):
    name = '划痕' if encoding in ('gb2312', 'utf-8', 'utf-16') else 'Drückstelle'
    content = f'<?xml version="1.0" encoding="{encoding}"?>{xml(name).decode()}'
    write(tmp_path, {'a.png': png(), 'a.xml': content.encode(encoding)})
    assert Voc(tmp_path).classes == (name,)


@pytest.mark.parametrize(
    'content, fault',
    [
        ('<item><name>dent</name>{box}</item>', '<bndbox> in <item>'),
        ('<defects><defect><name>dent</name>{box}</defect></defects>', '<bndbox> in <defects>'),
        ('<name>dent</name>{box}', '<bndbox> belongs'),
        ('<a><xmin>1</xmin></a>', '<xmin> in <a>'),
        ('<a xmin="1"/>', '<xmin> in <a>'),
        ('<a><polygon/></a>', '<polygon> in <a>'),
    ],
)
def test_boxes_outside_of_objects_make_no_negative(tmp_path, content, fault):
    box = '<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>'
    odd = f'<annotation>{content.format(box=box)}</annotation>'
    write(tmp_path, {'a.png': png(), 'a.xml': xml(), 'b.png': png(1), 'b.xml': odd})
    with pytest.raises(DatasetError, match=f'b.xml: {fault}'):
        Voc(tmp_path)


def test_parts_of_objects_are_no_objects(tmp_path):
    part = b'<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>'
    write(tmp_path, {'a.png': png(), 'a.xml': xml().replace(b'</object>', part)})
    assert boxes(Voc(tmp_path).read(0)) == [(0, (0, 0, 10, 10))]
