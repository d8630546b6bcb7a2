"""``explain`` from a checkpoint to a page, for detectors, segmentors and classifiers."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mkbackbones.commands.explain import build_parser, main
from mkbackbones.explain.models import Opened, start
from mkbackbones.explain.query import in_largest_region, query_of
from mkbackbones.predict import masks
from mkbackbones.predict.results import Instance, Prediction
from mkbackbones.runner.errors import InputError

from ..test_commands.test_help import DOCUMENTED, examples
from ..test_engine.tiny import STOCK_SWIN
from ..test_study.test_report.test_report_in_browser import CHROMIUM, PHONE
from ..test_study.test_report.test_report_in_browser import look_at as in_browser
from .projects import SWIN, VIT, WRAPPED, write_project

ROOT = Path(__file__).parents[2]
PROJECTS = {
    'detection-swin': ('detection', SWIN),
    'segmentation-wrapped': ('segmentation', WRAPPED),
    'segmentation-vit': ('segmentation', VIT),
    'classifier-swin': ('classifier', SWIN),
}


class Page(HTMLParser):
    """What a page loads, and whether its tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.scripts, self.images = [], [], 0, 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.scripts += tag == 'script'
        self.images += tag == 'img'
        self.sources += [attrs[name] for name in ('src', 'href') if name in attrs]
        if tag not in ('meta', 'img'):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def run(words, out='seen'):
    assert main([*words, '--out', out, '--device', 'cpu']) == 0
    content = json.loads(Path(out, 'explain.json').read_text(encoding='utf-8'))
    return content, Path(out, 'explain.html').read_text(encoding='utf-8')


