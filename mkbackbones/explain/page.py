"""A page on what charts do in pictures: one file, no network, no program in it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..pages import whole_page
from .drawing import View, difference, intensity, jpeg_url, view_of
from .look import BlockLook, LayerNumbers
from .run import Explanation

__all__ = ['explanation_page']

NONE = '–'
STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 1.2rem auto; max-width: 72rem; padding: 0 1rem; }
h2 { margin: 2.5rem 0 .5rem; padding-top: .6rem; border-top: 2px solid #8886; }
h2, h3 { overflow-wrap: anywhere; }
h3 { margin: 2rem 0 .3rem; } h4 { margin: 1.2rem 0 .3rem; font-size: 1rem; }
p { max-width: 44rem; margin: .4rem 0; }
.maps { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); }
.maps.small { grid-template-columns: repeat(auto-fill, minmax(7.6rem, 1fr)); }
.maps.one { grid-template-columns: minmax(0, 34rem); }
figure { margin: 0; } figcaption { font-size: .82rem; line-height: 1.35; }
.map { position: relative; overflow: hidden; border-radius: .2rem; background-size: 100% 100%; }
.map { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.map img { position: absolute; inset: 0; width: 100%; height: 100%; image-rendering: pixelated; }
.map i { position: absolute; }
.map .at { width: .7rem; height: .7rem; margin: -.35rem 0 0 -.35rem; box-sizing: border-box; }
.map .at { border: 2px solid #fff; border-radius: 50%; box-shadow: 0 0 0 1.5px #000; }
.small .map .at { width: .5rem; height: .5rem; margin: -.25rem 0 0 -.25rem; }
.map .window { border: 1.5px dashed #fff; outline: 1px solid #0008; box-sizing: border-box; }
.map .found { border: 2px solid #ff0; outline: 1px solid #0008; box-sizing: border-box; }
.wide { overflow-x: auto; margin: .4rem 0 .8rem; }
table { border-collapse: collapse; font-size: .88rem; }
th, td { padding: .2rem .9rem .2rem 0; text-align: right; white-space: nowrap; }
th:first-child, td:first-child, td:has(.bar) { text-align: left; }
details { margin: .6rem 0; } summary { cursor: pointer; }
thead th { border-bottom: 1px solid #8888; font-weight: 600; vertical-align: bottom; }
.bar { display: inline-block; height: .7em; background: #e66100; border-radius: 2px; }
.note { border-left: 3px solid #e66100; padding-left: .7rem; }
"""
WORDS = (
    '<h2>How to read it</h2>'
    '<p><b>Attention</b> is that of one query, the ring, mean over heads: orange is more. With and '
    'without the charts share a scale; both are given the same tokens, and only the charts of that '
    'one block are left out. Where attention is within windows, the dashed frame is what the query '
    'sees.</p>'
    '<p><b>Contribution of a chart to the logits</b>: the logits of the query less those with '
    'that chart taken out of the key, and less their mean over what the query sees, which softmax '
    'does not see. Orange raises attention, blue lowers it. The size is the root mean square over '
    'heads and tokens; 1 changes attention by a factor of e.</p>'
    '<p><b>Charts / base</b>: root mean square of what the charts add to the key over that of the '
    'base chart. <b>Spread of Gamma</b>: standard deviation of log |Gamma| over the charts. '
    '<b>Distance</b> of two charts, on the tokens of the picture: 0 for copies, 1.41 for charts '
    'that have nothing to do with each other, 2 for opposites.</p>'
    '<p>Attention shows where a block reads from. It does not show why the model decided as it '
    'did.</p>'
)


def explanation_page(config: str, checkpoint: str, found: Sequence[Explanation]) -> str:
    """The page.

    Args:
        config (str): The config, as it was named.
        checkpoint (str): The weights, as they were named.
        found (Sequence[Explanation]): The pictures.
    """
    rules: list[str] = []
    body = [
        '<h1>What the charts do</h1>',
        f'<p>{text(Path(config).name)} with {text(Path(checkpoint).name)}.</p>',
    ]
    for number, one in enumerate(found):
        body += section(one, f'p{number}', rules)
    return whole_page('What the charts do', STYLE + ''.join(rules), ''.join([*body, WORDS]))


def section(one: Explanation, mark: str, rules: list[str]) -> list[str]:
    """What there is of one picture; pictures go into rules of the style, each once."""
    x, y = one.query.x, one.query.y
    parts = [
        f'<h2>{text(Path(one.name).name)}</h2>',
        f'<p>The model says: {text(one.said)}. Seen from ({x:.0f}, {y:.0f}), '
        f'{text(one.query.how)}.</p>',
        *[f'<p class="note">{text(note[0].upper() + note[1:])}.</p>' for note in one.notes],
        overview(one),
        '<h3>All blocks with keys of their own</h3>',
        layers_table(one.layers),
    ]
    for number, look in enumerate(one.looks):
        parts += block(one, look, f'{mark}b{number}', rules)
    return parts


