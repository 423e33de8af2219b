"""When compiling has paid for itself: what is paid once, and the steps that win it back."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from jaxcompare.analysis.contrast import Pair, Ratio, image_times, ratio
from jaxcompare.analysis.speed import best_eager, cells_of, comparable
from jaxcompare.analysis.statistics import Spread
from jaxcompare.cells import Cell


class Cost(NamedTuple):
    """Cumulative time of training is `once_s` + steps * `step_s`."""

    once_s: float
    step_s: float


@dataclasses.dataclass(frozen=True)
class BreakEven:
    """A compiled cell against PyTorch eager at its best. Lists: the medians' first, then each repeat's."""

    cell: Cell
    eager: Cell
    over: Ratio
    """Its time over eager's: whether it catches up at all."""
    costs: Sequence[Cost]
    steps: Sequence[float]
    """After how many the cumulative times meet; infinite: never."""

    @property
    def seconds(self) -> list[float]:
        """Of training until then."""
        return [cost.once_s + n * cost.step_s for cost, n in zip(self.costs, self.steps, strict=True)]

    def reach(self, values: Sequence[float]) -> Spread:
        """The medians' value, and the range of it and each repeat's; decided where the ratio is."""
        return Spread(values[0], min(values), max(values), decided=self.over.direction != 0)


def break_even_steps(compiled: Cost, eager: Cost) -> float:
    """After how many optimiser steps a compiled cell has cost as little as the eager one; 0 where the compiled side is
    never behind, infinite where it never catches up."""
    paid, saved = compiled.once_s - eager.once_s, eager.step_s - compiled.step_s
    if saved <= 0:
        return math.inf if paid > 0 or saved < 0 else 0.0
    return max(0.0, paid / saved)


def costs_of(frame: pd.DataFrame, cell: Cell) -> list[Cost]:
    """The medians over repeats, then each repeat's."""
    rows = frame[frame.cell == cell].sort_values("repeat")[["one_time_s", "step_time_s"]]
    return [Cost(*rows.median()), *(Cost(*row) for row in rows.itertuples(index=False))]


def break_evens(frame: pd.DataFrame) -> list[BreakEven]:
    """Of each compiled way, on input that holds nothing of the host's pipelines."""
    frame = comparable(frame)
    times, found = image_times(frame), []
    for cell in (cell for cell in cells_of(frame) if cell.compiled):
        if eager := best_eager(frame, cell):
            costs = costs_of(frame, cell)
            steps = [break_even_steps(*pair) for pair in zip(costs, costs_of(frame, eager), strict=True)]
            found.append(BreakEven(cell, eager, ratio(times, Pair("", "", (cell,), (eager,))), costs, steps))
    return found
