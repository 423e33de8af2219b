"""Intervals over seeds, and tests of equivalence."""

import bisect
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

LEVEL = 0.95
"""Nominal coverage of an interval, where nothing else is said."""

BOOTSTRAP_FROM = 10
"""Seeds. Of fewer, resamples do not reach far enough: of five normal values the bootstrap covers 92 %, t 95 %."""

RESAMPLES = 9_999

TOST_LEVEL = 0.9
"""Of the interval that two one-sided tests at 5 % come to."""

POWER = 0.8
"""With which equivalence should be shown where there is no difference."""


@dataclasses.dataclass(frozen=True)
class Interval:
    """An interval, of 95 % where nothing else is said, and for a reader how it was made."""

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
class Spread:
    """A middle (the median where nothing else is said), the least and the greatest value."""

    middle: float
    low: float
    high: float
    decided: bool = True
    """Whether what it says is shown by an interval elsewhere."""


def spread(values: Sequence[float]) -> Spread | None:
    """Of what was measured; None of nothing."""
    found = pd.array(list(values), dtype="Float64").dropna().to_numpy(float)
    return Spread(float(np.median(found)), found.min(), found.max()) if found.size else None


@dataclasses.dataclass(frozen=True)
class Equivalence:
    """Whether a mean difference is shown to lie within a margin, on both sides of 0."""

    mean: float
    interval: Interval | None
    """Of 90 %, which decides; None with one seed."""
    verdict: Literal["shown", "not shown", "excluded", "not tested"]
    """Excluded: shown to lie outside."""


def interval_method(count: int, of: str = "seeds") -> str:
    """How the 95 % interval of so many values is made, as a person reads it."""
    kind = "Student's t" if count < BOOTSTRAP_FROM else "expanded percentile bootstrap"
    return f"{kind}, {count} {of}"


def mean_interval(values: Sequence[float]) -> Interval | None:
    """The 95 % interval of the mean over seeds; None for a single value.

    From ten values on the percentile bootstrap at Hesterberg's expanded level; of fewer, Student's t. The order of the
    values does not matter, to the last bit; equal values give zero width. Coverage, simulated (standard error 0.3 %),
    of normal and of exponential values: 95 % and 88 % with three and with five, 95 % and 90 % with nine and ten.

    Raises:
        ValueError: no value, or one that is not finite.

    Source: Hesterberg 2015, What Teachers Should Know About the Bootstrap, The American Statistician 69(4).
    """
    row = _finite_row(values)
    if row.size == 1:
        return None
    return Interval(*_ends_of_mean(row), interval_method(row.size))


def contrast_of_medians(rows: ArrayLike, signs: Sequence[int]) -> tuple[float, Interval | None]:
    """Medians over repeats, added up with their signs, and the 95 % interval of that sum; None for a single repeat.

    From ten repeats on the percentile bootstrap at Hesterberg's expanded level, which draws whole repeats. Of fewer it
    would cover too little (of five 94 % at most), so there Student's t for the mean over repeats of the same sum, which
    is the sum of medians where scatter is as likely up as down, widened to hold the value. Order does not matter.

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
        low, high = _ends_of_mean(weights @ table)
    else:

        def contrast(*terms: np.ndarray, axis: int) -> Any:
            return sum(sign * np.median(term, axis) for sign, term in zip(signs, terms, strict=True))

        low, high = _bootstrap(list(table), contrast)
    return value, Interval(min(low, value), max(high, value), interval_method(repeats, "repeats"))


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and interval over seeds."""
    return Estimate(float(np.mean(np.sort(values))), mean_interval(values))


def estimate_fraction(values: Sequence[float]) -> Estimate:
    """The same of fractions: without the part of the interval that none can have."""
    found = estimate(values)
    if found.interval is None:
        return found
    low, high = max(0.0, found.interval.low), min(1.0, found.interval.high)
    return dataclasses.replace(found, interval=dataclasses.replace(found.interval, low=low, high=high))


