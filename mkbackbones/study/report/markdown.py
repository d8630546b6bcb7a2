"""A report as Markdown; pictures are files in a folder beside it."""

from __future__ import annotations

import html

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

__all__ = ['to_markdown']

SPECIAL = str.maketrans({char: f'\\{char}' for char in '\\`*_[]<>|'})


def to_markdown(report: Report, folder: str) -> str:
    """The report as Markdown.

    Args:
        report (Report): The report.
        folder (str): Name of the folder with the pictures.
    """
    parts = [f'# {escape(report.title)}']
    parts += [_block(block, folder) for block in report.blocks]
    return '\n\n'.join(parts) + '\n'


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return ' '.join(str(text).split()).translate(SPECIAL)


def _block(block: Block, folder: str) -> str:
    match block:
        case Heading(text, level):
            return f'{"#" * level} {escape(text)}'
        case Text(text):
            return escape(text)
        case Notice(text):
            return f'> {escape(text)}'
        case Bullets(items):
            return '\n'.join(f'- {escape(item)}' for item in items)
        case Table():
            return _table(block)
        case Picture():
            return _picture(block, folder)
        case Gallery(pictures):
            return '\n\n'.join(_picture(picture, folder) for picture in pictures)
        case Code(text):
            fence = '```'
            while fence in text:
                fence += '`'
            return f'{fence}\n{text.rstrip()}\n{fence}'
        case Fold(summary, blocks, is_open):
            inner = '\n\n'.join(_block(inner, folder) for inner in blocks)
            start = '<details open>' if is_open else '<details>'
            return f'{start}<summary>{html.escape(summary)}</summary>\n\n{inner}\n\n</details>'
    raise TypeError(f'a report has no {type(block).__name__}')


def _table(table: Table) -> str:
    words = min(table.text_columns, len(table.header))
    align = ['---'] * words + ['---:'] * (len(table.header) - words)
    lines = [[escape(cell) for cell in table.header], align]
    lines += [[escape(cell) for cell in row] for row in table.rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def _picture(picture: Picture, folder: str) -> str:
    text = f'![{escape(picture.alt)}]({folder}/{picture.name}{picture.suffix})'
    return f'{text}\n\n*{escape(picture.caption)}*' if picture.caption else text
