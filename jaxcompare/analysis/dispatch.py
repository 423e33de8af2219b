"""How much of a step is a fixed cost, and below which batch size it is most of it."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from jaxcompare.analysis.contrast import measured
from jaxcompare.analysis.speed import cells_of
from jaxcompare.analysis.statistics import Estimate, Interval, estimate
from jaxcompare.cells import Cell, CellEngine, CellInput
from jaxcompare.config import ModelName, Precision

Way = tuple[ModelName, CellEngine, Precision, CellInput]


@dataclasses.dataclass(frozen=True)
class FixedCost:
    """Time of a step = fixed + per image * batch size, fitted to each repeat.

    Fixed: dispatch, the optimiser's update, all that does not grow with the batch; the fit cannot tell its parts.
    """

    batch_sizes: tuple[int, ...]
    fixed_s: Estimate
    image_s: Estimate
    half_size: Estimate
    """Batch size at which half of a step is the fixed cost; below it, more than half. Infinite, without an interval,
    if a repeat's step does not grow with the batch at all."""
    max_residual: float
    """Largest |fit / time - 1| of any batch size and repeat: scatter, and whether the law holds at all."""


def swept(frame: pd.DataFrame) -> dict[Way, list[Cell]]:
    """Measured cells of several batch sizes, by way; see `several_sizes`."""
    return several_sizes(cells_of(measured(frame)))


def several_sizes(cells: Sequence[Cell]) -> dict[Way, list[Cell]]:
    """Single runs on the device by way, in order of size; of ways with two sizes or more."""
    found: dict[Way, list[Cell]] = {}
    for cell in cells:
        if (cell.on_device, cell.seeds, cell.changes) == (True, 1, ""):
            found.setdefault((cell.model, cell.engine, cell.precision, cell.input), []).append(cell)
    return {way: sorted(some, key=lambda cell: cell.batch_size) for way, some in found.items() if len(some) > 1}


def fixed_cost(frame: pd.DataFrame, cells: Sequence[Cell]) -> FixedCost | None:
    """Fit the time of a step over the batch sizes of cells that differ in nothing else; None of fewer than three.

    By least squares of relative errors, so that the smallest batches count as much as the largest; neither term is less
    than 0.
    """
    if len(cells) < 3:
        return None
    sizes = np.array([cell.batch_size for cell in cells])
    times = np.array([frame[frame.cell == cell].sort_values("repeat").step_time_s for cell in cells]).T
    fits, residuals = [], []
    for steps in times:
        terms = np.stack([1 / steps, sizes / steps], axis=1)
        fit, _ = nnls(terms, np.ones(len(sizes)))
        fits.append(fit)
        residuals.append(np.abs(terms @ fit - 1).max())
    halves = [fixed / image if image > 0 else math.inf for fixed, image in fits]
    return FixedCost(
        tuple(sizes.tolist()),
        _not_negative([fixed for fixed, _ in fits]),
        _not_negative([image for _, image in fits]),
        _not_negative(halves) if np.isfinite(halves).all() else Estimate(math.inf, None),
        float(max(residuals)),
    )


def _not_negative(values: Sequence[float]) -> Estimate:
    """Mean and interval of what cannot be less than 0."""
    found = estimate(values)
    if found.interval is None:
        return found
    return Estimate(found.mean, Interval(max(0.0, found.interval.low), found.interval.high, found.interval.method))
