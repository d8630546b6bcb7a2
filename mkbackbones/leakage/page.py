"""One self-contained HTML page that shows pairs across splits, aligned."""

from __future__ import annotations

import base64
import html
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .. import opencv as cv2
from .check import Shared, overlap_slices
from .pictures import read_pixels
from .symmetries import SYMMETRIES, turn

__all__ = ['to_page']

#: Longest side of a drawn pair in pixels.
_SIDE = 320
_PAPER, _MARK = (238, 238, 238), (0, 114, 178)
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 66rem; padding: 1rem;
  color: #1a1a1a; background: #fff; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin-top: 2rem; }
table { border-collapse: collapse; } th, td { padding: .3rem .8rem .3rem 0; text-align: right;
  border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
.pairs { display: grid; gap: 1.2rem; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); }
figure { margin: 0; } .two { display: flex; gap: 4px; }
.two div { flex: 1 1 0; min-width: 0; } .two img { width: 100%; display: block; }
.name { font-size: .82rem; line-height: 1.3; } figcaption { color: #555; font-size: .85rem; }
"""


def to_page(pairs: Sequence[Shared], pictures: int, where: str, limit: int) -> str:
    """Write the page.

    Args:
        pairs (Sequence[Shared]): All pairs, the worst first.
        pictures (int): Number of pictures compared.
        where (str): What was checked, for the title.
        limit (int): Pairs to show.
    """
    crossing = [pair for pair in pairs if pair.crosses]
    split = any(pair.first.split for pair in pairs)
    shown = (crossing if split else list(pairs))[:limit]
    title = f'Shared content in {where}'
    parts = [f'<h1>{html.escape(title)}</h1><p>{_summary(pairs, crossing, pictures)}</p>']
    if pairs:
        parts.append(_table(pairs, crossing))
    if shown:
        total = len(crossing) if split else len(pairs)
        which = 'across splits' if split else 'found'
        parts.append(f'<h2>The {len(shown)} worst of {total} pairs {which}</h2>')
        parts.append(
            '<p>Both pictures of a pair lie in one frame, so that the same place of the surface is '
            'at the same place of the frame; the outline is what they share.</p>'
        )
        parts.append(f'<div class="pairs">{"".join(map(_figure, shown))}</div>')
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n'
        f'<body>{"".join(parts)}</body></html>\n'
    )


def _summary(pairs: Sequence[Shared], crossing: Sequence[Shared], pictures: int) -> str:
    text = f'{pictures} pictures, {len(pairs)} pairs that share content'
    if not any(pair.first.split for pair in pairs):
        return text + '.'
    text += f', {len(crossing)} of them across splits.'
    held_out = {
        picture.key: picture.split
        for pair in crossing
        for picture in (pair.first, pair.second)
        if picture.split != 'train'
    }
    counts = Counter(held_out.values())
    if counts:
        listed = ' and '.join(f'{count} of {split}' for split, count in sorted(counts.items()))
        text += f' Pictures that share content with another split: {listed}.'
    return text


def _table(pairs: Sequence[Shared], crossing: Sequence[Shared]) -> str:
    every, across = (Counter(pair.kind for pair in some) for some in (pairs, crossing))
    rows = ''.join(
        f'<tr><td>{kind}</td><td>{count}</td><td>{across[kind]}</td></tr>'
        for kind, count in every.most_common()
    )
    head = '<tr><th>kind</th><th>pairs</th><th>across splits</th></tr>'
    return f'<table><thead>{head}</thead><tbody>{rows}</tbody></table>'


def _figure(pair: Shared) -> str:
    frames = _aligned(pair)
    cells = []
    for picture, frame in zip((pair.first, pair.second), frames):
        data = base64.b64encode(cv2.imencode('.jpg', frame[..., ::-1])[1].tobytes()).decode()
        name = html.escape(picture.key + (f' ({picture.split})' if picture.split else ''))
        cells.append(
            f'<div><img alt="{name}" src="data:image/jpeg;base64,{data}">'
            f'<div class="name">{name}</div></div>'
        )
    turned = '' if pair.symmetry == SYMMETRIES[0] else f', the first {pair.symmetry}'
    caption = (
        f'{pair.kind}{turned}: {100 * pair.overlap:.0f} % in common, shift {pair.shift[0]}, '
        f'{pair.shift[1]} pixels, correlation {pair.correlation:.2f}'
    )
    return (
        f'<figure><div class="two">{"".join(cells)}</div>'
        f'<figcaption>{html.escape(caption)}</figcaption></figure>'
    )


def _aligned(pair: Shared) -> tuple[np.ndarray, np.ndarray]:
    """Both pictures in one frame, RGB, with what they share outlined."""
    first = turn(_grey(pair.first.path), SYMMETRIES.index(pair.symmetry))
    second = _grey(pair.second.path)
    shift = pair.shift[::-1]
    here, there = overlap_slices(first.shape, second.shape, shift)
    # A place p of the first is p + shift in the second, so the second begins at -shift.
    starts = [(max(step, 0), max(-step, 0)) for step in shift]
    size = [
        max(start[0] + a, start[1] + b) for start, a, b in zip(starts, first.shape, second.shape)
    ]
    frames = []
    for index, (image, common) in enumerate(((first, here), (second, there))):
        frame = np.full((*size, 3), _PAPER, np.uint8)
        top, left = (start[index] for start in starts)
        frame[top : top + image.shape[0], left : left + image.shape[1]] = image[..., None]
        scale = min(_SIDE / max(size), 1)
        frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        (y1, y2), (x1, x2) = (
            [round(scale * (place + begin)) for place in (part.start, part.stop - 1)]
            for part, begin in zip(common, (top, left))
        )
        frames.append(cv2.rectangle(frame, (x1, y1), (x2, y2), _MARK, 2))
    return frames[0], frames[1]


def _grey(path: Path) -> np.ndarray:
    return read_pixels(path).grey
