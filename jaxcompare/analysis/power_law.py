"""Power laws of the error over the number of training images."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from jaxcompare.analysis.statistics import Estimate, Interval, check_table, estimate, mean_interval, seed_mean


@dataclasses.dataclass(frozen=True)
class PowerLaw:
    """error(size) = a * size**-b: the mean over seeds of straight lines in log-log."""

    a: float
    """At one image, far from all data: it goes where `b` goes, and has no interval."""
    b: float
    b_interval: Interval | None
    """None with one seed."""
    max_residual: float
    """Largest |log(error / fit)| of the seeds' geometric mean error: of the law's form, not of the seeds' scatter."""
    forecast: Estimate | None
    """The largest size's error as the other sizes' law has it, over that measured, less 1; over seeds. None below four
    sizes."""

    @property
    def exponent(self) -> Estimate:
        """`b` with its interval."""
        return Estimate(self.b, self.b_interval)


def fit_power_law(sizes: Sequence[float], errors: ArrayLike) -> PowerLaw:
    """Fit error = a * size**-b to each seed by least squares in log-log, and take the mean of the coefficients.

    Args:
        sizes: Training images, increasing, at least three: two are fitted exactly, and check nothing.
        errors: (seeds, sizes) test errors, fractions above 0.

    Raises:
        ValueError: too few sizes, sizes not increasing, shapes that do not fit, or an error that is 0 or not finite.

    Source: Hestness et al. 2017, Deep Learning Scaling is Predictable, Empirically, arXiv:1712.00409.
    """
    images, rows = check_table(sizes, errors, least=3)
    lines = _log_lines(images, rows)
    slope, intercept = seed_mean(lines)
    residuals = seed_mean(np.log(rows)) - (slope * np.log(images) + intercept)
    b_interval, forecast = mean_interval((-lines[:, 0]).tolist()), None
    if len(images) > 3:
        slopes, intercepts = _log_lines(images[:-1], rows[:, :-1]).T
        forecast = estimate(np.expm1(slopes * np.log(images[-1]) + intercepts - np.log(rows[:, -1])).tolist())
    return PowerLaw(math.exp(intercept), -float(slope), b_interval, float(np.abs(residuals).max()), forecast)


def _log_lines(sizes: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """(seeds, 2): slope and intercept of each seed's log(error) over log(size)."""
    if (errors <= 0).any():
        raise ValueError("an error of 0 has no logarithm: leave that size out, or measure on more test images")
    return np.stack([np.polyfit(np.log(sizes), np.log(row), 1) for row in errors])
