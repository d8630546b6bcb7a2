"""Studies: arms x tasks x seeds, trained fairly, and what can be said about the outcome."""

from ..cost import Cost, count_cost
from .records.results import RunResult, StudyInfo, StudyResults, load_results

__all__ = [
    'Cost',
    'RunResult',
    'StudyInfo',
    'StudyResults',
    'count_cost',
    'load_results',
]