def find_equivalence(differences: Sequence[float], margin: float) -> Equivalence:
    """Two one-sided t tests, each at 5 %: is the mean of paired differences above -margin, and is it below +margin?

    Both are shown exactly where Student's 90 % interval lies within. One seed tests nothing.

    Args:
        differences: One a seed, paired.
        margin: Set before the data, above 0, in the same unit.

    Raises:
        ValueError: no difference, or one that is not finite.

    Source: Schuirmann 1987, A comparison of the two one-sided tests procedure and the power approach, Journal of
    Pharmacokinetics and Biopharmaceutics 15(6).
    """
    row = _finite_row(differences)
    mean, seeds = float(np.mean(np.sort(row))), row.size
    if seeds == 1:
        return Equivalence(mean, None, "not tested")
    half = float(half_width(row, TOST_LEVEL))
    interval = Interval(mean - half, mean + half, f"Student's t, {seeds} seeds")
    if -margin < interval.low and interval.high < margin:
        return Equivalence(mean, interval, "shown")
    return Equivalence(mean, interval, "excluded" if max(interval.low, -interval.high) > margin else "not shown")


def seeds_needed(differences: Sequence[float], margin: float) -> int:
    """The fewest pairs, scattered as these, of which equivalence is shown with 80 % power if there is no difference.

    Of n pairs with standard deviation S equivalence is shown where |mean| < margin - t S / sqrt(n), t Student's
    one-sided 95 %. Its probability is the mean over S, chi-squared, of 2 Phi(that over scatter / sqrt(n)) - 1.

    Args:
        differences: One a seed, paired, two or more.
        margin: Above 0, in the same unit.

    Source: Phillips 1990, Power of the two one-sided tests procedure in bioequivalence, Journal of Pharmacokinetics and
    Biopharmaceutics 18(2).
    """
    scatter = float(np.std(_finite_row(differences), ddof=1))
    if scatter == 0:
        return 2
    middles = (np.arange(2_000) + 0.5) / 2_000

    def power(pairs: int) -> float:
        found = np.sqrt(stats.chi2.ppf(middles, pairs - 1) / (pairs - 1))
        reach = margin / scatter * math.sqrt(pairs) - stats.t.ppf((1 + TOST_LEVEL) / 2, pairs - 1) * found
        return float(np.mean(np.maximum(0, 2 * stats.norm.cdf(reach) - 1)))

    counts = range(2, 1_000_000)
    return counts[bisect.bisect_left(counts, POWER, key=power)]


def half_width(rows: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Half of Student's interval of the mean over the first axis, two seeds or more, whatever their order."""
    return _students_t(len(rows), level) * stats.sem(np.sort(rows, axis=0), axis=0)


def _ends_of_mean(row: np.ndarray) -> tuple[float, float]:
    """Of the 95 % interval of the mean of two values or more."""
    # Sorted, so that the order of the seeds cannot matter; from 0 on, so that equal values have exactly zero width.
    least = row.min()
    row = np.sort(row) - least
    if row.size < BOOTSTRAP_FROM:
        middle, half = least + row.mean(), half_width(row)
        return float(middle - half), float(middle + half)
    found = _bootstrap([row], np.mean)
    return float(least + found.low), float(least + found.high)


def _bootstrap(rows: Sequence[np.ndarray], statistic: Callable) -> Any:
    """Hesterberg's expanded percentile interval of a statistic of rows that are resampled together."""
    count = len(rows[0])
    # Resampled values vary by (n - 1) / n too little, and the normal's tails stand in for t's.
    tail = float(stats.norm.cdf(-math.sqrt(count / (count - 1)) * _students_t(count)))
    how = {"n_resamples": RESAMPLES, "confidence_level": 1 - 2 * tail, "method": "percentile", "rng": 0}
    return stats.bootstrap(rows, statistic, paired=True, **how).confidence_interval


def _students_t(count: int, level: float = LEVEL) -> float:
    return float(stats.t.ppf((1 + level) / 2, count - 1))


def seed_mean(rows: np.ndarray) -> np.ndarray:
    """The mean over the first axis, the same to the last bit whatever the order of the seeds."""
    return np.sort(rows, axis=0).mean(axis=0)


def _finite_row(values: Sequence[float]) -> np.ndarray:
    row = np.asarray(values, dtype=float)
    if row.ndim != 1 or not row.size or not np.isfinite(row).all():
        raise ValueError(f"values over seeds must be one or more finite numbers, not {values}")
    return row


def check_table(sizes: Sequence[float], rows: ArrayLike, *, least: int) -> tuple[np.ndarray, np.ndarray]:
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
