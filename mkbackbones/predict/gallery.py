"""A page with what was found in all pictures: one file, no network, no program in it."""

from __future__ import annotations

import base64
import html
from collections import Counter
from collections.abc import Mapping, Sequence

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
fieldset { border: 1px solid #8886; border-radius: .4rem; min-width: 0; }
fieldset { display: flex; flex-wrap: wrap; gap: 0 1rem; }
label { display: inline-flex; align-items: center; gap: .3rem; }
label { min-height: 2rem; overflow-wrap: anywhere; }
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
    if alarms:  # by class, one of a low score may raise it
        order.sort(key=lambda entry: not alarms.raised(entry[1]))
    shown = sorted(order[:MOST], key=lambda entry: (-entry[1].score, entry[0]))
    counts, reasons, figures = Counter[int](), Counter[str](), []
    for name, prediction, picture in shown:
        labels = sorted({one.label for one in prediction.instances if one.score >= least})
        counts.update(labels or [-1])
        marks = [f'c{label}' for label in labels] or ['none']
        marks += [f's{step}' for step in STEPS if prediction.score * 100 >= step]
        sign = ''
        if alarms:
            raised, by = alarms.raised(prediction), alarms.raised_by(prediction)
            why = ['alarm', *(f'a{classes.index(name)}' for name in by)] if raised else ['quiet']
            marks += why
            reasons.update(why)
            if raised:
                sign = f'<b>alarm {html.escape(", ".join(by))}'.rstrip() + '</b> '
        image = base64.b64encode(picture).decode()
        figures.append(
            f'<figure class="{" ".join(marks)}"><img loading="lazy" alt="" '
            f'src="data:image/jpeg;base64,{image}"><figcaption>{sign}{prediction.score:.2f} '
            f'{html.escape(name)}</figcaption></figure>'
        )
    kinds = [(f'c{label}', name) for label, name in enumerate(classes) if counts[label]]
    kinds += [('none', 'nothing found')] * bool(counts[-1])
    numbers = {f'c{label}': count for label, count in counts.items()} | {'none': counts[-1]}
    whys = [('alarm', 'with one')]
    whys += [(f'a{label}', f'by {name}') for label, name in enumerate(classes)]
    whys = [(why, name) for why, name in [*whys, ('quiet', 'without')] if reasons[why]]
    if not reasons['alarm']:  # nothing to pick from
        whys = []
    rest = len(order) - len(shown)
    head = [f'{len(order)} pictures']
    if alarms:
        number = sum(alarms.raised(each[1]) for each in order)
        head.append(f'{number} with an alarm, {html.escape(alarms.words())}')
    first = 'an alarm, or the highest scores,' if alarms else 'the highest scores'
    head += [f'the {MOST} with {first} are shown'] if rest else []
    return whole_page(
        'What was found',
        STYLE + rules([kind for kind, _ in kinds], [why for why, _ in whys]),
        f'<h1>What was found</h1><p>{"; ".join(head)}.</p>'
        f'<form>{choices(kinds, numbers, whys, reasons)}</form><main>{"".join(figures)}</main>',
    )


def rules(kinds: Sequence[str], whys: Sequence[str]) -> str:
    """Style that hides what a reader has not picked."""
    picked = ''.join(f'body:has(#{kind}:checked) figure.{kind}{{display:block}}' for kind in kinds)
    others = ''.join(
        f'body:has(#{mark}:checked) figure:not(.{mark}){{display:none!important}}'
        for mark in [*(f's{step}' for step in STEPS), *whys]
    )
    return f'figure{{display:none}}{picked}{others}'


def choices(
    kinds: Sequence[tuple[str, str]],
    counts: Mapping[str, int],
    whys: Sequence[tuple[str, str]],
    reasons: Mapping[str, int],
) -> str:
    """What a reader picks from: classes, a least score and, where there are some, alarms."""
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
    alarms = ''.join(
        f'<label><input type="radio" name="alarm" id="{why}">{html.escape(name)} '
        f'({reasons[why]})</label>'
        for why, name in whys
    )
    if alarms:
        every = '<label><input type="radio" name="alarm" checked>with or without</label>'
        alarms = f'<fieldset><legend>alarm</legend>{every}{alarms}</fieldset>'
    return (
        f'<fieldset><legend>found in it</legend>{boxes}</fieldset>'
        f'<fieldset><legend>defect score from</legend>{scores}</fieldset>{alarms}'
    )
