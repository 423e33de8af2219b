"""Cells against cells: the ratio of their times with its interval, the one number under every comparison of speed.

A time is the median over repeats, and a ratio is one of medians: a burst on the machine moves neither, and factors
along a path multiply to the whole. Intervals pair what ran in one repeat: a machine that drifts slows both sides.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t

from jaxcompare.analysis.statistics import Interval, contrast_of_medians, mean_interval
from jaxcompare.cells import Cell

CLOSE = 1.1
"""Factor between two ratios that are taken for the same, whatever their intervals."""


class Ratio(NamedTuple):
    """Of medians over repeats."""

    value: float
    interval: Interval | None
    """None: one repeat."""

    @property
    def direction(self) -> Literal[-1, 0, 1]:
        """Above 1 or below it by the interval or, of one repeat, by the value; 0: not shown."""
        low, high = (self.interval.low, self.interval.high) if self.interval else (self.value, self.value)
        return 1 if low > 1 else -1 if high < 1 else 0


ITSELF = Ratio(1.0, None)
"""What others are over."""


class Pair(NamedTuple):
    """What is compared: times of `above`, multiplied, over those of `below`."""

    kind: str
    """Of the comparison, see `speed.pairs`."""
    name: str
    above: tuple[Cell, ...]
    below: tuple[Cell, ...]


@dataclasses.dataclass(frozen=True)
class Contrast:
    """A pair and its ratio; with another study, that one's."""

    pair: Pair
    ratio: Ratio
    again: Ratio | None = None
    share: Ratio | None = None
    """Of a stage: its logarithm over the whole's, negative where it goes against it. None: there is no whole, or it is
    not shown to differ from 1."""

    @property
    def cell(self) -> Cell:
        """Whose time it is."""
        return self.pair.above[0]

    @property
    def other(self) -> Cell:
        """Over whose."""
        return self.pair.below[0]

    @property
    def change(self) -> float:
        """Factor between the two studies' ratios, 1 or more; NaN without another study."""
        quotient = self.again.value / self.ratio.value if self.again else math.nan
        return max(quotient, 1 / quotient)

    @property
    def confirmed(self) -> bool:
        """Whether another study's ratio is within this one's interval, or close to it."""
        if self.again is None:
            return False
        interval = self.ratio.interval
        return self.change <= CLOSE or (interval is not None and interval.low <= self.again.value <= interval.high)

    @property
    def contradicted(self) -> bool:
        """Whether each shows its own side of 1, by an interval: one repeat shows none."""
        if self.again is None or self.again.interval is None or self.ratio.interval is None:
            return False
        return self.ratio.direction * self.again.direction == -1


def image_times(frame: pd.DataFrame) -> pd.DataFrame:
    """Seconds per training image and seed, (repeats, cells), of the cells of which no repeat failed; what stands in one
    row ran side by side."""
    if frame.empty:
        return pd.DataFrame()
    columns = {
        cell: rows.set_index("repeat").image_time_s for cell, rows in measured(frame).groupby("cell", sort=False)
    }
    return pd.DataFrame(columns).sort_index()


def measured(frame: pd.DataFrame) -> pd.DataFrame:
    """The processes of cells of which no repeat failed."""
    if frame.empty:
        return frame
    return frame[~frame.cell.isin(set(frame.cell[frame.message != ""]))]


def compare(times: pd.DataFrame, pairs: Sequence[Pair], again: pd.DataFrame | None = None) -> list[Contrast]:
    """The contrast of each pair whose cells were all measured.

    Args:
        times: see `image_times`.
        again: another study's.
    """
    found = []
    for pair in pairs:
        cells = {*pair.above, *pair.below}
        if cells <= set(times):
            twice = ratio(again, pair) if again is not None and cells <= set(again) else None
            found.append(Contrast(pair, ratio(times, pair), twice))
    return found


def ratio(times: pd.DataFrame, pair: Pair) -> Ratio:
    """Of a pair of measured cells: the 95 % interval is that of the logarithm, in which medians add; see
    `statistics.contrast_of_medians`."""
    signs = [1] * len(pair.above) + [-1] * len(pair.below)
    return median_ratio([times[cell] for cell in (*pair.above, *pair.below)], signs)


def median_ratio(rows: Sequence[Sequence[float]], signs: Sequence[int]) -> Ratio:
    """The same of positive values by repeat, a row a factor (sign 1) or divisor (sign -1)."""
    value, interval = contrast_of_medians(np.log(np.array(rows, float)), signs)
    if interval is None:
        return Ratio(math.exp(value), None)
    return Ratio(math.exp(value), Interval(math.exp(interval.low), math.exp(interval.high), interval.method))


def share(times: pd.DataFrame, stage: Pair, whole: Pair) -> Ratio:
    """A stage's logarithm over the whole's.

    In logarithms the shares of a path add up to 1. A share is a ratio of medians' differences; its interval is that of
    the ratio of means over repeats, linearised (Taylor), and holds it.
    """
    logs = times.transform(np.log)
    factors, totals = (logs[pair.above[0]] - logs[pair.below[0]] for pair in (stage, whole))
    factor, total = (logs[pair.above[0]].median() - logs[pair.below[0]].median() for pair in (stage, whole))
    value = float(factor / total)
    interval = mean_interval((value + (factors - value * totals) / total).tolist())
    if interval is None:
        return Ratio(value, None)
    return Ratio(value, Interval(min(interval.low, value), max(interval.high, value), interval.method))


def change(times: pd.DataFrame, other: pd.DataFrame, pair: Pair) -> Ratio:
    """The factor by which a pair's ratio changes from one study to another, whose processes pair with none of the first
    one's. Its interval is Welch's (1947), of the logarithms of the repeats' own ratios, and holds it; none where a
    study has one repeat."""
    value = ratio(other, pair).value / ratio(times, pair).value
    first, second = (np.log((study[pair.above[0]] / study[pair.below[0]]).to_numpy()) for study in (times, other))
    if min(len(first), len(second)) < 2:
        return Ratio(value, None)
    middle, parts = second.mean() - first.mean(), [logs.var(ddof=1) / len(logs) for logs in (first, second)]
    spread = sum(parts)
    if spread > 0:
        freedom = spread**2 / sum(part**2 / (len(logs) - 1) for part, logs in zip(parts, (first, second), strict=True))
        spread = float(t.ppf(0.975, freedom)) * math.sqrt(spread)
    low, high = math.exp(middle - spread), math.exp(middle + spread)
    return Ratio(value, Interval(min(low, value), max(high, value), "Welch"))


def points_and_reach(values: Sequence[Sequence[float]]) -> tuple[list[float], np.ndarray | None]:
    """Of positive values over repeats, a list a point: medians, and (2, points) how far their intervals reach down and
    up; None with one repeat."""
    points = [median_ratio([of_point], [1]) for of_point in values]
    reach = [(one.value - one.interval.low, one.interval.high - one.value) for one in points if one.interval]
    return [one.value for one in points], np.transpose(reach) if reach else None
