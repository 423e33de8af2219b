"""What of a speed-up is the input pipeline, the library, compilation, this package's step, dispatch: cell records in,
numbers out."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxcompare.analysis.speed import Ratio, best, cells_of, groups, image_times, measured, time_ratio
from jaxcompare.analysis.statistics import Interval, mean_interval
from jaxcompare.cells import RECIPE_STEPS, Cell, CellRecord
from jaxcompare.config import ModelName, Precision

STAGES = ("input pipeline", "library", "compilation", "slices and cores", "dispatch")
"""What changes from a cell of the path to the next. Input pipeline: batches are there before the clock starts. Library:
JAX's operations one by one, traced once, in place of PyTorch's one by one. Compilation: plain jit, one program a step,
in place of the same operations. Slices and cores: this package's step in its place, which sums over slices, has a
device for each core, takes convolutions as matrix products on CPUs, and makes its batches itself. Dispatch: one call an
epoch in place of one a step."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """A step of the path from the recipe's loop to JAX's program of a whole epoch, or one beside it."""

    name: str
    before: Cell
    after: Cell
    factor: Ratio
    """Time before over time after."""
    share: Ratio | None
    """Of the logarithm of the whole: negative where the stage goes against it, above 1 where others do. None: not
    stated, since the whole is not shown to differ from 1, or the stage is none of the path's."""


@dataclasses.dataclass(frozen=True)
class Attribution:
    """A speed-up taken apart."""

    model: ModelName
    precision: Precision
    total: Ratio
    """The first cell's time over the last one's."""
    stages: tuple[Stage, ...]
    beside: tuple[Stage, ...]
    """What is no part of the path: the best of PyTorch, Python's tracing of every step, dispatch over long epochs."""

    @property
    def stated(self) -> bool:
        """Whether there is a speed-up, or a slow-down, to have shares of."""
        return self.total.direction != 0


def attribution(records: Sequence[CellRecord], model: ModelName, precision: Precision) -> Attribution | None:
    """Take the speed-up from PyTorch's own loop on the recipe's input to JAX's program of an epoch apart, in
    logarithms, where factors add. None if a cell of the path was not measured.

    In logarithms the shares add up to 1, and the order in which the factors are multiplied does not matter. They belong
    to this path all the same: with other cells between the same ends they could be others. A share is a ratio of
    medians' differences; its interval is that of the ratio of means over repeats, linearised (Taylor), and holds it.
    """
    last = Cell(model, "epoch", "device", precision, records[0].cell.batch_size)
    first = dataclasses.replace(last, engine="eager", input="recipe")
    path = [first, *(dataclasses.replace(last, engine=engine) for engine in ("eager", "traced", "jit", "step")), last]
    records = measured(records)
    if not set(path) <= set(cells_of(records)):
        return None
    total = time_ratio(records, path[0], path[-1])
    stages = []
    for name, before, after in zip(STAGES, path, path[1:], strict=False):
        share = _share(records, (before, after), (path[0], path[-1])) if total.direction else None
        stages.append(Stage(name, before, after, time_ratio(records, before, after), share))
    return Attribution(model, precision, total, tuple(stages), _beside(records, path))


def _beside(records: Sequence[CellRecord], path: Sequence[Cell]) -> tuple[Stage, ...]:
    """As far as they were measured."""
    first, last = path[0], path[-1]
    op, traced = (dataclasses.replace(last, engine=engine) for engine in ("op", "traced"))
    step, epoch = (dataclasses.replace(cell, control="long-epochs") for cell in path[-2:])
    pairs = (
        ("the best of PyTorch", first, best(records, last, "torch")),
        ("tracing in Python", op, traced),
        (f"dispatch, {RECIPE_STEPS} steps an epoch", step, epoch),
    )
    cells = cells_of(records)
    return tuple(
        Stage(name, before, after, time_ratio(records, before, after), None)
        for name, before, after in pairs
        if after and {before, after} <= set(cells)
    )


def _share(records: Sequence[CellRecord], stage: tuple[Cell, Cell], whole: tuple[Cell, Cell]) -> Ratio:
    """A stage's logarithm over the whole's; each is (cell before, cell after)."""
    logs = {cell: np.log(image_times(records, cell)) for cell in (*stage, *whole)}
    factors, totals = (logs[before] - logs[after] for before, after in (stage, whole))
    factor, total = (np.median(logs[before]) - np.median(logs[after]) for before, after in (stage, whole))
    share = float(factor / total)
    interval = mean_interval((share + (factors - share * totals) / total).tolist())
    if interval is None:
        return Ratio(share, None)
    return Ratio(share, Interval(min(interval.low, share), max(interval.high, share), interval.method))


def attributions(records: Sequence[CellRecord]) -> list[Attribution]:
    """Of each model and precision whose path was measured in the matrix."""
    found = (attribution(records, model, precision) for model, precision in groups(measured(records)))
    return [one for one in found if one]