@pytest.mark.parametrize('name', PROJECTS)
def test_a_page_and_its_numbers(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, page = run(write_project(tmp_path, *PROJECTS[name]))
    (picture,) = content['pictures']
    assert len(picture['layers']) == (4 if 'vit' in name else 5)
    assert len(picture['blocks']) == 4 and picture['notes'] == []
    charts = 2 if 'vit' in name else 3
    for layer in picture['layers']:
        assert 0 < layer['charts_over_base'] < 10 and layer['out_scale'] > 0
        assert np.asarray(layer['distances']).shape == (charts, charts)
    for block in picture['blocks']:
        attention = np.asarray(block['attention'], dtype=float)
        top, left, bottom, right = block['seen']
        assert attention.shape == (bottom - top, right - left)
        assert abs(np.nansum(attention) + block['elsewhere'] - 1) < 1e-2
        assert len(block['chart_logits']) == charts
        assert np.asarray(block['chart_maps'], dtype=float).shape == (charts, *attention.shape)
        assert (block['membership'] is None) == ('vit' in name)
    parsed = Page(page)
    assert parsed.open == [] and parsed.scripts == 0
    assert all(source.startswith('data:image/') for source in parsed.sources)
    assert not re.search(r'url\((?!data:image/)', page)
    per_block = 3 + charts * (1 if 'vit' in name else 2)
    assert parsed.images == 4 * per_block
    assert 'color-scheme: light dark' in page and 'width=device-width' in page


def test_a_point_and_blocks_of_ones_choice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = write_project(tmp_path, 'detection', SWIN)
    content, _ = run([*words, '--at', '89,1', '--blocks', '0', '-1', '0'])
    (picture,) = content['pictures']
    assert [block['layer'] for block in picture['blocks']] == [
        'layers.0.blocks.0.attn.qkv', 'layers.3.blocks.0.attn.qkv'
    ]  # fmt: skip
    # 90x60 pixels become 64x64: the last column and the first row.
    assert picture['blocks'][0]['cell'] == [0, 15] and picture['blocks'][0]['grid'] == [16, 16]
    assert picture['query']['how'] == 'the given point'


def test_a_classifier_whose_transforms_cut(tmp_path, monkeypatch):
    """90x60 pixels become 72x48, of which the middle 32x32 are left."""
    monkeypatch.chdir(tmp_path)
    words = write_project(tmp_path, 'classifier', SWIN)
    smooth = np.mgrid[:60, :90].sum(0)[..., None] + np.array([0, 40, 90])
    cv2.imwrite(words[2], smooth.astype(np.uint8))
    opened = Opened(words[0], words[1], 'cpu')
    taken = opened.take(Path(words[2]))
    assert taken.scale == pytest.approx((0.8, 0.8)) and taken.offset == pytest.approx((-20, -8))
    whole = np.asarray(taken.canvas(), float)
    inputs = taken.inputs[0].permute(1, 2, 0).numpy()
    inputs = inputs * np.array([58.395, 57.12, 57.375]) + np.array([123.675, 116.28, 103.53])
    assert np.abs(whole - inputs).max() < 1.5  # a pixel aside makes 1.25, and rounding
    assert main([*words, '--out', 'seen', '--at', '2,2', '--device', 'cpu']) == 2


def test_a_segmentor_that_slides(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more = {'model.test_cfg': dict(mode='slide', crop_size=(32, 32), stride=(16, 16))}
    words = write_project(tmp_path, 'segmentation', SWIN, more)
    content, page = run([*words, '--at', '70,30'])
    (picture,) = content['pictures']
    assert picture['inputs'] == dict(width=32, height=32)
    assert 'its window of 32x32 pixels' in picture['notes'][0] and 'slides' in page
    x = 70 * 64 / 90
    assert picture['point'][0] == pytest.approx(x - 32) and picture['blocks'][0]['grid'] == [8, 8]


def test_windows_of_a_slide_are_those_of_mmseg():
    assert [start(where, 100, 40, 30) for where in (0, 39, 50, 99)] == [0, 30, 30, 60]
    assert start(5, 20, 20, 10) == 0


def test_the_query(tmp_path):
    box = Instance(0, 'crack', 0.4, (10, 10, 4, 6))
    best = Instance(0, 'dent', 0.9, (40, 20, 20, 10))
    found = query_of(Prediction(None, 80, 60, 0.9, (box, best)), 80, 60, None, 'a.png')
    assert (found.x, found.y) == (50, 25) and 'dent with 0.90' in found.how
    nothing = query_of(Prediction(None, 80, 60, 0.0), 80, 60, None, 'a.png')
    assert (nothing.x, nothing.y) == (40, 30) and 'nothing was found' in nothing.how
    class_map = np.zeros((60, 80), np.uint8)
    class_map[2:5, 2:5] = 1
    class_map[10:31, 20:61] = 1
    class_map[40, 0:70] = 2
    regions = tuple(
        Instance(k, str(k), 0.5, (0, 0, 1, 1), masks.encode(class_map == k, 0, 0, 80, 60))
        for k in (1, 2)
    )
    found = in_largest_region(Prediction(None, 80, 60, 1.0, regions, class_map))
    assert found.y == 20.5 and 30 <= found.x <= 50 and found.box == (20, 10, 41, 21)
    assert '861 pixels' in found.how


@pytest.mark.parametrize(
    'words, said',
    [
        (['--at', 'here'], "--at 'here' is no point"),
        (['--at', '90,10'], 'has 90x60 pixels'),
        (['--blocks', '5'], '--blocks 5 is not there: the backbone has 5 blocks with charts'),
        (['--out', 'pictures'], 'holds something else (a.png)'),
        (['--cfg-options', 'model.backbone.key_cfg.type=LinearK'], 'num_charts'),
    ],
)
def test_what_cannot_be_is_said(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    project = write_project(tmp_path, 'detection', SWIN)
    assert main([*project, '--out', 'seen', '--device', 'cpu', *words]) == 2
    assert said in capsys.readouterr().err and not Path('seen').exists()


@pytest.mark.parametrize(
    'backbone, said',
    [
        (STOCK_SWIN, 'has stock keys alone'),
        (dict(SWIN, key_cfg=None), 'has stock keys alone (key_cfg is None)'),
        (dict(SWIN, key_cfg=dict(type='LinearK')), '(LinearK) have no charts'),
    ],
)
def test_a_model_without_charts_gets_a_sentence(backbone, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = write_project(tmp_path, 'segmentation', backbone)
    assert main([*words, '--out', 'seen', '--device', 'cpu']) == 2
    assert said in capsys.readouterr().err and not Path('seen').exists()


def test_a_damaged_picture_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for kind in ('detection', 'classifier'):
        words = write_project(tmp_path, kind, SWIN)
        Path('pictures/b.png').write_bytes(b'no picture')
        assert main([*words[:2], 'pictures/b.png', '--out', 'seen', '--device', 'cpu']) == 2
        assert 'b.png' in capsys.readouterr().err and not Path('seen').exists()


def test_a_damaged_picture_among_others_is_skipped(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = write_project(tmp_path, 'detection', SWIN)
    Path('pictures/b.png').write_bytes(b'')
    assert main([*words[:2], 'pictures', '--out', 'seen', '--device', 'cpu']) == 1
    assert 'skipped: pictures/b.png' in capsys.readouterr().err
    assert 'a.png' in Path('seen/explain.html').read_text()


def test_a_former_page_is_replaced_when_asked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [*write_project(tmp_path, 'detection', SWIN), '--blocks', '0']
    run(words)
    assert main([*words, '--out', 'seen', '--device', 'cpu']) == 2
    assert 'add --overwrite' in capsys.readouterr().err
    run([*words, '--overwrite'])


def test_keys_without_a_base_chart_and_controls(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    key_cfg = [
        dict(type='VanillaK', num_charts=2, base=False, stages=[0]),
        dict(type='MLPK', match=dict(type='KUA', num_charts=2), stages=[1]),
        dict(type='LinearK', stages=[2]),
    ]
    content, page = run(write_project(tmp_path, 'detection', dict(SWIN, key_cfg=key_cfg)))
    layers = content['pictures'][0]['layers']
    assert [layer['key'] for layer in layers] == ['VanillaK', 'MLPK', 'LinearK', 'LinearK']
    blocks = content['pictures'][0]['blocks']
    assert [block['chart_maps'] is None for block in blocks] == [False, True]
    assert blocks[0]['base_logits'] is None and 'no base chart' in page


def test_charts_that_have_not_moved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = write_project(tmp_path, 'detection', SWIN)
    content = torch.load(words[1], weights_only=True)
    for name, value in content['state_dict'].items():
        if name.endswith('out_scale'):
            value.zero_()
    torch.save(content, words[1])
    content, page = run(words)
    for block in content['pictures'][0]['blocks']:
        assert block['divergence'] == block['charts_logits'] == 0
        assert block['attention'] == block['attention_without']
    assert 'their output scale is zero' in page


LINES = [words for name, words in DOCUMENTED.items() if words[0] == 'explain']
HELP = [['explain', *words] for words in examples('explain')]


@pytest.mark.parametrize('words', [*LINES, *HELP], ids=lambda words: ' '.join(words[3:]))
def test_each_line_of_help_and_docs_runs(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, 'detection', SWIN)
    Path('work_dirs/my_config').mkdir(parents=True)
    Path('work_dirs/my_config/epoch_12.pth').write_bytes(Path('epoch_12.pth').read_bytes())
    cv2.imwrite('pictures/b.png', np.zeros((60, 90, 3), np.uint8))
    assert main([*words[1:], '--device', 'cpu']) == 0
    assert Path(build_parser().parse_args(words[1:]).out, 'explain.html').is_file()


def test_there_are_lines():
    assert len(LINES) >= 3 and len(HELP) == 2


def test_the_python_of_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, 'detection', SWIN)
    text = (ROOT / 'docs/explain.md').read_text(encoding='utf-8')
    (block,) = re.findall(r'```python\n(.*?)```', text, re.S)
    exec(compile(block, 'docs/explain.md', 'exec'), {})
    assert capsys.readouterr().out.count('layers.3.blocks.0.attn.qkv') == 2


@pytest.mark.skipif(CHROMIUM is None, reason='no chromium: apt-get install chromium')
def test_the_page_on_a_phone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(write_project(tmp_path, 'detection', SWIN))
    found = in_browser(Path('seen/explain.html'), tmp_path, PHONE)
    assert found['width'] == PHONE and found['requests'] == []
    assert found['narrowest'] > 60


def test_an_error_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match='neither a file nor a shipped config'):
        Opened(str(tmp_path / 'none.py'), 'x.pth')