def overview(one: Explanation) -> str:
    """The picture with the query, what was found there, and what each block sees."""
    view = View(0, 0, one.canvas.height, one.canvas.width, 1)
    frames = [framed(view, one.box, 'found')] if one.box is not None else []
    drawn = []
    for look in one.looks:
        if is_window(look):
            frames.append(window(view, look))
            drawn.append(short(look))
    where = f'; dashed: what it sees in {", ".join(drawn)}' if drawn else ''
    picture = (
        f'<div class="map" style="aspect-ratio:{view.aspect:.4f};'
        f'background-image:url({jpeg_url(one.canvas)})" role="img" aria-label="the picture">'
        f'{"".join(frames)}{ring(view, one.point)}</div>'
    )
    yellow = ', in yellow what was found' if one.box is not None else ''
    caption = (
        f'As the network takes it, {one.canvas.width}x{one.canvas.height} pixels. Ring: the query'
        f'{yellow}{where}.'
    )
    return (
        f'<div class="maps one"><figure>{picture}<figcaption>{caption}</figcaption></figure></div>'
    )


def layers_table(layers: Sequence[LayerNumbers]) -> str:
    """What is known of every key."""
    heads = ['layer', 'key', 'charts', 'output scale', 'charts / base', 'spread of Gamma']
    heads += ['distance, mean', 'distance, least']
    rows = []
    for one in layers:
        mean, least = one.distance() or (None, None)
        rows.append(
            [
                text(one.layer.removesuffix('.qkv')),
                text(one.key),
                NONE if one.num_charts is None else str(one.num_charts),
                told(one.out_scale, '.4f'),
                told(one.charts_over_base, '.1%'),
                *[told(value, '.2f') for value in (one.gamma_spread, mean, least)],
            ]
        )
    return table(heads, rows)


def block(one: Explanation, look: BlockLook, mark: str, rules: list[str]) -> list[str]:
    """What there is of one block."""
    view = view_of(look.seen, look.grid, look.stride)
    whole = View(0, 0, *look.grid, look.stride)
    rules.append(background(mark, view, one))
    numbers = look.numbers
    parts = [f'<h3>{text(numbers.layer.removesuffix(".qkv"))}, {text(numbers.key)}</h3>']
    parts.append(f'<p>{sentence(look)}</p>')

    def over(name: str, url: str, caption: str) -> str:
        return figure(mark, url, name, caption, frame(view, look) + ring(view, one.point))

    with_, without = view.cut(look.attention), view.cut(look.attention_without)
    change = with_ - without
    most = float(np.nanmax([np.nanmax(with_), np.nanmax(without)]))
    largest = float(np.nanmax(np.abs(change)))
    parts.append(
        '<div class="maps">'
        + over('with', intensity(with_, most), f'Attention with the charts, at most {most:.1%}')
        + over('without', intensity(without, most), 'Without the charts, in the same scale')
        + over('change', difference(change, largest), f'The difference, at most {largest:.2%}')
        + '</div>'
    )
    if look.chart_maps is not None:
        parts += ['<h4>What each chart does to the logits</h4>', charts_table(look)]
        maps = view.cut(look.chart_maps)
        most = float(np.nanmax(np.abs(maps)))
        parts.append('<div class="maps small">')
        for number, values in enumerate(maps):
            caption = f'chart {number + 1}: {look.chart_logits[number]:.3g}'
            parts.append(over(f'chart {number + 1}', difference(values, most), caption))
        parts.append(f'</div><p>One scale, to {most:.3g} up and down.</p>')
    if look.membership is not None:
        place = mark
        if view != whole:
            place = f'{mark}w'
            rules.append(background(place, whole, one))
        most = float(np.nanmax(look.membership))
        parts += ['<h4>Membership of each token in the charts</h4>', '<div class="maps small">']
        for number, values in enumerate(look.membership):
            here = values[look.cell]
            caption = f'chart {number + 1}: {here:.0%} here, {np.nanmean(values):.0%} on average'
            name = f'membership in chart {number + 1}'
            marked = ring(whole, one.point)
            parts.append(figure(place, intensity(values, most), name, caption, marked))
        parts.append(f'</div><p>One scale, from 0 to {most:.0%}.</p>')
    return [*parts, distances_table(look)]


