"""A page with what was found in all pictures: one file, no network, no program in it."""

from __future__ import annotations

import base64
import html
from collections import Counter
from collections.abc import Sequence

from PIL import Image

from ..pages import small_jpeg, whole_page
from .alarms import Alarms
from .results import Prediction

__all__ = ['gallery', 'thumbnail']

#: Pictures on a page; a browser on a phone holds as many thumbnails.
MOST = 500
SIDE = 360  # pixels of a thumbnail
STEPS = (0, 30, 50, 70, 90)  # of the score that a reader picks, in per cent
STYLE = """
:root { color-scheme: light dark; font: 16px/1.45 system-ui, sans-serif; }
body { margin: 1.2rem auto; max-width: 80rem; padding: 0 1rem; }
form { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; margin: 0 0 1rem; }
fieldset { border: 1px solid #8886; border-radius: .4rem; }
fieldset { display: flex; flex-wrap: wrap; gap: 0 1rem; }
label { display: inline-flex; align-items: center; gap: .3rem; }
label { white-space: nowrap; min-height: 2rem; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figure img { width: 100%; border-radius: .2rem; }
figcaption { font-size: .8rem; overflow-wrap: anywhere; }
.alarm b { color: #c22; }
"""


def thumbnail(painted: Image.Image) -> bytes:
    """A small JPEG of a painted picture."""
    return small_jpeg(painted, SIDE)


def gallery(
    classes: Sequence[str],
    found: Sequence[tuple[str, Prediction, bytes]],
    least: float,
    alarms: Alarms | None = None,
) -> str:
    """The page, its pictures by falling score.

    Args:
        classes (Sequence[str]): Names of the classes.
        found (Sequence[tuple[str, Prediction, bytes]]): Name of each picture, what was found in
            it, and its thumbnail.
        least (float): Instances with a lower score do not count as found.
        alarms (Alarms, optional): Which pictures raise one.
    """
    order = sorted(found, key=lambda entry: (-entry[1].score, entry[0]))
    shown, counts = order[:MOST], Counter[int]()
    figures = []
    for name, prediction, picture in shown:
        labels = sorted({one.label for one in prediction.instances if one.score >= least})
        counts.update(labels or [-1])
        marks = [f'c{label}' for label in labels] or ['none']
        marks += [f's{step}' for step in STEPS if prediction.score * 100 >= step]
        sign = ''
        if alarms and alarms.raised(prediction):
            marks.append('alarm')
            names = ', '.join(alarms.raised_by(prediction))
            sign = f'<b>alarm{html.escape(f" {names}" if names else "")}</b> '
        image = base64.b64encode(picture).decode()
        figures.append(
            f'<figure class="{" ".join(marks)}"><img loading="lazy" alt="" '
            f'src="data:image/jpeg;base64,{image}"><figcaption>{sign}{prediction.score:.2f} '
            f'{html.escape(name)}</figcaption></figure>'
        )
    kinds = [(f'c{label}', name) for label, name in enumerate(classes) if counts[label]]
    kinds += [('none', 'nothing found')] * bool(counts[-1])
    numbers = {f'c{label}': count for label, count in counts.items()} | {'none': counts[-1]}
    rest = len(order) - len(shown)
    head = [f'{len(order)} pictures']
    if alarms:
        number = sum(alarms.raised(each[1]) for each in order)
        head.append(f'{number} with an alarm, {html.escape(alarms.words())}')
    head += [f'the {MOST} with the highest scores are shown'] if rest else []
    return whole_page(
        'What was found',
        STYLE + rules([kind for kind, _ in kinds]),
        f'<h1>What was found</h1><p>{"; ".join(head)}.</p>'
        f'<form>{choices(kinds, numbers)}</form><main>{"".join(figures)}</main>',
    )


def rules(kinds: Sequence[str]) -> str:
    """Style that hides what a reader has not picked."""
    picked = ''.join(f'body:has(#{kind}:checked) figure.{kind}{{display:block}}' for kind in kinds)
    scores = ''.join(
        f'body:has(#s{step}:checked) figure:not(.s{step}){{display:none!important}}'
        for step in STEPS
    )
    return f'figure{{display:none}}{picked}{scores}'


def choices(kinds: Sequence[tuple[str, str]], counts: dict[str, int]) -> str:
    """What a reader picks from: classes and a least score."""
    boxes = ''.join(
        f'<label><input type="checkbox" id="{kind}" checked>{html.escape(name)} '
        f'({counts[kind]})</label>'
        for kind, name in kinds
    )
    scores = ''.join(
        f'<label><input type="radio" name="score" id="s{step}"{" checked" * (step == 0)}>'
        f'{step / 100:g}</label>'
        for step in STEPS
    )
    return (
        f'<fieldset><legend>found in it</legend>{boxes}</fieldset>'
        f'<fieldset><legend>defect score from</legend>{scores}</fieldset>'
    )
