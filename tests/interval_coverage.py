"""How often the page's intervals are right: `python tests/interval_coverage.py [--runs 4000] [--fill FILE]`.

Every kind of interval, on data whose truth is known, at the page's sizes: five seeds, five repeats, scatter that is
normal and scatter that is skewed. Prints a Markdown table, or fills the block `coverage` of FILE.
"""

import argparse
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from jaxcompare.analysis.contrast import Pair, change, median_ratio, share
from jaxcompare.analysis.crossover import crossover_size
from jaxcompare.analysis.findings import jackknife
from jaxcompare.analysis.power_law import PowerLaw, fit_power_law
from jaxcompare.analysis.statistics import Interval, find_equivalence, mean_interval
from jaxcompare.lines import write_atomically
from jaxcompare.report.blocks import replace_blocks
from jaxcompare.report.tables import make_table
from jaxcompare.representations.answer_frames import PARTS
from jaxcompare.representations.disagreement import class_differences, error_consistency

Draw = Callable[..., np.ndarray]
SEEDS, REPEATS = 5, 5
SIZES = np.array([1_000, 5_000, 10_000, 25_000, 50_000])


def holds(interval: Interval | None, truth: float) -> bool:
    return interval is not None and interval.low <= truth <= interval.high


def mean(draw: Draw, seeds: int = SEEDS) -> bool:
    return holds(mean_interval(draw(seeds).tolist()), 0)


def equivalence(draw: Draw) -> bool:
    """Differences as large as the margin are shown to be within it in 5 % of all cases."""
    return find_equivalence((draw(SEEDS) + 3).tolist(), 3).verdict != "shown"


def law(draw: Draw) -> PowerLaw:
    return fit_power_law(SIZES, 0.6 * (SIZES / 1_000) ** -0.2 * np.exp(0.03 * draw(SEEDS, len(SIZES))))


def exponent(draw: Draw) -> bool:
    return holds(law(draw).b_interval, 0.2)


def forecast(draw: Draw) -> bool:
    """Of errors that follow the law, the forecast is off by nothing."""
    found = law(draw).forecast
    return holds(found.interval if found else None, 0)


def leads(draw: Draw) -> bool:
    """Of two models that are alike, none is ahead at any size."""
    cnn, vit = 0.5 + 0.01 * draw(2, SEEDS, len(SIZES))
    return not any(crossover_size(SIZES, cnn, vit).leads)


def crossover(draw: Draw) -> bool | None:
    noise, truth = np.exp(0.015 * draw(2, SEEDS, len(SIZES))), 7_000
    cnn, vit = (0.4 * (SIZES / truth) ** -slope for slope in (0.1, 0.5))
    found = crossover_size(SIZES, cnn * noise[0], vit * noise[1])
    return holds(found.interval, truth) if found.size else None


def times(draw: Draw, *middles: float) -> pd.DataFrame:
    """Repeats of cells; in a repeat the machine is as fast for all."""
    values = np.exp(0.03 * draw(REPEATS, len(middles)) + 0.05 * draw(REPEATS, 1)) * middles
    return pd.DataFrame(values, columns=list("abc")[: len(middles)])


def pair(above: str, below: str) -> Pair:
    return Pair("stage", "", (above,), (below,))  # type: ignore[arg-type]


def ratio(draw: Draw) -> bool:
    return holds(median_ratio(times(draw, 2, 1).T.to_numpy(), [1, -1]).interval, 2)


def a_share(draw: Draw) -> bool:
    return holds(share(times(draw, 8, 2, 1), pair("a", "b"), pair("a", "c")).interval, 2 / 3)


def a_change(draw: Draw) -> bool:
    return holds(change(times(draw, 2, 1), times(draw, 2, 1), pair("a", "b")).interval, 1)


def answers(draw: Draw, images: int) -> np.ndarray:
    """Of three networks, right or wrong: by how hard an image is, and each by itself."""
    return (draw(images) + draw(3, images) + 0.5 > 0).astype(int)


def of_class(draw: Draw) -> bool:
    first, other, _ = answers(draw, 1_000)
    _, found = class_differences(np.ones(1_000, int), first, other, 2)
    return holds(found.interval if found else None, 0)


def kappa(draw: Draw) -> bool:
    """Of three networks alike, no two share more errors than another two."""
    right, every = answers(draw, 10_000), np.arange(10_000)

    def more(rows: np.ndarray) -> float:
        first, *others = right[:, rows]
        labels = np.ones_like(first)
        one, two = (error_consistency(labels, first, other).kappa for other in others)
        return one - two

    left_out = [more(np.delete(every, part)) for part in np.array_split(every, PARTS)]
    return holds(jackknife(more(every), np.array(left_out)).interval, 0)


KINDS: dict[str, tuple[Callable[[Draw], bool | None], float]] = {
    "mean, or paired difference, over 5 seeds": (mean, 95),
    "mean, or paired difference, over 2 seeds": (functools.partial(mean, seeds=2), 95),
    "leads at 5 sizes, together": (leads, 95),
    "where the lead changes, 5 seeds, power laws": (crossover, 95),
    "exponent of a power law, 5 seeds": (exponent, 95),
    "forecast of the largest of 5 sizes, 5 seeds": (forecast, 95),
    "equivalent within a margin, 5 seeds: not shown at the margin": (equivalence, 95),
    "ratio of medians, 5 repeats": (ratio, 95),
    "share of a stage, 5 repeats": (a_share, 95),
    "change of a ratio between two studies, 5 repeats each": (a_change, 95),
    "difference on a class, 1,000 images": (of_class, 95),
    "kappa less another, 10,000 images": (kappa, 95),
}

DRAWS: dict[str, Callable[[np.random.Generator], Draw]] = {
    "normal": lambda generator: lambda *shape: generator.normal(size=shape),
    "exponential": lambda generator: lambda *shape: generator.exponential(size=shape) - 1,
}


def covered(runs: int) -> Iterator[dict[str, object]]:
    for kind, (simulate, nominal) in KINDS.items():
        row: dict[str, object] = {"kind": kind, "nominal": nominal}
        for name, draw_by in DRAWS.items():
            draw = draw_by(np.random.default_rng(0))
            found = [one for _ in range(runs) if (one := simulate(draw)) is not None]
            row[name] = 100 * np.mean(found)
        yield row


def main(runs: int, fill: Path | None) -> None:
    columns = {
        "Interval": ("kind", str),
        "Nominal, %": ("nominal", "{:.0f}".format),
        "Normal scatter, %": ("normal", "{:.1f}".format),
        "Exponential scatter, %": ("exponential", "{:.1f}".format),
    }
    error = 100 * (0.95 * 0.05 / runs) ** 0.5
    note = f"Of {runs:,} simulated studies each (standard error about {error:.1f} points)."
    table = make_table("", pd.DataFrame(list(covered(runs))), columns, note).markdown()
    if fill:
        write_atomically(fill, replace_blocks(fill, {"coverage": table}))
    else:
        print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4_000)
    parser.add_argument("--fill", type=Path)
    arguments = parser.parse_args()
    main(arguments.runs, arguments.fill)