def sentence(look: BlockLook) -> str:
    """What a block does, in words."""
    top, left, bottom, right = look.seen
    sees = (
        f'a window of {right - left}x{bottom - top} tokens'
        if is_window(look)
        else f'all {look.grid[1]}x{look.grid[0]} tokens'
    )
    parts = [f'The query sees {sees} of {look.stride} pixels.']
    if look.base_logits is None:
        parts.append(
            'The key has no base chart, so without the charts only position is left. They move the '
            f'logits by {look.charts_logits:.3g}.'
        )
    elif look.charts_logits == 0:
        parts.append('The charts change nothing here: their output scale is zero.')
    else:
        parts.append(
            f'The charts move the logits by {look.charts_logits:.3g}, the base chart by '
            f'{look.base_logits:.3g}.'
        )
    parts.append(
        f'Attention with the charts differs by {look.divergence:.2g} nats (KL divergence) from '
        'that without.'
    )
    if look.elsewhere > 0.0005:
        parts.append(
            f'{look.elsewhere:.1%} of it is on class and register tokens or on padding, which the '
            'maps do not show.'
        )
    if look.chart_maps is not None and not look.add_up:
        parts.append('The charts of this key do not add up: a chart is what is lost without it.')
    return ' '.join(parts)


def charts_table(look: BlockLook) -> str:
    """The size of each chart's contribution, with a bar."""
    most = max([*look.chart_logits, 1e-30])
    rows = []
    if look.base_logits is not None:
        rows.append(['base chart', f'{look.base_logits:.3g}', '', ''])
    rows.append(['all charts', f'{look.charts_logits:.3g}', '', ''])
    for number, value in enumerate(look.chart_logits):
        here = ''
        if look.membership is not None:
            row, column = look.cell
            here = f'{look.membership[number, row, column]:.0%}'
        bar = f'<span class="bar" style="width:{6 * value / most:.2f}rem"></span>'
        rows.append([f'chart {number + 1}', f'{value:.3g}', here, bar])
    heads = ['part of the key', 'logits, root mean square', 'membership here', '']
    if look.membership is None:
        del heads[2]
        rows = [[*row[:2], row[3]] for row in rows]
    return table(heads, rows)


def distances_table(look: BlockLook) -> str:
    """Distances of each two charts, folded away; nothing for fewer than two."""
    distances = look.numbers.distances
    if distances is None or len(distances) < 2:
        return ''
    heads = ['chart', *[str(number + 1) for number in range(len(distances))]]
    rows = [
        [str(number + 1), *[NONE if i == number else f'{value:.2f}' for i, value in enumerate(row)]]
        for number, row in enumerate(distances)
    ]
    name = 'Distances of each two charts on the tokens of the picture'
    return f'<details><summary>{name}</summary>{table(heads, rows)}</details>'


def is_window(look: BlockLook) -> bool:
    """Whether the query sees a part of the picture alone."""
    return look.seen != (0, 0, *look.grid)


def short(look: BlockLook) -> str:
    """A block's name without what all have in common."""
    return look.numbers.layer.removesuffix('.qkv').removesuffix('.attn').removeprefix('layers.')


def window(view: View, look: BlockLook) -> str:
    """The frame around what a query sees."""
    top, left, bottom, right = (side * look.stride for side in look.seen)
    return framed(view, (left, top, right - left, bottom - top), 'window')


def frame(view: View, look: BlockLook) -> str:
    """The same, unless it is the whole picture."""
    return window(view, look) if is_window(look) else ''


def framed(view: View, box: tuple[float, float, float, float], kind: str) -> str:
    """A frame around a box, left, top, width and height in pixels of the canvas."""
    left, top = view.place(box[0], box[1])
    right, bottom = view.place(box[0] + box[2], box[1] + box[3])
    return (
        f'<i class="{kind}" style="left:{left:.2f}%;top:{top:.2f}%;width:{right - left:.2f}%;'
        f'height:{bottom - top:.2f}%"></i>'
    )


def ring(view: View, point: tuple[float, float]) -> str:
    """The query."""
    x, y = view.place(*point)
    return f'<i class="at" style="left:{x:.2f}%;top:{y:.2f}%"></i>'


def background(mark: str, view: View, one: Explanation) -> str:
    """A rule of the style that puts a cut of the picture behind maps."""
    return (
        f'.{mark}{{aspect-ratio:{view.aspect:.4f};'
        f'background-image:url({view.picture(one.canvas)})}}'
    )


def figure(mark: str, url: str, name: str, caption: str, marks: str) -> str:
    """A map over its cut of the picture."""
    return (
        f'<figure><div class="map {mark}"><img alt="{text(name)}" src="{url}">{marks}</div>'
        f'<figcaption>{text(caption)}</figcaption></figure>'
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls by itself on a phone; its cells are HTML."""
    head = ''.join(f'<th>{one}</th>' for one in heads)
    body = ''.join(f'<tr>{"".join(f"<td>{cell}</td>" for cell in row)}</tr>' for row in rows)
    whole = f'<thead><tr>{head}</tr></thead><tbody>{body}</tbody>'
    return f'<div class="wide"><table>{whole}</table></div>'


def told(value: float | None, how: str) -> str:
    """A number, or that there is none."""
    return NONE if value is None else format(value, how)


def text(words: str) -> str:
    """Text within HTML."""
    return html.escape(words)
