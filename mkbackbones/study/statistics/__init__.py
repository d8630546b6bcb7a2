"""From the results of a study to intervals and verdicts; docs/statistics.md says how and why."""

from .analyse import analyse, analyse_evidence
from .analysis import Analysis, ArmSummary, CarryOver, Difference, Efficiency, Verdict
from .headline import headline

__all__ = [
    'Analysis',
    'ArmSummary',
    'CarryOver',
    'Difference',
    'Efficiency',
    'Verdict',
    'analyse',
    'analyse_evidence',
    'headline',
]
