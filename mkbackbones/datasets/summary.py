"""Counts of a written data set, and the table that shows them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from mkbackbones.datasets.records import SPLITS, Record

__all__ = ['Summary', 'print_summary']


@dataclass
class Summary:
    """Counts per split, filled record by record.

    Args:
        classes (tuple[str, ...]): Instance classes.
        notes (list[str]): Remarks of the converter.
    """

    classes: tuple[str, ...]
    notes: list[str] = field(default_factory=list)
    images: Counter[str] = field(default_factory=Counter)
    defect_free: Counter[str] = field(default_factory=Counter)
    instances: Counter[tuple[str, int]] = field(default_factory=Counter)
    sizes: dict[str, set[tuple[int, int]]] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Count one record."""
        self.images[record.split] += 1
        self.defect_free[record.split] += not record.instances
        self.instances.update((record.split, item.label) for item in record.instances)
        self.sizes.setdefault(record.split, set()).add((record.width, record.height))

    def count(self, split: str) -> int:
        """Instances of all classes in a split."""
        return sum(self.instances[split, label] for label in range(len(self.classes)))


def print_summary(summary: Summary, title: str, console: Console | None = None) -> None:
    """Print split by split: images, instances per class, image sizes, defect-free images."""
    table = Table(title=title, title_justify='left')
    table.add_column('')
    for split in (*SPLITS, 'total'):
        table.add_column(split, justify='right')

    def add_row(name: str, counts: list[int], **style: bool) -> None:
        table.add_row(name, *map(str, counts), str(sum(counts)), **style)

    add_row('images', [summary.images[split] for split in SPLITS])
    add_row('of these defect-free', [summary.defect_free[split] for split in SPLITS])
    sizes = [_size_range(summary.sizes.get(split, set())) for split in SPLITS]
    every = set().union(*summary.sizes.values())
    table.add_row('image size', *sizes, _size_range(every), end_section=True)
    for label, name in enumerate(summary.classes):
        add_row(
            name,
            [summary.instances[split, label] for split in SPLITS],
            end_section=label == len(summary.classes) - 1,
        )
    add_row('all instances', [summary.count(split) for split in SPLITS])
    console = console or Console()
    console.print(table)
    for note in summary.notes:
        console.print(f'note: {note}', highlight=False, markup=False)


def _size_range(sizes: set[tuple[int, int]]) -> str:
    if not sizes:
        return '-'
    low, high = (f'{width}x{height}' for width, height in (min(sizes), max(sizes)))
    return low if low == high else f'{low} to {high}'
