"""Counts of a written data set, and the table that shows them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .records import SPLITS

__all__ = ['Summary', 'alike', 'print_summary']

_SHOWN = 20


@dataclass
class Summary:
    """Counts per split, filled image by image.

    Args:
        classes (tuple[str, ...]): Instance classes.
        notes (list[str]): Remarks on the set and the split.
        fixes (list[str]): What was mended, one ``kind: where`` each.
        skipped (list[str]): Images that were left out, and why.
    """

    classes: tuple[str, ...]
    notes: list[str] = field(default_factory=list)
    fixes: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    images: Counter[str] = field(default_factory=Counter)
    defect_free: Counter[str] = field(default_factory=Counter)
    instances: Counter[tuple[str, int]] = field(default_factory=Counter)
    sizes: dict[str, set[tuple[int, int]]] = field(default_factory=dict)

    def add(self, split: str, width: int, height: int, annotations: list[dict]) -> None:
        """Count an image with its COCO annotations."""
        self.images[split] += 1
        self.defect_free[split] += not annotations
        self.instances.update((split, item['category_id'] - 1) for item in annotations)
        self.sizes.setdefault(split, set()).add((width, height))

    def count(self, split: str) -> int:
        """Instances of all classes in a split."""
        return sum(self.instances[split, label] for label in range(len(self.classes)))

    def fix_counts(self) -> dict[str, int]:
        """How often each kind of repair was made."""
        return dict(sorted(Counter(fix.partition(': ')[0] for fix in self.fixes).items()))

    def to_dict(self) -> dict:
        """The counts and lists for ``dataset.json``."""
        counts = {
            split: dict(
                images=self.images[split],
                defect_free=self.defect_free[split],
                instances={
                    name: self.instances[split, label] for label, name in enumerate(self.classes)
                },
            )
            for split in SPLITS
        }
        return dict(counts=counts, notes=self.notes, fixes=self.fixes, skipped=self.skipped)


def alike(classes: Sequence[str]) -> list[str]:
    """Notes on classes that differ in case alone, of which most are one that was spelt twice.

    Args:
        classes (Sequence[str]): Their names.
    """
    groups = defaultdict(list)
    for name in classes:
        groups[name.casefold()].append(name)
    return [
        f'{" and ".join(names)} are classes of their own: where one is meant, mend the annotations'
        for names in groups.values()
        if len(names) > 1
    ]


def print_summary(summary: Summary, title: str, console: Console | None = None) -> None:
    """Print split by split: images, instances per class, image sizes, defect-free images."""
    table = Table(title=escape(title), title_justify='left')
    table.add_column('')
    for split in (*SPLITS, 'total'):
        table.add_column(split, justify='right')

    def add_row(name: str, counts: list[int], end_section: bool = False) -> None:
        table.add_row(name, *map(str, counts), str(sum(counts)), end_section=end_section)

    add_row('images', [summary.images[split] for split in SPLITS])
    add_row('of these defect-free', [summary.defect_free[split] for split in SPLITS])
    sizes = [_size_range(summary.sizes.get(split, set())) for split in SPLITS]
    every = set().union(*summary.sizes.values())
    table.add_row('image size', *sizes, _size_range(every), end_section=True)
    for label, name in enumerate(summary.classes):
        add_row(
            escape(name),
            [summary.instances[split, label] for split in SPLITS],
            end_section=label == len(summary.classes) - 1,
        )
    add_row('all instances', [summary.count(split) for split in SPLITS])
    console = console or Console()
    console.print(table)
    for line in _remarks(summary):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _remarks(summary: Summary) -> Iterator[str]:
    images = sum(summary.images.values())
    if images and not any(summary.instances.values()):
        yield f'note: no object in {images} of {images} images'
    for note in summary.notes:
        yield f'note: {note}'
    for kind, count in summary.fix_counts().items():
        yield f'mended: {count} x {kind}'
    if summary.skipped:
        yield f'skipped: {len(summary.skipped)} images'
        yield from (f'  {reason}' for reason in summary.skipped[:_SHOWN])
    if summary.fixes or len(summary.skipped) > _SHOWN:
        yield 'dataset.json lists them all'


def _size_range(sizes: set[tuple[int, int]]) -> str:
    if not sizes:
        return '-'
    low, high = (f'{width}x{height}' for width, height in (min(sizes), max(sizes)))
    return low if low == high else f'{low} to {high}'
