"""Write a report as one self-contained HTML page and as Markdown with pictures beside it."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..files import written_aside

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem;
  color: #1a1a1a; background: #fff; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.table { overflow-x: auto; } table { border-collapse: collapse; font-size: .92rem; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid #ddd; text-align: right;
  white-space: nowrap; font-variant-numeric: tabular-nums; }
th { border-bottom: 2px solid #888; } th:first-child, td:first-child,
th:nth-child(2), td:nth-child(2) { text-align: left; }
img { max-width: 100%; height: auto; } figure { margin: 1rem 0; overflow-x: auto; }
figcaption { color: #555; font-size: .9rem; }
"""


@dataclass
class Table:
    """Rows of text under a header."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass
class Picture:
    """A PNG with its file name and caption."""

    name: str
    png: bytes
    caption: str


@dataclass
class Report:
    """A title and, in order, paragraphs, headings (``# ...``), tables and pictures."""

    title: str
    blocks: list[str | Table | Picture] = field(default_factory=list)


def write_report(report: Report, directory: Path) -> tuple[Path, Path]:
    """Write ``report.html``, ``report.md`` and the pictures.

    Each file is written aside and renamed, so a reader never sees half of one.

    Args:
        report (Report): The report.
        directory (Path): Folder to write to.

    Returns:
        tuple[Path, Path]: The HTML and the Markdown file.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for block in report.blocks:
        if isinstance(block, Picture):
            write_aside(directory / block.name, block.png)
    page, text = directory / 'report.html', directory / 'report.md'
    write_aside(page, to_html(report).encode())
    write_aside(text, to_markdown(report).encode())
    return page, text


def write_aside(path: Path, content: bytes) -> None:
    """Write a file under another name, then rename it."""
    with written_aside(path) as work:
        work.write_bytes(content)


def to_html(report: Report) -> str:
    """The report as one page without external references."""
    parts = [f'<h1>{html.escape(report.title)}</h1>']
    for block in report.blocks:
        if isinstance(block, Table):
            header = ''.join(f'<th>{html.escape(cell)}</th>' for cell in block.header)
            rows = ''.join(
                '<tr>' + ''.join(f'<td>{html.escape(cell)}</td>' for cell in row) + '</tr>'
                for row in block.rows
            )
            parts.append(
                f'<div class="table"><table><thead><tr>{header}</tr></thead>'
                f'<tbody>{rows}</tbody></table></div>'
            )
        elif isinstance(block, Picture):
            data = base64.b64encode(block.png).decode()
            caption = html.escape(block.caption)
            parts.append(
                f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
                f'<figcaption>{caption}</figcaption></figure>'
            )
        elif block.startswith('# '):
            parts.append(f'<h2>{html.escape(block[2:])}</h2>')
        else:
            parts.append(f'<p>{html.escape(block)}</p>')
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{html.escape(report.title)}</title><style>{STYLE}</style></head>\n'
        f'<body>{"".join(parts)}</body></html>\n'
    )


def to_markdown(report: Report) -> str:
    """The report as Markdown; pictures are files beside it."""
    parts = [f'# {report.title}']
    for block in report.blocks:
        if isinstance(block, Table):
            align = ['---'] * 2 + ['---:'] * (len(block.header) - 2)
            lines = [block.header, align[: len(block.header)], *block.rows]
            parts.append('\n'.join('| ' + ' | '.join(line) + ' |' for line in lines))
        elif isinstance(block, Picture):
            parts.append(f'![{block.caption}]({block.name})\n\n*{block.caption}*')
        else:
            parts.append('#' + block if block.startswith('# ') else block)
    return '\n\n'.join(parts) + '\n'
