"""Intervals over seeds; the training-set size at which the ViT catches up with the CNN; power laws of the error."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

LEVEL = 0.95
"""Nominal coverage of every interval."""

BOOTSTRAP_FROM = 5
"""Seeds. Even from the least to the greatest of n values, coverage is 1 - 2**(1 - n): 87.5 % of four."""

RESAMPLES = 9_999

GRID = 64
"""Steps between neighbouring sizes at which a crossover's interval is looked for."""

REACH = 1_000
"""Times the largest size measured: as far as a crossover is extrapolated."""


@dataclasses.dataclass(frozen=True)
class Interval:
    """A 95 % interval, and for a reader how it was made."""

    low: float
    high: float
    method: str


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over seeds. Without an interval: one seed."""

    mean: float
    interval: Interval | None

    @property
    def sign(self) -> Literal[-1, 0, 1] | None:
        """Of a difference: which way it is shown to lie, at the 95 % level; 0: not shown; None: one seed."""
        if self.interval is None:
            return None
        return 1 if self.interval.low > 0 else -1 if self.interval.high < 0 else 0


@dataclasses.dataclass(frozen=True)
class Crossover:
    """The training-set size from which on the CNN is no longer ahead of the ViT. All sizes are in images."""

    size: float
    """0: not ahead at any size looked at; infinite: still ahead at the largest."""
    interval: Interval | None
    """A low of 0: may be at or below the smallest size looked at; an infinite high: may be beyond the largest; both 0,
    or both infinite: is there. None with one seed."""
    reversals: tuple[float, ...]
    """Where the mean difference turns the other way, and the CNN takes the lead or takes it back; increasing."""


@dataclasses.dataclass(frozen=True)
class PowerLaw:
    """error(size) = a * size**-b: the mean over seeds of straight lines in log-log."""

    a: float
    """Without an interval: it is the line at one image, far from all data, and goes where `b` goes."""
    b: float
    b_interval: Interval | None
    """None with one seed."""
    max_residual: float
    """Largest |log(error / fit)| of the seeds' geometric mean error: 0.05 is 5 % off. It speaks of the law's form, not
    of the scatter between seeds."""


def interval_method(count: int, of: str = "seeds") -> str:
    """How the 95 % interval of so many values is made, as a person reads it."""
    kind = "Student's t" if count < BOOTSTRAP_FROM else "expanded percentile bootstrap"
    return f"{kind}, {count} {of}"


def mean_interval(values: Sequence[float]) -> Interval | None:
    """The 95 % interval of the mean over seeds; None for a single value.

    From five values on the percentile bootstrap at Hesterberg's expanded level; of fewer, Student's t. The order of the
    values does not matter, to the last bit; equal values give zero width.

    Coverage, simulated (standard error 0.3 %), of normal and of exponential values: 95 % and 88 % with three; 92 % and
    87 % with five, whose resamples hardly reach further (the plain percentile: 85 % and 77 %); 95 % and 91 % with ten.

    Raises:
        ValueError: no value, or one that is not finite.

    Source: Hesterberg 2015, What Teachers Should Know About the Bootstrap, The American Statistician 69(4).
    """
    row = np.asarray(values, dtype=float)
    if row.ndim != 1 or not row.size or not np.isfinite(row).all():
        raise ValueError(f"values over seeds must be one or more finite numbers, not {values}")
    if row.size == 1:
        return None
    low, high = _mean_intervals(row[None])
    return Interval(float(low[0]), float(high[0]), interval_method(row.size))


def contrast_of_medians(rows: ArrayLike, signs: Sequence[int]) -> tuple[float, Interval | None]:
    """Medians over repeats, added up with their signs, and the 95 % interval of that sum; None for a single repeat.

    From five repeats on the percentile bootstrap at Hesterberg's expanded level, which draws whole repeats. Of five it
    covers 94 % at most, since a median's interval is then from the least to the greatest, and of fewer much less: of
    those, Student's t for the mean over repeats of the same sum, which is the sum of medians where scatter is as likely
    up as down. The interval holds the value; the order of repeats does not matter.

    Args:
        rows: (terms, repeats); what stands in one column belongs together.
        signs: (terms,) each 1 or -1.

    Raises:
        ValueError: no repeat, signs that are not one a row, or a value that is not finite.
    """
    table, weights = np.asarray(rows, dtype=float), np.asarray(signs)
    if table.ndim != 2 or not table.size or weights.shape != table.shape[:1] or not np.isfinite(table).all():
        raise ValueError(f"repeats must be one or more finite numbers a term, and one sign a term, not {rows}, {signs}")
    table, repeats = table[:, np.lexsort(table)], table.shape[1]
    value = float(weights @ np.median(table, axis=1))
    if repeats == 1:
        return value, None
    if repeats < BOOTSTRAP_FROM:
        lows, highs = _mean_intervals((weights @ table)[None])
        low, high = float(lows[0]), float(highs[0])
    else:
        found = stats.bootstrap(
            table,
            lambda *terms, axis: sum(sign * np.median(term, axis) for sign, term in zip(signs, terms, strict=True)),
            paired=True,
            n_resamples=RESAMPLES,
            confidence_level=1 - 2 * _expanded_tail(repeats),
            method="percentile",
            rng=0,
        ).confidence_interval
        low, high = float(found.low), float(found.high)
    return value, Interval(min(low, value), max(high, value), interval_method(repeats, "repeats"))


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and interval over seeds."""
    return Estimate(float(np.mean(np.sort(values))), mean_interval(values))


