"""Which pictures raise an alarm, and for which classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .results import Prediction

__all__ = ['Alarms']


@dataclass(frozen=True)
class Alarms:
    """The rule by which pictures raise an alarm.

    Args:
        above (float | Mapping[str, float] | None): The defect score above which a picture does; or,
            by class, the score of the class; None for no alarms.
        classes (Sequence[str]): Names of the classes.
    """

    above: float | Mapping[str, float] | None
    classes: Sequence[str]

    @property
    def by_class(self) -> bool:
        """Whether each class has a threshold of its own."""
        return isinstance(self.above, Mapping)

    def __bool__(self) -> bool:
        return self.above is not None

    def raised_by(self, prediction: Prediction) -> list[str]:
        """Classes above their own threshold, in their order; none without a rule by class."""
        if not isinstance(self.above, Mapping):
            return []
        return [
            name
            for name, score in zip(self.classes, prediction.class_scores, strict=True)
            if name in self.above and score > self.above[name]
        ]

    def raised(self, prediction: Prediction) -> bool:
        """Whether a picture raises an alarm."""
        if self.above is None or isinstance(self.above, Mapping):
            return bool(self.raised_by(prediction))
        return prediction.score > self.above

    def words(self) -> str:
        """The rule in words: ``above 0.5``."""
        if isinstance(self.above, Mapping):
            return 'above ' + ', '.join(f'{v:.6g} ({name})' for name, v in self.above.items())
        return f'above {self.above:.6g}'
