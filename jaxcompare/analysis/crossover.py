"""Over training-set sizes: who is shown ahead where, between which sizes the lead changes, and at about which size."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxcompare.analysis.statistics import LEVEL, Interval, check_table, half_width, seed_mean
from jaxcompare.config import ModelName

GRID = 64
"""Steps between neighbouring sizes at which a crossover's interval is looked for."""


class Change(NamedTuple):
    """A change of lead, somewhere between two sizes in images."""

    after: float
    by: float
    leader: ModelName
    """From then on."""


@dataclasses.dataclass(frozen=True)
class Crossover:
    """Leads and their changes, right for all sizes together with 95 %."""

    leads: tuple[ModelName | None, ...]
    """At each size; None: not shown, as everywhere with one seed."""
    changes: tuple[Change, ...]
    """In order. Sizes at which nothing is shown count as nothing."""
    size: float | None
    """In images, where the lead changes. None unless one change is shown, in which the mean log error turns too."""
    interval: Interval | None
    """Of `size`, within the change's two sizes."""


def crossover_size(sizes: Sequence[float], cnn_errors: ArrayLike, vit_errors: ArrayLike) -> Crossover:
    """Who is shown ahead at each size, between which sizes the lead changes, and where, if it changes once.

    A lead is shown by Student's t of the paired differences, corrected for the number of sizes (Bonferroni). Where one
    model is shown ahead at a size and the other at a later one, the lead changes between the two: that assumes nothing
    but that the expected errors change continuously with size.

    Where in between: each seed's log error is linear in log(size) between neighbouring sizes, which is exact for power
    laws. The interval inverts the t test, widened by the most that a second derivative as large as the mean curve's
    second divided difference could bend it away from those lines, outwards to the next of 64 steps.

    Coverage of that interval, simulated with 3 and 5 sizes, 5 and 10 seeds: 96 to 99 % where errors follow power laws;
    95 to 99 % where they saturate mildly (c + a n**-b, c of 0.05 and 0.15). It is not a 95 % interval whatever the
    curves: 72 to 100 % where accuracies are linear in log(size), 79 to 100 % of strongly saturating errors, and next to
    none of a curve that levels off just beyond the crossover between two sizes far apart, of which no size tells.

    Args:
        sizes: Training images, increasing, at least two.
        cnn_errors: (seeds, sizes) test errors, fractions above 0.
        vit_errors: (seeds, sizes) the same, paired by seed.

    Raises:
        ValueError: too few sizes, sizes not increasing, shapes that do not fit, or errors of 0 or not finite.
    """
    (images, cnn), (_, vit) = (check_table(sizes, errors, least=2) for errors in (cnn_errors, vit_errors))
    if cnn.shape != vit.shape:
        raise ValueError(f"paired errors must be of the same seeds, not of {len(cnn)} and {len(vit)}")
    if (cnn <= 0).any() or (vit <= 0).any():
        raise ValueError("an error of 0 has no logarithm: count half a wrong image more")
    leads, logs = _shown_leads(vit - cnn), np.log(vit) - np.log(cnn)
    shown = [(float(size), lead) for size, lead in zip(images, leads, strict=True) if lead]
    changes = tuple(Change(after, by, new) for (after, old), (by, new) in itertools.pairwise(shown) if new != old)
    size, interval = _locate(images, logs, changes[0]) if len(changes) == 1 else (None, None)
    return Crossover(leads, changes, size, interval)


def _shown_leads(rows: np.ndarray) -> tuple[ModelName | None, ...]:
    """At each size who is ahead by Student's t, right for all sizes together: (seeds, sizes) CNN's lead."""
    seeds, sizes = rows.shape
    if seeds == 1:
        return (None,) * sizes
    mean, half = seed_mean(rows), half_width(rows, 1 - (1 - LEVEL) / sizes)
    return tuple("cnn" if m > h else "vit" if m < -h else None for m, h in zip(mean, half, strict=True))


def _locate(sizes: np.ndarray, logs: np.ndarray, change: Change) -> tuple[float | None, Interval | None]:
    """Where the mean of the CNN's lead in log error turns last within a change's sizes, and the interval of that."""
    within = sizes[(sizes >= change.after) & (sizes <= change.by)]
    grid = np.unique(np.concatenate([np.geomspace(a, b, GRID + 1) for a, b in itertools.pairwise(within)]))
    curves = np.stack([np.interp(np.log(grid), np.log(sizes), row) for row in logs])
    mean = seed_mean(curves) * (1 if change.leader == "cnn" else -1)  # the new leader's lead
    turns = np.flatnonzero((mean[:-1] <= 0) & (mean[1:] > 0))
    if not turns.size:
        return None, None
    turn = int(turns[-1])
    size = float(grid[turn] * (grid[turn + 1] / grid[turn]) ** (mean[turn] / (mean[turn] - mean[turn + 1])))
    holds = np.flatnonzero(np.abs(mean) <= half_width(curves) + _bend(sizes, seed_mean(logs), grid))
    # Without scatter no step of the grid may hold 0, but those around the turn do.
    low, high = max(holds.min(initial=turn + 1) - 1, 0), min(holds.max(initial=turn) + 1, len(grid) - 1)
    method = f"inverted t test widened by the bend, {len(logs)} seeds"
    return size, Interval(float(grid[low]), float(grid[high]), method)


def _bend(sizes: np.ndarray, mean: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """How far a curve through the means may lie from the lines between them: (grid,). None to be seen of two sizes.

    Source: the error of linear interpolation, f'' / 2 (x - x0) (x - x1), with second divided differences for f'' / 2.
    """
    if len(sizes) < 3:
        return np.zeros(len(grid))
    x = np.log(sizes)
    second = np.abs(np.diff(np.diff(mean) / np.diff(x)) / (x[2:] - x[:-2]))
    largest = np.maximum(np.append(second, 0), np.append(0, second))  # of the two that an inner gap has
    gap = np.clip(np.searchsorted(sizes, grid, side="right") - 1, 0, len(sizes) - 2)
    return largest[gap] * np.abs((np.log(grid) - x[gap]) * (np.log(grid) - x[gap + 1]))