def crossover_size(sizes: Sequence[float], differences: ArrayLike) -> Crossover:
    """Where the ViT catches up for good: the last size at which the mean difference turns from > 0 to <= 0.

    Between sizes, each seed's difference is linear in log(size). The interval inverts the test, as Fieller's does: it
    spans the sizes at which `mean_interval` of the differences holds 0, outwards to the next of 64 steps between
    measured sizes, and is open at an end that this span reaches. If the CNN is shown ahead at every size, both ends
    are infinite; if the ViT is, both are 0.

    Of a difference that changes its sign more than once, that span would hold every turn. Hence it starts no earlier
    than the last measured size at which the CNN is shown ahead by Student's t, corrected for the number of sizes
    (Bonferroni): if that is the largest, both ends are infinite, however it began. The interval holds the estimate.

    Coverage, simulated with normal scatter: three or four seeds, 96 % or more, even where the models are level from
    some size on, or throughout; five, 93 to 95 %.

    Args:
        sizes: Training images, increasing, at least two.
        differences: (seeds, sizes) CNN minus ViT, paired by seed, of a score of which more is better.

    Raises:
        ValueError: too few sizes, sizes not increasing, shapes that do not fit, or numbers that are not finite.
    """
    images, rows = _checked(sizes, differences, least=2)
    size, reversals = _turns(images, _seed_mean(rows))
    if len(rows) == 1:
        return Crossover(size, None, reversals)
    low, high = _crossover_bounds(images, rows)
    # Without scatter between seeds, the bounds and the estimate may differ by a rounding.
    interval = Interval(min(low, size), max(high, size), f"inverted test, {interval_method(len(rows))}")
    return Crossover(size, interval, reversals)


def extrapolated_crossover(sizes: Sequence[float], cnn_errors: ArrayLike, vit_errors: ArrayLike) -> Crossover | None:
    """Where the ViT's power law meets the CNN's beyond the largest size measured: an extrapolation.

    It holds only if both laws go on as they were: the interval knows the scatter between seeds, not whether the laws
    are right. As `crossover_size` of the logarithms of the fitted errors, from the largest size measured to 1,000 times
    it; None if the CNN's mean line is nowhere lower in that range, and there is nothing to catch up with. A low of 0:
    the lines may have met within the sizes measured.

    Args:
        sizes: Training images, increasing, at least three.
        cnn_errors: (seeds, sizes) test errors, fractions above 0.
        vit_errors: (seeds, sizes) the same, paired by seed.

    Raises:
        ValueError: as `fit_power_law`, or the two differ in shape.
    """
    cnn, vit = (_log_lines(*_checked(sizes, errors, least=3)) for errors in (cnn_errors, vit_errors))
    if cnn.shape != vit.shape:
        raise ValueError(f"paired errors must be of the same seeds, not of {len(cnn)} and {len(vit)}")
    # A straight line needs no point but its ends; more of them make the interval's grid finer.
    beyond = np.geomspace(sizes[-1], REACH * sizes[-1], 4)
    slope, intercept = (vit - cnn).T[:, :, None]
    crossover = crossover_size(beyond.tolist(), slope * np.log(beyond) + intercept)
    return crossover if crossover.size > 0 else None


def fit_power_law(sizes: Sequence[float], errors: ArrayLike) -> PowerLaw:
    """Fit error = a * size**-b to each seed by least squares in log-log, and take the mean of the coefficients.

    Args:
        sizes: Training images, increasing, at least three: two are fitted exactly, and check nothing.
        errors: (seeds, sizes) test errors, fractions above 0.

    Raises:
        ValueError: too few sizes, sizes not increasing, shapes that do not fit, or an error that is 0 or not finite.

    Source: Hestness et al. 2017, Deep Learning Scaling is Predictable, Empirically, arXiv:1712.00409.
    """
    images, rows = _checked(sizes, errors, least=3)
    lines = _log_lines(images, rows)
    slope, intercept = _seed_mean(lines)
    residuals = _seed_mean(np.log(rows)) - (slope * np.log(images) + intercept)
    b_interval = mean_interval((-lines[:, 0]).tolist())
    return PowerLaw(math.exp(intercept), -float(slope), b_interval, float(np.abs(residuals).max()))


