"""Comparing arms: run trials, count their cost, draw and report what came out."""

from .cost import Cost, count_cost
from .report import Report, write_report
from .trial import Trial, TrialResult, run_trial

__all__ = [
    'Cost',
    'Report',
    'Trial',
    'TrialResult',
    'count_cost',
    'run_trial',
    'write_report',
]
