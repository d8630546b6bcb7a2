"""A report as one HTML page without external references or scripts."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence

from .blocks import (
    Block,
    Bullets,
    Code,
    Fold,
    Gallery,
    Heading,
    Notice,
    Picture,
    Report,
    Table,
    Text,
)
from .style import DARK, LIGHT

__all__ = ['to_html']

STYLE = """
:root { color-scheme: light dark; %(light)s }
@media (prefers-color-scheme: dark) { :root { %(dark)s } }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; margin: 0 auto; max-width: 66rem; padding: 1rem;
  color: var(--ink); background: var(--paper); overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0 1rem; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 2.5rem 0 .5rem; padding-top: .6rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p, ul { margin: .6rem 0; max-width: 46rem; } ul { padding-left: 1.2rem; } li { margin: .3rem 0; }
.lead { font-size: 1.12rem; line-height: 1.5; }
.notice { border-left: 4px solid var(--accent); padding: .2rem 0 .2rem .8rem; }
.table { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .9rem; line-height: 1.35; }
th, td { padding: .4rem .7rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; white-space: nowrap; font-variant-numeric: tabular-nums; }
th { color: var(--muted); font-weight: 600; white-space: normal;
  border-bottom-color: var(--muted); }
.w { text-align: left; white-space: normal; min-width: 6rem; }
.gallery { display: grid; gap: 1rem 2rem; margin: .8rem 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%%, 21rem), 1fr)); }
figure { margin: 0; min-width: 0; } body > figure { max-width: 36rem; margin: .8rem 0; }
figure svg, figure img { display: block; width: 100%%; height: auto; max-width: 36rem; }
figcaption { color: var(--muted); font-size: .85rem; line-height: 1.4; margin-top: .3rem; }
pre { overflow-x: auto; padding: .8rem; border: 1px solid var(--line); font-size: .8rem;
  line-height: 1.45; }
summary { cursor: pointer; padding: .4rem 0; font-weight: 600; }
@media (max-width: 40rem) {
  .cards thead { display: none; } .cards table, .cards tbody, .cards tr, .cards td {
    display: block; } .cards table { width: 100%%; }
  .cards tr { border: 1px solid var(--line); border-radius: 6px; padding: .5rem .8rem;
    margin: .6rem 0; }
  .cards td { border: 0; padding: .12rem 0; text-align: left; white-space: normal; }
  .cards td::before { content: attr(data-name) ": "; color: var(--muted); }
  .cards td:first-child, .cards td:nth-child(2) { display: inline; font-weight: 600; }
  .cards td:first-child::before { content: none; }
  .cards td:nth-child(2)::before { content: " \\B7  "; }
  .cards td:nth-child(2)::after { content: "\\A"; white-space: pre; }
  .cards td:not(.w) { display: inline-block; margin-right: .9rem; }
  .cards td:empty { display: none; }
  th, td { padding: .35rem .5rem; }
}
"""


def to_html(report: Report) -> str:
    """The report as one page."""
    title = html.escape(report.title)
    style = STYLE % {'light': _variables(LIGHT), 'dark': _variables(DARK)}
    body = '\n'.join(_block(block) for block in report.blocks)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{title}</title><style>{style}</style></head>\n'
        f'<body><h1>{title}</h1>\n{body}\n</body></html>\n'
    )


def _variables(colours: dict[str, str]) -> str:
    return ' '.join(f'--{name}: {colour};' for name, colour in colours.items())


def _block(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f'<h{level}>{html.escape(text)}</h{level}>'
        case Text(text, lead):
            return f'<p{" class=lead" if lead else ""}>{html.escape(text)}</p>'
        case Notice(text):
            return f'<p class="notice">{html.escape(text)}</p>'
        case Bullets(items):
            return f'<ul>{"".join(f"<li>{html.escape(item)}</li>" for item in items)}</ul>'
        case Table():
            return _table(block)
        case Picture():
            return _picture(block)
        case Gallery(pictures):
            return f'<div class="gallery">{"".join(map(_picture, pictures))}</div>'
        case Code(text):
            return f'<pre>{html.escape(text)}</pre>'
        case Fold(summary, blocks, is_open):
            inner = '\n'.join(_block(inner) for inner in blocks)
            start = '<details open>' if is_open else '<details>'
            return f'{start}<summary>{html.escape(summary)}</summary>\n{inner}</details>'
    raise TypeError(f'a report has no {type(block).__name__}')


def _table(table: Table) -> str:
    def cells(tag: str, row: Sequence[str]) -> str:
        parts = []
        for i, (name, cell) in enumerate(zip(table.header, row)):
            kind = ' class="w"' if i < table.text_columns else ''
            named = f' data-name="{html.escape(name)}"' if tag == 'td' and table.cards else ''
            parts.append(f'<{tag}{kind}{named}>{html.escape(cell)}</{tag}>')
        return f'<tr>{"".join(parts)}</tr>'

    kind = 'table cards' if table.cards else 'table'
    return (
        f'<div class="{kind}"><table><thead>{cells("th", table.header)}</thead>'
        f'<tbody>{"".join(cells("td", row) for row in table.rows)}</tbody></table></div>'
    )


def _picture(picture: Picture) -> str:
    alt = html.escape(picture.alt)
    if picture.suffix == '.svg':
        drawing = _inlined(picture, alt)
    else:
        data = base64.b64encode(picture.content).decode()
        drawing = f'<img alt="{alt}" src="data:image/jpeg;base64,{data}">'
    caption = html.escape(picture.caption)
    return f'<figure>{drawing}{f"<figcaption>{caption}</figcaption>" if caption else ""}</figure>'


def _inlined(picture: Picture, alt: str) -> str:
    """An SVG whose colours follow the page's scheme, and whose ids are its own."""
    text = picture.content.decode()
    text = text[text.index('<svg') :]
    text = re.sub(r'<metadata>.*?</metadata>|<!--.*?-->', '', text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf'\g<1>{picture.name}-', text)
    for name, colour in LIGHT.items():
        text = re.sub(re.escape(colour), f'var(--{name})', text, flags=re.IGNORECASE)
    size = re.compile(r' (?:width|height)="[^"]*pt"')
    head, rest = text.split('>', 1)
    return f'{size.sub("", head)} role="img" aria-label="{alt}">{rest}'