def _mean_intervals(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ends, each (rows,), of the 95 % interval of each row's mean: (rows, seeds), two seeds or more."""
    # Sorted, so that the order of the seeds cannot matter; from 0 on, so that equal values have exactly zero width.
    rows = np.sort(rows, axis=1)
    least, seeds = rows[:, 0], rows.shape[1]
    rows = rows - least[:, None]
    if seeds < BOOTSTRAP_FROM:
        middle, half = least + rows.mean(axis=1), _students_t(seeds) * stats.sem(rows, axis=1)
        return middle - half, middle + half
    found = stats.bootstrap(
        (rows,),
        np.mean,
        axis=1,
        n_resamples=RESAMPLES,
        batch=max(1, 4_000_000 // rows.size),  # 32 MB of resampled values at a time
        confidence_level=1 - 2 * _expanded_tail(seeds),
        method="percentile",
        rng=0,
    ).confidence_interval
    return least + found.low, least + found.high


def _students_t(count: int) -> float:
    return float(stats.t.ppf((1 + LEVEL) / 2, count - 1))


def _expanded_tail(count: int) -> float:
    """Hesterberg's: resampled values vary by (n - 1) / n too little, and the normal's tails stand in for t's."""
    return float(stats.norm.cdf(-math.sqrt(count / (count - 1)) * _students_t(count)))


def _turns(sizes: np.ndarray, mean: np.ndarray) -> tuple[float, tuple[float, ...]]:
    """Where the mean difference last turns from > 0 to <= 0 (0: never > 0; infinite: still is), and where to > 0."""
    ahead = mean > 0

    def zero_after(k: int) -> float:
        """Between the k-th size and the next, the mean being linear in log(size)."""
        return float(sizes[k] * (sizes[k + 1] / sizes[k]) ** (mean[k] / (mean[k] - mean[k + 1])))

    reversals = tuple(zero_after(k) for k in np.flatnonzero(~ahead[:-1] & ahead[1:]).tolist())
    if ahead[-1]:
        return math.inf, reversals
    return zero_after(int(np.flatnonzero(ahead)[-1])) if ahead.any() else 0.0, reversals


def _crossover_bounds(sizes: np.ndarray, differences: np.ndarray) -> tuple[float, float]:
    """The ends of the interval of `crossover_size`: (sizes,), (seeds, sizes)."""
    steps = [np.geomspace(start, end, GRID + 1) for start, end in itertools.pairwise(sizes)]
    grid = np.unique(np.concatenate(steps))
    curves = np.stack([np.interp(np.log(grid), np.log(sizes), row) for row in differences], axis=1)
    lows, highs = _mean_intervals(curves)
    not_ahead, not_behind = np.flatnonzero(lows <= 0), np.flatnonzero(highs >= 0)
    # Each bound is the neighbour on the outer side; beyond the grid's ends lie 0 and infinity.
    edges = np.concatenate([[0.0], grid, [math.inf]])
    low = edges[not_ahead[0]] if not_ahead.size else math.inf
    high = edges[not_behind[-1] + 2] if not_behind.size else 0.0
    # Corrected, since this asks for the last of several sizes, any of which may be shown ahead by chance.
    seeds = len(differences)
    t = stats.t.ppf(1 - (1 - LEVEL) / 2 / len(sizes), seeds - 1)
    surely_ahead = _seed_mean(differences) > t * stats.sem(np.sort(differences, axis=0), axis=0)
    low = max(low, np.append(sizes[:-1], math.inf)[surely_ahead].max(initial=0.0))
    return float(low), float(high)


def _log_lines(sizes: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """(seeds, 2): slope and intercept of each seed's log(error) over log(size)."""
    if (errors <= 0).any():
        raise ValueError("an error of 0 has no logarithm: leave that size out, or measure on more test images")
    return np.stack([np.polyfit(np.log(sizes), np.log(row), 1) for row in errors])


def _seed_mean(rows: np.ndarray) -> np.ndarray:
    """The mean over the first axis, the same to the last bit whatever the order of the seeds."""
    return np.sort(rows, axis=0).mean(axis=0)


def _checked(sizes: Sequence[float], rows: ArrayLike, *, least: int) -> tuple[np.ndarray, np.ndarray]:
    """As arrays, (sizes,) and (seeds, sizes), or a ValueError that says what is wrong."""
    images, table = np.asarray(sizes, dtype=float), np.asarray(rows, dtype=float)
    if images.ndim != 1 or len(images) < least:
        raise ValueError(f"at least {least} training-set sizes are needed, not {sizes}")
    if not np.isfinite(images).all() or images[0] <= 0 or (np.diff(images) <= 0).any():
        raise ValueError(f"training-set sizes must be positive and increasing, not {sizes}")
    if table.ndim != 2 or not len(table) or table.shape[1] != len(images):
        raise ValueError(f"a row per seed of {len(images)} values, one per size, is needed, not shape {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("a value is NaN or infinite: leave out the seeds that diverged")
    return images, table
