"""From the results of a study to intervals and verdicts; docs/statistics.md says how and why."""

from .analysis import Analysis, ArmSummary, CarryOver, Difference, Efficiency, Verdict

__all__ = [
    'Analysis',
    'ArmSummary',
    'CarryOver',
    'Difference',
    'Efficiency',
    'Verdict',
]
