"""Which shapes come often enough to be recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable

#: Passes after which what was counted counts half, so that shapes of former days give way.
HALVED_AFTER = 2000
#: How many times as often a shape has to come as the recorded one whose place it takes: recordings
#: that took turns would cost more than they spare.
MARGIN = 2


class Often:
    """Counts passes by shape, and says which ones are to be recorded.

    Args:
        after (int): Passes of a shape before it is recorded.
        most (int): Shapes that are recorded at a time.
    """

    def __init__(self, after: int, most: int) -> None:
        self.after = after
        self.most = most
        self.passes = 0
        self.counts: Counter[Hashable] = Counter()

    def count(self, place: Hashable) -> None:
        """Count a pass."""
        self.passes += 1
        if self.passes % HALVED_AFTER == 0:
            self.counts = Counter({p: n // 2 for p, n in self.counts.items() if n > 1})
        self.counts[place] += 1

    def is_due(self, place: Hashable, recorded: Collection[Hashable]) -> bool:
        """Whether a shape that is not recorded should be, if need be in the place of another."""
        count = self.counts[place]
        if count <= self.after:
            return False
        if len(recorded) < self.most:
            return True
        return count > MARGIN * self.counts[self.rarest(recorded)]

    def rarest(self, recorded: Collection[Hashable]) -> Hashable:
        """The recorded shape that has come least often."""
        return min(recorded, key=self.counts.__getitem__)
