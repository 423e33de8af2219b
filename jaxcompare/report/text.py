"""Numbers, cells and machines as a person reads them."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from jaxcompare.analysis.comparison import LABELS
from jaxcompare.analysis.contrast import Ratio
from jaxcompare.analysis.dispatch import FixedCost
from jaxcompare.analysis.statistics import Estimate
from jaxcompare.cells import CONTROLS, ENGINES, Cell
from jaxcompare.config import Framework, ModelName, Precision
from jaxcompare.records import RunRecord

FRAMEWORKS: dict[Framework, str] = {"jax": "JAX", "torch": "PyTorch"}


def model_label(model: ModelName, precision: Precision) -> str:
    """Model, and the precision where it is not float32."""
    return LABELS[model] + ("" if precision == "float32" else f" in {precision}")


def spread(values: Iterable[float], form: str) -> str:
    """Median, and range where there is one, of what was measured; a dash of nothing."""
    numbers = [value for value in values if not pd.isna(value)]
    if not numbers:
        return "-"
    low, middle, high = (format(of(numbers), form) for of in (min, statistics.median, max))
    return middle if low == high else f"{middle} ({low} to {high})"


def ratio_text(ratio: Ratio) -> str:
    """With its interval, to three figures or so."""
    size = abs(ratio.value)
    form = ",.0f" if size >= 100 else ".1f" if size >= 10 else ".2f" if size >= 0.1 else ".3f"
    if ratio.interval is None:
        return format(ratio.value, form)
    return f"{ratio.value:{form}} ({ratio.interval.low:{form}} to {ratio.interval.high:{form}})"


def verdict_word(ratio: Ratio) -> str:
    """What a ratio to another's time shows; of one repeat, no more than what it happened to be."""
    word = {1: "slower", -1: "faster", 0: "undecided"}[ratio.direction]
    return word if ratio.interval else f"{word} in one repeat"


def factor_text(factor: Ratio) -> str:
    """Times as fast, and "undecided" where the interval includes 1."""
    text = ratio_text(factor)
    return undecided(text) if factor.interval is not None and factor.direction == 0 else text


def undecided(text: str) -> str:
    """A number, perhaps with its spread in brackets, and there the word."""
    return f"{text.removesuffix(')')}, undecided)" if text.endswith(")") else f"{text} (undecided)"


def share_text(share: Ratio) -> str:
    """Per cent, with the interval if there is one."""
    if share.interval is None:
        return f"{_per_cent(share.value)} %"
    low, high = _per_cent(share.interval.low), _per_cent(share.interval.high)
    return f"{_per_cent(share.value)} % ({low} to {high})"


def _per_cent(fraction: float) -> int:
    # A whole number has no negative zero.
    return round(100 * fraction)


def spread_or_never(values: Sequence[float], form: str, middle: float | None = None) -> str:
    """Spread of what may be infinite, which never comes.

    Args:
        middle: stands in the median's place.
    """
    if not values:
        return "-"
    middle = statistics.median(values) if middle is None else middle
    numbers = (middle, min(*values, middle), max(*values, middle))
    middle_text, low, high = (format(number, form) if number < math.inf else "never" for number in numbers)
    return middle_text if low == high else f"{middle_text} ({low} to {high})"


def engine_label(cell: Cell) -> str:
    """Framework and engine, what a control changes, and the precision where it is not float32."""
    extras = [CONTROLS[cell.control]] if cell.control else []
    extras += [cell.precision] if cell.precision != "float32" else []
    return ", ".join([ENGINES[cell.engine], *extras])


def estimate_text(estimate: Estimate, unit: float, form: str) -> str:
    """In another unit, with the interval if there is one."""
    middle = format(unit * estimate.mean, form)
    if estimate.interval is None:
        return middle
    return f"{middle} ({unit * estimate.interval.low:{form}} to {unit * estimate.interval.high:{form}})"


def half_size_text(fit: FixedCost) -> str:
    """The batch size at which half a step is fixed cost, as far as batch sizes were measured."""
    smallest, largest = fit.batch_sizes[0], fit.batch_sizes[-1]
    if fit.half_size.mean < smallest:
        return f"below the smallest measured ({smallest:,})"
    if fit.half_size.mean > largest:
        return f"above the largest measured ({largest:,})"
    return estimate_text(fit.half_size, 1, ",.0f")


def points_text(difference: Estimate) -> str:
    """A difference of accuracies in percentage points, with its interval."""
    if difference.interval is None:
        return f"{100 * difference.mean:+.2f} points; one seed, no interval"
    low, high = 100 * difference.interval.low, 100 * difference.interval.high
    return f"{100 * difference.mean:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}"


def percent_text(fraction: float) -> str:
    """Per cent, to a hundredth."""
    return f"{100 * fraction:.2f} %"


def capitalised(text: str) -> str:
    """With a capital; the rest stays."""
    text = text.strip()
    return text[:1].upper() + text[1:]


def epochs_text(record: RunRecord) -> str:
    """How many, and of how many images where that is not one pass."""
    images = record.config.epoch_images
    return f"{record.config.training.epochs} epochs" + (f" of {images:,} images" if images else "")


def device_text(environment: Mapping[str, Any]) -> str:
    """What computed: a number of cores of a processor, or a device's name."""
    if environment["backend"] == "cpu":
        return f"{environment['cpu_cores']} cores of {environment['cpu']}"
    return environment["device"]


def versions_text(environment: Mapping[str, Any], *libraries: str) -> str:
    """Libraries and their versions; all that are named there if none is given."""
    versions = environment["versions"]
    return ", ".join(f"{name} {versions[name]}" for name in libraries or versions)
