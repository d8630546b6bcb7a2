import json

import numpy as np
import pytest
from PIL import Image

from mkbackbones.commands.browse_dataset import main
from mkbackbones.datasets import SyntheticDefects, write_dataset
from mkbackbones.datasets.contact_sheet import Tile, contact_sheet


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    write_dataset(SyntheticDefects(dict(train=12, val=2, test=2), size=64), root / 'synthetic')
    return root


def sheet(path):
    return np.asarray(Image.open(path).convert('RGB')).astype(int)


def has_colour(pixels, colour):
    return bool((np.abs(pixels - colour).sum(axis=2) < 12).any())


def test_a_prepared_set(data, tmp_path, capsys):
    out = tmp_path / 'sheet.png'
    arguments = [str(data / 'synthetic'), '--num', '6', '--out', str(out)]
    assert main(arguments) == 0
    assert 'synthetic, train: 6 of 12 images' in capsys.readouterr().out
    first = sheet(out)
    assert main(arguments) == 0 and (sheet(out) == first).all()
    assert main([*arguments, '--seed', '1']) == 0
    assert sheet(out).shape != first.shape or (sheet(out) != first).any()


def test_only_the_wanted_classes(data, tmp_path):
    out = tmp_path / 'sheet.png'
    assert main([str(data / 'synthetic'), '--classes', 'scratch', '--out', str(out)]) == 0
    assert has_colour(sheet(out), (230, 60, 50))


def test_a_config_through_its_pipeline(data, tmp_path, monkeypatch, capsys):
    pytest.importorskip('mmdet')
    monkeypatch.setenv('MKBACKBONES_DATA', str(data))
    out = tmp_path / 'sheet.png'
    config = 'demo/faster-rcnn_swin-nano-stock'
    assert main(['--config', config, '--num', '4', '--out', str(out)]) == 0
    assert 'train: 4 of 12 images' in capsys.readouterr().out
    assert main(['--config', 'upernet_swin-nano-stock', '--num', '4', '--out', str(out)]) == 0


def test_colours_and_defect_free_images():
    grey = np.full((40, 40, 3), 128, np.uint8)
    seg_map = np.zeros((40, 40), np.uint8)
    seg_map[5:30, 5:30] = 1
    none = np.zeros((0, 4)), np.zeros(0, int)
    box = np.array([[4.0, 4, 30, 30]]), np.array([1])
    classes, palette = ('background', 'dent'), [(0, 0, 0), (250, 0, 200)]

    def draw(*tiles):
        figure = contact_sheet(tiles, classes, palette, 'title')
        figure.canvas.draw()
        titles = [axis.get_title() for axis in figure.axes]
        patches = [patch.get_edgecolor()[:3] for axis in figure.axes for patch in axis.patches]
        return titles, patches, [text.get_text() for text in figure.legends[0].get_texts()]

    titles, edges, legend = draw(Tile(grey, 'good', *none), Tile(grey, 'bad', *box))
    assert titles == ['good\nno defect', 'bad'] and legend == ['dent']
    assert edges[-1] == pytest.approx((250 / 255, 0, 200 / 255))
    titles, _, legend = draw(Tile(grey, 'map', *none, seg_map=seg_map))
    assert titles[0] == 'map' and legend == ['dent']


def test_boxes_and_unknown_pixels_are_no_good_surface():
    """An image whose objects are boxes has a class map without their classes."""
    grey = np.full((40, 40, 3), 128, np.uint8)
    none = np.zeros((0, 4)), np.zeros(0, int)
    box = np.array([[4.0, 4, 30, 30]]), np.array([1])
    ignored = np.zeros((40, 40), np.uint8)
    ignored[4:30, 4:30] = 255
    figure = contact_sheet(
        [
            Tile(grey, 'box', *box, seg_map=ignored),
            Tile(grey, 'unknown', *none, seg_map=ignored),
            Tile(grey, 'good', *none, seg_map=np.zeros((40, 40), np.uint8)),
        ],
        ('background', 'dent'),
        [(0, 0, 0), (250, 0, 200)],
        'title',
    )
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ['box', 'unknown', 'good\nno defect']


@pytest.mark.parametrize('name', ['background', '_background_', 'good'])
def test_the_background_leaves_the_picture_as_it_is(name, tmp_path):
    grey = np.full((40, 40, 3), 128, np.uint8)
    seg_map = np.zeros((40, 40), np.uint8)
    seg_map[:4, :4] = 1
    none = np.zeros((0, 4)), np.zeros(0, int)
    palette = [(0, 0, 0), (250, 0, 200)]
    tile = Tile(grey, 'map', *none, seg_map=seg_map)
    contact_sheet([tile], (name, 'dent'), palette, 'title').savefig(tmp_path / 'sheet.png')
    pixels = sheet(tmp_path / 'sheet.png')
    grey, dark = (np.abs(pixels - level).sum(axis=2) < 12 for level in (128, 64))
    assert grey.sum() > 1000 > 10 * dark.sum()  # letters have dark pixels too


def test_boxes_without_masks_among_masks(tmp_path):
    (tmp_path / 'set/annotations').mkdir(parents=True)
    (tmp_path / 'set/images').mkdir()
    Image.fromarray(np.full((40, 40, 3), 128, np.uint8)).save(tmp_path / 'set/images/a.png')
    box = dict(image_id=1, category_id=1, bbox=[4, 4, 9, 9], segmentation=[[4, 4, 4, 4, 4]])
    mask = dict(box, segmentation=[[20, 20, 30, 20, 30, 30]], bbox=[20, 20, 10, 10])
    content = dict(
        images=[dict(id=1, file_name='a.png', width=40, height=40)],
        annotations=[box, mask],
        categories=[dict(id=1, name='dent')],
    )
    (tmp_path / 'set/annotations/train.json').write_text(json.dumps(content))
    assert main([str(tmp_path / 'set'), '--out', str(tmp_path / 'sheet.png')]) == 0


@pytest.mark.parametrize(
    'arguments, message',
    [
        ([], 'give either the folder'),
        (['synthetic', '--config', 'x'], 'give either the folder'),
        (['nowhere'], 'train.json does not exist'),
        (['synthetic', '--num', '0'], '--num 0'),
        (['synthetic', '--out', 'a.jpg'], 'does not end in .png'),
        (['synthetic', '--classes', 'scratsch'], "did you mean 'scratch'?"),
        (['synthetic', '--cfg-options', 'a=1'], '--cfg-options'),
    ],
)
def test_errors(data, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(data)
    before = sorted(data.rglob('*'))
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1
    assert sorted(data.rglob('*')) == before
