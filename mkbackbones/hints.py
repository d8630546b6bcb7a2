"""Hints in error messages."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """A hint at the nearest known name, whatever its case; empty if nothing is near."""
    lower = {other.lower(): other for other in known}
    near = difflib.get_close_matches(str(name).lower(), sorted(lower), n=1, cutoff=0.5)
    return f"; did you mean '{lower[near[0]]}'?" if near else ''
