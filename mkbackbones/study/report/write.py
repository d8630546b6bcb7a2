"""Write the report of a study into its folder."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...files import written_aside
from ..records.results import load_results
from ..statistics import analyse
from .blocks import Picture
from .content import build_report
from .markdown import to_markdown
from .numbers import to_csv, to_json
from .page import to_html
from .unfinished import open_runs

__all__ = ['ReportFiles', 'write_report']

PICTURES = 'report_pictures'


@dataclass
class ReportFiles:
    """The files of a report.

    Args:
        page (Path): ``report.html``, complete in itself.
        text (Path): ``report.md``; its pictures are in ``report_pictures/``.
        json (Path): ``numbers.json``.
        csv (Path): ``numbers.csv``.
    """

    page: Path
    text: Path
    json: Path
    csv: Path


def write_report(
    folder: Path,
    out: Path | None = None,
    note: Callable[[str], None] = lambda text: None,
    examples: bool = True,
) -> ReportFiles:
    """Write what a study says so far; each file appears whole or not at all.

    Args:
        folder (Path): The study's folder.
        out (Path | None): Where to write; None is the study's folder.
        note (Callable): Told what is being done, for a status line.
        examples (bool): Whether to show images of the test split.

    Returns:
        ReportFiles: What was written.

    Raises:
        FileNotFoundError: There is no study in the folder.
        ValueError: The results contradict themselves, see :func:`analyse`.
    """
    folder, out = Path(folder), Path(out or folder)
    results = load_results(folder)
    note('computing statistics')
    analysis = analyse(results)
    report = build_report(results, analysis, open_runs(folder, results), note, examples)
    out.mkdir(parents=True, exist_ok=True)
    files = ReportFiles(
        *(out / name for name in ('report.html', 'report.md', 'numbers.json', 'numbers.csv'))
    )
    _write_pictures(out / PICTURES, report.pictures())
    for path, content in (
        (files.json, to_json(results, analysis)),
        (files.csv, to_csv(results, analysis)),
        (files.text, to_markdown(report, PICTURES)),
        (files.page, to_html(report)),
    ):
        with written_aside(path) as work:
            work.write_text(content, encoding='utf-8')
    return files


def _write_pictures(folder: Path, pictures: list[Picture]) -> None:
    """Replace the folder of pictures by one with these."""
    work = folder.with_name(f'.{folder.name}.{uuid.uuid4().hex[:8]}.partial')
    try:
        work.mkdir()
        for picture in pictures:
            (work / f'{picture.name}{picture.suffix}').write_bytes(picture.content)
        shutil.rmtree(folder, ignore_errors=True)
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
