"""What a report is made of, whichever format it is written in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = [
    'Block',
    'Bullets',
    'Code',
    'Fold',
    'Gallery',
    'Heading',
    'Notice',
    'Picture',
    'Report',
    'Table',
    'Text',
]


@dataclass
class Heading:
    """A heading below the title; level 2 is a section, 3 a part of one."""

    text: str
    level: int = 2


@dataclass
class Text:
    """A paragraph; ``lead`` marks the answer of the study."""

    text: str
    lead: bool = False


@dataclass
class Notice:
    """A paragraph that limits what the report says."""

    text: str


@dataclass
class Bullets:
    """A list of sentences."""

    items: Sequence[str]


@dataclass
class Table:
    """Rows of text under a header.

    Args:
        header (Sequence[str]): Names of the columns.
        rows (Sequence[Sequence[str]]): Cells.
        text_columns (int): How many columns, from the left, hold words rather than numbers.
        cards (bool): On a narrow screen each row becomes a card; else the table scrolls.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 2
    cards: bool = False


@dataclass
class Picture:
    """A picture with the name of its file.

    Args:
        name (str): File name without suffix, unique in the report.
        content (bytes): SVG or JPEG.
        alt (str): What it shows, for those who do not see it.
        caption (str): Text below it.
    """

    name: str
    content: bytes
    alt: str
    caption: str = ''

    @property
    def suffix(self) -> str:
        """``.svg`` or ``.jpg``."""
        return '.jpg' if self.content.startswith(b'\xff\xd8') else '.svg'


@dataclass
class Gallery:
    """Pictures side by side where there is room."""

    pictures: Sequence[Picture]


@dataclass
class Code:
    """Text as it is."""

    text: str


@dataclass
class Fold:
    """Blocks that a reader opens."""

    summary: str
    blocks: Sequence[Block]
    open: bool = False


Block = Heading | Text | Notice | Bullets | Table | Picture | Gallery | Code | Fold


@dataclass
class Report:
    """A title and blocks in order."""

    title: str
    blocks: list[Block] = field(default_factory=list)

    def pictures(self) -> list[Picture]:
        """All pictures, in order."""
        return _pictures(self.blocks)


def _pictures(blocks: Sequence[Block]) -> list[Picture]:
    found = []
    for block in blocks:
        if isinstance(block, Picture):
            found.append(block)
        elif isinstance(block, Gallery):
            found += block.pictures
        elif isinstance(block, Fold):
            found += _pictures(block.blocks)
    return found
