"""What compiling buys, what it costs, and when it has paid for itself: cell records in, numbers out."""

import math
import statistics
from collections.abc import Sequence

from jaxcompare.analysis.statistics import Interval, mean_interval
from jaxcompare.cells import Cell, CellRecord


def by_repeat(records: Sequence[CellRecord], cell: Cell) -> list[CellRecord]:
    """A cell's records in the order of their repeats: what stands at one place ran side by side."""
    return sorted((record for record in records if record.cell == cell), key=lambda record: record.repeat)


def break_even_steps(compiled: CellRecord, eager: CellRecord) -> float:
    """After how many optimiser steps a compiled cell has cost as little as the eager one.

    Cumulative time is one_time + steps * step_time on either side; 0 where the compiled side is never behind, infinite
    where it never catches up.
    """
    paid, saved = compiled.one_time_s - eager.one_time_s, eager.step_time_s - compiled.step_time_s
    if saved <= 0:
        return math.inf if paid > 0 or saved < 0 else 0.0
    return max(0.0, paid / saved)


def ratio_interval(ratios: Sequence[float]) -> tuple[float, Interval | None]:
    """Geometric mean of ratios over repeats, and its 95 % interval: of the mean logarithm."""
    logs = [math.log(ratio) for ratio in ratios]
    interval = mean_interval(logs)
    if interval is None:
        return math.exp(logs[0]), None
    return math.exp(statistics.fmean(logs)), Interval(math.exp(interval.low), math.exp(interval.high), interval.method)


def interaction(
    records: Sequence[CellRecord], ways: tuple[tuple[Cell, Cell], tuple[Cell, Cell]]
) -> tuple[float, Interval | None]:
    """Ratio of ratios: how many times as much compiling speeds up one model as another, repeat by repeat.

    Args:
        ways: (compiled cell, eager cell) of the one model, and of the other.
    """
    speedups = [
        [
            e.image_time_s / c.image_time_s
            for c, e in zip(by_repeat(records, fast), by_repeat(records, slow), strict=True)
        ]
        for fast, slow in ways
    ]
    return ratio_interval([one / other for one, other in zip(*speedups, strict=True)])
