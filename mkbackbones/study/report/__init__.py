"""The report of a study: a page for readers, Markdown for repositories, numbers for programs."""

from .write import ReportFiles, write_report

__all__ = ['ReportFiles', 'write_report']
