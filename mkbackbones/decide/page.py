"""A page on an operating point: what it trades, what it misses, what it falsely alarms."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..files import written_aside
from ..pages import small_jpeg, whole_page
from .by_class import ByClass
from .interval import Share
from .looked import Box, Looked
from .operating_point import OperatingPoint
from .plots import class_plots, plot
from .thresholds import Outcome
from .words import by_class_notes, described, doubt_of_groups, limit_words, share_words, tile_words

__all__ = ['write_page']

SHOWN = 24
SIDE = 320  # pixels of a thumbnail
TRUTH, FOUND = '#ffd400', '#ff2d2d'
STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem .2rem 0; text-align: left; }
.wide { overflow-x: auto; } .wide td, .wide th { vertical-align: top; }
.wide thead th { border-bottom: 1px solid #8888; } .wide small { white-space: nowrap; opacity: .8; }
.plot svg { max-width: 100%; height: auto; background: #fefefe; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figure img { width: 100%; image-rendering: auto; }
figcaption { font-size: .8rem; overflow-wrap: anywhere; }
"""
OVERFITTED = (
    'There are no other images to look at: on those that the threshold was chosen on, it looks '
    'better than it is'
)


def write_page(path: Path, point: OperatingPoint, splits: Mapping[str, Looked]) -> None:
    """Write one HTML file that needs nothing else, whole or not at all.

    Args:
        path (Path): The file.
        point (OperatingPoint): What was chosen.
        splits (Mapping[str, Looked]): The images by split; the last one is shown.
    """
    found = point.by_class
    parts = [] if found is None else class_parts(found, point, splits)
    if found is None:
        parts.append(f'<h1>Alarm above {point.threshold:.4g}</h1>')
    else:
        parts.append(f'<h2>One threshold for all: {point.threshold:.4g}</h2>')
    parts.append(
        f'<p>Asked for: {html.escape(str(point.wish))}. Chosen on the validation images of '
        f'{html.escape(point.checkpoint)}.</p>'
    )
    if tiles := tile_words(point):
        parts.append(sentence(tiles))
    parts += tables('h3' if found else 'h2', point.validation, point.test)
    if point.test is None:
        parts.append(f'<p>{OVERFITTED}.</p>')
    if doubt := doubt_of_groups(splits['validation'], point.wish):
        parts.append(sentence(doubt))
    parts.append(f'<h2>The trade-off</h2><div class="plot">{plot(point.threshold, splits)}</div>')
    parts += pictures(point, splits)
    page = whole_page('Operating point', STYLE, ''.join(parts))
    with written_aside(path) as work:
        work.write_text(page, encoding='utf-8')


def tables(head: str, validation: Outcome, test: Outcome | None) -> list[str]:
    """What a threshold gives on each split."""
    parts = []
    for name, outcome in (('validation', validation), ('test', test)):
        if outcome is not None:
            rows = ''.join(
                f'<tr><th>{html.escape(what)}</th><td>{html.escape(text)}</td></tr>'
                for what, text in described(outcome)
            )
            parts.append(f'<{head}>On {name} images</{head}><table>{rows}</table>')
    return parts


def class_parts(found: ByClass, point: OperatingPoint, splits: Mapping[str, Looked]) -> list[str]:
    """Thresholds by class, what each gives, and all of them."""
    split = 'validation' if found.test is None else 'test'
    heads = ['class', 'asked for', 'alarm above', 'its images', 'good images', 'other defects']
    rows = ''
    for each in found.points:
        outcome = each.validation if each.test is None else each.test
        cells = [html.escape(each.name), html.escape(share_words(each.wish))]
        cells.append(html.escape(limit_words(each, found.rest)))
        cells += map(cell, (outcome.recall, outcome.false_alarms, outcome.others))
        rows += f'<tr>{"".join(f"<td>{text}</td>" for text in cells)}</tr>'
    head = ''.join(f'<th>{text}</th>' for text in heads)
    parts = [
        '<h1>A threshold for each class</h1>',
        '<p>An image raises an alarm if any class is above its own. Shares of the '
        f'{split} images with an alarm for the class, with 95 % intervals: of those with a defect '
        'of it, of those without any, and of those with defects of other classes alone.</p>',
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        '</div>',
        '<h2>All classes together</h2>',
        *tables('h3', found.validation, found.test),
        *map(sentence, by_class_notes(found, point.wish, splits['validation'])),
    ]
    if found.test is None:
        parts.append(f'<p>{OVERFITTED}.</p>')
    drawn, left_out = class_plots(found, splits)
    parts.append(f'<h2>The trade-off by class</h2><div class="plot">{drawn}</div>')
    if left_out:
        parts.append(f'<p>Not drawn, with defective or good images missing or as the classes are '
                     f'many: {html.escape(", ".join(left_out))}.</p>')  # fmt: skip
    return parts


