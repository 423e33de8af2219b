"""What of a speed-up is the input pipeline, the library, compilation, dispatch: cell records in, numbers out."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxcompare.analysis.speed import Ratio, cells_of, groups, image_times, main_batch_size, measured, ratio_interval
from jaxcompare.analysis.statistics import Estimate, estimate
from jaxcompare.cells import Cell, CellRecord
from jaxcompare.config import ModelName, Precision

STAGES = ("input pipeline", "library", "compilation", "dispatch")
"""What changes from a cell of the path to the next. Input pipeline: batches are there before the clock starts. Library:
JAX's operations one by one in place of PyTorch's one by one. Compilation: one program a step in place of JAX's
operations; it makes its batches itself. Dispatch: one call an epoch in place of one a step."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """A step of the path from the recipe's loop to JAX's program of a whole epoch."""

    name: str
    before: Cell
    after: Cell
    factor: Ratio
    """Time before over time after."""
    share: Estimate | None
    """Of the logarithm of the whole: negative where the stage goes against it, above 1 where others do. None: not
    stated, since the whole is not shown to differ from 1."""


@dataclasses.dataclass(frozen=True)
class Attribution:
    """A speed-up taken apart."""

    model: ModelName
    precision: Precision
    total: Ratio
    """The first cell's time over the last one's."""
    stages: tuple[Stage, ...]

    @property
    def stated(self) -> bool:
        """Whether there is a speed-up, or a slow-down, to have shares of."""
        return self.total.direction != 0


def attribution(
    records: Sequence[CellRecord], model: ModelName, precision: Precision, batch_size: int
) -> Attribution | None:
    """Take the speed-up from PyTorch's own loop on the recipe's input to JAX's program of an epoch apart, in
    logarithms, where factors add. None if a cell of the path was not measured.

    In logarithms the shares add up to 1, and the order in which the factors are multiplied does not matter. They belong
    to this path all the same: with other cells between the same ends they could be others. A share is the ratio of two
    means over repeats; its interval is that of the ratio, linearised (Taylor).
    """
    path = [
        Cell(model, "eager", "recipe", precision, batch_size),
        Cell(model, "eager", "device", precision, batch_size),
        Cell(model, "op", "device", precision, batch_size),
        Cell(model, "step", "device", precision, batch_size),
        Cell(model, "epoch", "device", precision, batch_size),
    ]
    records = measured(records)
    if not set(path) <= set(cells_of(records)):
        return None
    logs = np.log([image_times(records, cell) for cell in path])
    totals, factors = logs[0] - logs[-1], logs[:-1] - logs[1:]
    total = ratio_interval(np.exp(totals).tolist())
    stages = []
    for name, before, after, factor in zip(STAGES, path, path[1:], factors, strict=False):
        share = None
        if total.direction:
            middle = factor.mean() / totals.mean()
            share = estimate((middle + (factor - middle * totals) / totals.mean()).tolist())
        stages.append(Stage(name, before, after, ratio_interval(np.exp(factor).tolist()), share))
    return Attribution(model, precision, total, tuple(stages))


def attributions(records: Sequence[CellRecord]) -> list[Attribution]:
    """Of each model and precision whose path was measured at the main batch size."""
    size = main_batch_size(records)
    found = (attribution(records, model, precision, size) for model, precision in groups(measured(records)))
    return [one for one in found if one]
