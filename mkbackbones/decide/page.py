"""A page on an operating point: what it trades, what it misses, what it falsely alarms."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..files import written_aside
from ..pages import small_jpeg, whole_page
from .interval import Share
from .operating_point import OperatingPoint, Outcome, Wish, trade_off

__all__ = ['Looked', 'described', 'doubt_of_groups', 'write_page']

SHOWN = 24
SIDE = 320  # pixels of a thumbnail
STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem .2rem 0; text-align: left; }
.plot svg { max-width: 100%; height: auto; background: #fefefe; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figure img { width: 100%; image-rendering: auto; }
figcaption { font-size: .8rem; overflow-wrap: anywhere; }
"""


class Looked:
    """Images of a split, as a threshold looks at them.

    Args:
        score (ndarray): Score of each image, (n,).
        defective (ndarray): Whether it has a defect, bool, (n,).
        groups (ndarray): Name of its group, (n,).
        paths (Sequence[Path]): Its file.
    """

    def __init__(
        self,
        score: np.ndarray,
        defective: np.ndarray,
        groups: Sequence[str],
        paths: Sequence[Path],
    ) -> None:
        self.score = np.asarray(score, float)
        self.defective = np.asarray(defective, bool)
        self.groups = np.asarray(groups)
        self.paths = list(paths)

    def wrong(self, threshold: float) -> dict[str, list[int]]:
        """Images that are missed and that raise a false alarm, the clearest first."""
        alarm = self.score > threshold
        order = np.argsort(self.score, kind='stable').tolist()
        return {
            'Missed': [i for i in order if self.defective[i] and not alarm[i]],
            'False alarms': [i for i in order[::-1] if not self.defective[i] and alarm[i]],
        }


def described(outcome: Outcome) -> list[tuple[str, str]]:
    """An outcome as rows of a table."""
    rows = []
    for name, share in (
        ('defective images with an alarm', outcome.recall),
        ('good images with an alarm', outcome.false_alarms),
    ):
        rows.append((name, 'there are none' if share is None else words(share)))
    return rows


def doubt_of_groups(looked: Looked, wish: Wish) -> str:
    """What to say where images are many and the groups that they are of are few; or nothing."""
    which = ~looked.defective if wish.kind == 'good' else looked.defective
    groups = len(set(looked.groups[which].tolist()))
    if groups >= wish.fewest:
        return ''
    return (
        f'the {int(which.sum())} {wish.kind} validation images are of {groups} groups, and images '
        f'of a group resemble each other: for new ones it takes {wish.fewest} groups to tell, so '
        'believe the intervals'
    )


def words(share: Share) -> str:
    """A share with its counts and interval."""
    return (
        f'{share.hits} of {share.images} ({share.value:.1%}; 95 % interval {share.low:.1%} to '
        f'{share.high:.1%}, {share.groups} groups)'
    )


def write_page(path: Path, point: OperatingPoint, splits: dict[str, Looked]) -> None:
    """Write one HTML file that needs nothing else, whole or not at all.

    Args:
        path (Path): The file.
        point (OperatingPoint): What was chosen.
        splits (dict[str, Looked]): The images by split; the last one is shown.
    """
    parts = [
        f'<h1>Alarm above {point.threshold:.4g}</h1>',
        f'<p>Asked for: {html.escape(str(point.wish))}. Chosen on the validation images of '
        f'{html.escape(point.checkpoint)}.</p>',
    ]
    for name, outcome in (('validation', point.validation), ('test', point.test)):
        if outcome is not None:
            rows = ''.join(
                f'<tr><th>{html.escape(what)}</th><td>{html.escape(text)}</td></tr>'
                for what, text in described(outcome)
            )
            parts.append(f'<h2>On {name} images</h2><table>{rows}</table>')
    if point.test is None:
        parts.append(
            '<p>There are no other images to look at: on those that the threshold was chosen on, '
            'it looks better than it is.</p>'
        )
    if doubt := doubt_of_groups(splits['validation'], point.wish):
        parts.append(f'<p>{html.escape(doubt[0].upper() + doubt[1:])}.</p>')
    parts.append(f'<h2>The trade-off</h2><div class="plot">{plot(point, splits)}</div>')
    name, shown = list(splits.items())[-1]
    for title, indices in shown.wrong(point.threshold).items():
        parts.append(f'<h2>{title} ({name} images): {len(indices)}</h2>')
        if indices:
            least = 'lowest' if title == 'Missed' else 'highest'
            parts.append(f'<p>Scores before names, the {least} first.</p>')
        parts.append(gallery(shown, indices))
    page = whole_page('Operating point', STYLE, ''.join(parts))
    with written_aside(path) as work:
        work.write_text(page, encoding='utf-8')


def gallery(looked: Looked, indices: list[int]) -> str:
    """Thumbnails of some images, each with its score and name."""
    figures = [
        f'<figure><img alt="" src="data:image/jpeg;base64,{thumbnail(looked.paths[i])}">'
        f'<figcaption>{looked.score[i]:.4g} {html.escape(looked.paths[i].name)}</figcaption>'
        '</figure>'
        for i in indices[:SHOWN]
    ]
    more = len(indices) - SHOWN
    rest = f'<p>and {more} more</p>' if more > 0 else ''
    return f'<div class="pictures">{"".join(figures)}</div>{rest}'


def thumbnail(path: Path) -> str:
    """A small JPEG of a picture, in base64."""
    from PIL import Image

    with Image.open(path) as picture:
        return base64.b64encode(small_jpeg(picture, SIDE)).decode()


def plot(point: OperatingPoint, splits: dict[str, Looked]) -> str:
    """Recall against false alarms of each split, and the point, as SVG."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout='constrained')
    FigureCanvasSVG(figure)
    axes = figure.add_subplot(
        xlabel='good images with an alarm', ylabel='defective images with an alarm'
    )
    for (name, looked), colour in zip(splits.items(), ('#0072b2', '#d55e00')):
        if looked.defective.all() or not looked.defective.any():
            continue  # nothing to trade
        _, false_alarms, recall = trade_off(looked.score, looked.defective)
        axes.step(false_alarms, recall, where='post', label=name, color=colour)
        alarm = looked.score > point.threshold
        axes.plot(
            alarm[~looked.defective].mean(),
            alarm[looked.defective].mean(),
            'o',
            color=colour,
            label=f'{name}, at this threshold',
        )
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc='lower right')
    file = io.StringIO()
    figure.savefig(file, format='svg')
    return file.getvalue()[file.getvalue().index('<svg') :]
