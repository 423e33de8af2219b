"""How much of a step is a fixed cost, and from which batch size on that no longer matters: records in, numbers out."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from jaxcompare.analysis.speed import by_repeat, cells_of, measured
from jaxcompare.analysis.statistics import Estimate, Interval, estimate
from jaxcompare.cells import Cell, CellRecord, JaxEngine, TorchEngine
from jaxcompare.config import ModelName, Precision


@dataclasses.dataclass(frozen=True)
class FixedCost:
    """Time of a step = fixed + per image * batch size, fitted to each repeat."""

    batch_sizes: tuple[int, ...]
    fixed_s: Estimate
    image_s: Estimate
    half_size: Estimate
    """Batch size at which half of a step is the fixed cost; below it, a step is bound by dispatch. Infinite, without
    an interval, if a repeat's step does not grow with the batch at all."""
    max_residual: float
    """Largest |fit / time - 1| of any batch size and repeat: scatter, and whether the law holds at all."""


def swept(records: Sequence[CellRecord]) -> dict[tuple[ModelName, TorchEngine | JaxEngine, Precision], list[Cell]]:
    """Cells of several batch sizes, in order of size, by model, engine and precision: single runs on device input."""
    found: dict[tuple[ModelName, TorchEngine | JaxEngine, Precision], list[Cell]] = {}
    for cell in cells_of(measured(records)):
        if (cell.input, cell.seeds) == ("device", 1):
            found.setdefault((cell.model, cell.engine, cell.precision), []).append(cell)
    return {way: sorted(cells, key=lambda cell: cell.batch_size) for way, cells in found.items() if len(cells) > 1}


def fixed_cost(records: Sequence[CellRecord], cells: Sequence[Cell]) -> FixedCost | None:
    """Fit the time of a step over the batch sizes of cells that differ in nothing else; None of fewer than three.

    By least squares of relative errors, so that the smallest batches count as much as the largest; neither term is less
    than 0.
    """
    if len(cells) < 3:
        return None
    sizes = np.array([cell.batch_size for cell in cells])
    times = np.array([[record.step_time_s for record in by_repeat(records, cell)] for cell in cells]).T
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
