"""Two studies of the same cells: whether they may be compared, and whether the second finds the first one's ratios."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import numpy as np
from scipy.stats import t

from jaxcompare.analysis.speed import (
    Ratio,
    cells_of,
    check_one_measurement,
    facts,
    image_times,
    manifest,
    measured,
    time_ratio,
)
from jaxcompare.analysis.statistics import Interval
from jaxcompare.cells import Cell, CellRecord
from jaxcompare.config import InputError

CLOSE = 1.1
"""Factor between two ratios that are taken for the same, whatever their intervals."""


@dataclasses.dataclass(frozen=True)
class Repetition:
    """The ratio of two cells' times, found twice."""

    cell: Cell
    other: Cell
    first: Ratio
    again: Ratio

    @property
    def change(self) -> float:
        """Factor between the two, 1 or more."""
        quotient = self.again.value / self.first.value
        return max(quotient, 1 / quotient)

    @property
    def confirmed(self) -> bool:
        """Whether the second is within the first's interval, or close to it."""
        return self.change <= CLOSE or _holds(self.first, self.again)

    @property
    def confirmed_backwards(self) -> bool:
        """The same with the studies in the other order."""
        return self.change <= CLOSE or _holds(self.again, self.first)

    @property
    def same_verdict(self) -> bool:
        """Whether both show the same side of 1, or neither shows one."""
        return self.first.direction == self.again.direction

    @property
    def contradicted(self) -> bool:
        """Whether each shows its own side of 1, by an interval: one repeat shows none."""
        shown = self.first.interval is not None and self.again.interval is not None
        return shown and self.first.direction * self.again.direction == -1


def when(records: Sequence[CellRecord], again: Sequence[CellRecord]) -> Literal["earlier", "later"]:
    """When the other study began, beside the one that is stated."""
    return "later" if _begun(again) > _begun(records) else "earlier"


def _begun(records: Sequence[CellRecord]) -> datetime:
    return min(datetime.fromisoformat(record.started_at) for record in records)


def _holds(ratio: Ratio, other: Ratio) -> bool:
    return ratio.interval is not None and ratio.interval.low <= other.value <= ratio.interval.high


def found_again(again: Sequence[CellRecord], cell: Cell, other: Cell, first: Ratio) -> Repetition | None:
    """A ratio as another study has it; None where that did not measure both cells."""
    again = measured(again)
    return (
        Repetition(cell, other, first, time_ratio(again, cell, other))
        if {cell, other} <= set(cells_of(again))
        else None
    )


def repeat_ratios(records: Sequence[CellRecord], again: Sequence[CellRecord]) -> list[Repetition]:
    """Every ratio between two cells of one model and precision that both studies measured.

    Raises:
        InputError: the studies differ in what decides a time, share no cell, or one of them did not come to its end.
    """
    records, again = measured(records), measured(again)
    both = check_alike(records, again)
    return [
        Repetition(cell, other, time_ratio(records, cell, other), time_ratio(again, cell, other))
        for cell, other in itertools.combinations(both, 2)
        if (cell.model, cell.precision) == (other.model, other.precision)
    ]


def change(records: Sequence[CellRecord], again: Sequence[CellRecord], cell: Cell, other: Cell) -> Ratio:
    """The factor by which the ratio of two cells' times changes from one study to another, whose processes pair with
    none of the first one's. Its interval is Welch's (1947), of the logarithms of the repeats' own ratios, and holds it;
    none where a study has one repeat."""
    value = time_ratio(again, cell, other).value / time_ratio(records, cell, other).value
    first, second = (np.log(image_times(study, cell)) - np.log(image_times(study, other)) for study in (records, again))
    if min(len(first), len(second)) < 2:
        return Ratio(value, None)
    middle, parts = second.mean() - first.mean(), [logs.var(ddof=1) / len(logs) for logs in (first, second)]
    spread = sum(parts)
    if spread > 0:
        freedom = spread**2 / sum(part**2 / (len(logs) - 1) for part, logs in zip(parts, (first, second), strict=True))
        spread = float(t.ppf(0.975, freedom)) * math.sqrt(spread)
    low, high = math.exp(middle - spread), math.exp(middle + spread)
    return Ratio(value, Interval(min(low, value), max(high, value), "Welch"))


def check_alike(records: Sequence[CellRecord], again: Sequence[CellRecord], *, but: str = "") -> list[Cell]:
    """The cells that two studies have in common.

    Args:
        but: what of the manifest may differ.

    Raises:
        InputError: the studies differ in something else that decides a time, share no cell, or one of them did not come
            to its end.
    """
    check_one_measurement(records)
    check_one_measurement(again)
    known = {record.cell.precision: facts(record) | manifest(record) for record in records}
    for record in again:
        ours, theirs = known.get(record.cell.precision, facts(records[0])), facts(record) | manifest(record)
        for name, value in ours.items():
            if theirs[name] != value and name != but:
                raise InputError(
                    f"two speed studies that differ: {name} is {value} in the first, {theirs[name]} in the second"
                )
    both = [cell for cell in cells_of(records) if cell in cells_of(again)]
    if not both:
        raise InputError("two speed studies without a cell in common; leave the second out")
    return both
