"""What a profile holds, and its JSON."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import written_aside

if TYPE_CHECKING:
    from .spec import Precision


def median(values: list[float]) -> float | None:
    """The median; None of nothing."""
    return statistics.median(values) if values else None


@dataclass
class Row:
    """One backbone at one size and precision; what was not measured is None or empty.

    Attributes:
        backbone (str): Its name.
        size (str): Images x height x width.
        precision (str): ``fp32``, ``bf16`` or ``fp16``.
        parameters (int): Parameters.
        gflops (float): Operations of one inference of the batch in 1e9, a multiply-add as two.
        train_ms (list[float]): Time of a train step, one for each round.
        inference_ms (list[float]): Time of an inference, one for each round.
        train_peak_mib (float): Peak memory of a train step, weights and gradients included.
        inference_peak_mib (float): Peak memory of an inference, weights included.
        train_launches (int): CUDA kernels and graphs launched in a train step.
        inference_launches (int): The same for an inference.
        train_busy_ms (float): Time of the kernels of a train step on the GPU.
        inference_busy_ms (float): The same for an inference.
        train_floor_ms (float): Least time of a train step on this device, see ``floor.py``.
        inference_floor_ms (float): Least time of an inference.
        note (str): Why something was not measured.
    """

    backbone: str
    size: str
    precision: Precision
    parameters: int | None = None
    gflops: float | None = None
    train_ms: list[float] = field(default_factory=list)
    inference_ms: list[float] = field(default_factory=list)
    train_peak_mib: float | None = None
    inference_peak_mib: float | None = None
    train_launches: int | None = None
    inference_launches: int | None = None
    train_busy_ms: float | None = None
    inference_busy_ms: float | None = None
    train_floor_ms: float | None = None
    inference_floor_ms: float | None = None
    note: str = ''

    def median(self, quantity: str) -> float | None:
        """Median of a list, or the number itself; None if it was not measured."""
        value = getattr(self, quantity)
        return median(value) if isinstance(value, list) else value


@dataclass
class Profile:
    """A whole run.

    Attributes:
        environment (dict): Device, versions, date.
        settings (dict): Rounds, whether the optimiser's step counts, and the like.
        rates (dict): Measured matrix rates in TFLOP/s by precision, bandwidth in GB/s.
        rows (list[Row]): The measurements.
    """

    environment: dict
    settings: dict
    rates: dict
    rows: list[Row] = field(default_factory=list)

    def find(self, backbone: str, size: str, precision: Precision) -> Row | None:
        """The row of a backbone."""
        wanted = (backbone, size, precision)
        found = (row for row in self.rows if (row.backbone, row.size, row.precision) == wanted)
        return next(found, None)

    def save(self, path: Path) -> None:
        """Write JSON, whole or not at all."""
        with written_aside(path) as work:
            work.write_text(json.dumps(dataclasses.asdict(self), indent=1) + '\n', encoding='utf-8')


def ratio(numerator: Row, denominator: Row, quantity: str) -> tuple[float, float, float] | None:
    """Median, smallest and largest ratio of a quantity over the rounds that both have.

    Rounds are compared one by one, so that what slows a whole round down cancels out.
    """
    upper, lower = getattr(numerator, quantity), getattr(denominator, quantity)
    if not upper or not lower:
        return None
    if not isinstance(upper, Sequence):
        upper, lower = [upper], [lower]
    ratios = sorted(a / b for a, b in zip(upper, lower))
    return statistics.median(ratios), ratios[0], ratios[-1]


def over_busy(row: Row, quantity: str) -> tuple[float, float, float] | None:
    """Median, smallest and largest ratio of a backbone's wall clock and its own kernels' time."""
    times, busy = getattr(row, quantity), getattr(row, quantity.replace('_ms', '_busy_ms'))
    if not times or not busy:
        return None
    return statistics.median(times) / busy, min(times) / busy, max(times) / busy
