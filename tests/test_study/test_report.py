"""Reports: HTML, Markdown, files that appear whole."""

import io
import re

import pytest
from matplotlib.figure import Figure
from PIL import Image

from mkbackbones.study.pictures import loss_curves, moving_mean, to_png
from mkbackbones.study.report import Picture, Report, Table, write_aside, write_report


def example():
    table = Table(['task', 'arm', 'AP'], [['detection', 'a < b', '0.5']])
    return Report('Title & more', ['First.', '# Part', table, Picture('p.png', png(), 'A "plot"')])


def png():
    return to_png(Figure(figsize=(1, 1)))


def test_page_is_self_contained_and_escaped(tmp_path):
    page, text = write_report(example(), tmp_path / 'new')
    content = page.read_text()
    assert '<h1>Title &amp; more</h1>' in content and '<td>a &lt; b</td>' in content
    sources = re.findall(r'(?:src|href)="([^"]{0,12})', content)
    assert sources == ['data:image/p'] and 'http' not in content
    assert 'name="viewport"' in content
    assert sorted(p.name for p in page.parent.iterdir()) == ['p.png', 'report.html', 'report.md']
    assert text.read_text().splitlines()[:5] == ['# Title & more', '', 'First.', '', '## Part']
    assert '| detection | a < b | 0.5 |' in text.read_text()
    assert '(p.png)' in text.read_text()


def test_nothing_half_written_stays(tmp_path):
    target = tmp_path / 'report.md'
    target.write_text('old')
    with pytest.raises(TypeError):
        write_aside(target, None)
    assert target.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [target]


def test_moving_mean():
    assert moving_mean([1.0, 3.0, 5.0, 7.0], 2) == [1.0, 2.0, 4.0, 6.0]
    assert moving_mean([2.0], 10) == [2.0]


def test_loss_curves_has_a_panel_a_task_and_a_line_an_arm():
    losses = {'detection': {'a': [3.0, 2.0], 'b': [3.0, 1.0]}, 'segmentation': {'a': [1.0]}}
    figure = loss_curves(losses)
    assert [axis.get_title() for axis in figure.axes] == ['detection', 'segmentation']
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert names == ['a', 'b']
    assert Image.open(io.BytesIO(to_png(figure))).size[0] > 500