def cell(share: Share | None) -> str:
    """A share in a table of many."""
    if share is None:
        return 'none'
    return (
        f'{share.hits} of {share.images}, {share.value:.1%}<br><small>{share.low:.1%} to '
        f'{share.high:.1%}, {share.groups} groups</small>'
    )


def sentence(text: str) -> str:
    """A paragraph of a sentence that began in lower case, unless that is a name."""
    name = text.partition(':')[0]
    start = text if ':' in text and ' ' not in name else text[0].upper() + text[1:]
    return f'<p>{html.escape(start)}.</p>'


def pictures(point: OperatingPoint, splits: Mapping[str, Looked]) -> list[str]:
    """Images of the last split that are on the wrong side, with what is in them."""
    name, shown = list(splits.items())[-1]
    limits = None if point.by_class is None else point.by_class.limits
    alarm = shown.score > point.threshold if limits is None else shown.scored.raised(limits)
    parts = []
    for title, indices in shown.wrong(alarm).items():
        parts.append(f'<h2>{title} ({name} images): {len(indices)}</h2>')
        if not indices:
            continue
        is_missed = title == 'Missed'
        least = 'lowest' if is_missed else 'highest'
        marked = any(shown.marks[i].truth if is_missed else shown.marks[i].found for i in indices)
        frames = ''
        if marked:
            frames = ' Yellow: the defects.' if is_missed else ' Red: what was found.'
        parts.append(f'<p>Scores before names, the {least} first.{frames}</p>')
        parts.append(gallery(shown, indices, is_missed, point, limits))
    return parts


def gallery(
    looked: Looked,
    indices: list[int],
    is_missed: bool,
    point: OperatingPoint,
    limits: Mapping[str, float] | None,
) -> str:
    """Thumbnails of some images, each with its score and name, and frames where to look."""
    figures = []
    for i in indices[:SHOWN]:
        if is_missed:
            boxes = looked.marks[i].truth
        else:
            boxes = [
                box
                for box, name, score in looked.marks[i].found
                if score > (point.threshold if limits is None else limits.get(name, np.inf))
            ]
        image = thumbnail(looked.paths[i], boxes, TRUTH if is_missed else FOUND)
        what = html.escape(which(looked, i, is_missed, limits))
        figures.append(
            f'<figure><img alt="" src="data:image/jpeg;base64,{image}">'
            f'<figcaption>{looked.score[i]:.4g} {html.escape(looked.paths[i].name)}{what}'
            '</figcaption></figure>'
        )
    more = len(indices) - SHOWN
    rest = f'<p>and {more} more</p>' if more > 0 else ''
    return f'<div class="pictures">{"".join(figures)}</div>{rest}'


def which(looked: Looked, index: int, is_missed: bool, limits: Mapping[str, float] | None) -> str:
    """Classes of a missed image, or those that falsely raise an alarm."""
    scored = looked.scored
    names = [
        f'{name} {score:.4g}'
        for name, score, has in zip(scored.classes, scored.score[index], scored.truth[index])
        if (has if is_missed else limits is not None and score > limits[name])
    ]
    return ': ' + ', '.join(names) if names else ''


def thumbnail(path: Path, boxes: list[Box], colour: str) -> str:
    """A small JPEG of a picture with frames, in base64."""
    from PIL import Image, ImageDraw

    with Image.open(path) as picture:
        small = picture.convert('RGB')
    factor = SIDE / max(small.size)
    if factor < 1:
        small = small.resize([max(1, round(side * factor)) for side in small.size])
    scale = small.width / picture.width, small.height / picture.height
    draw = ImageDraw.Draw(small)
    for left, top, right, bottom in boxes:
        # A little outside, so that a defect of some pixels is not hidden.
        frame = (
            max(0, left * scale[0] - 3),
            max(0, top * scale[1] - 3),
            min(small.width - 1, right * scale[0] + 3),
            min(small.height - 1, bottom * scale[1] + 3),
        )
        if frame[0] < frame[2] and frame[1] < frame[3]:
            draw.rectangle(frame, outline=colour, width=2)
    return base64.b64encode(small_jpeg(small, SIDE)).decode()
