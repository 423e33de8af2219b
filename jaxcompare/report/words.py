"""Words around numbers: Jinja macros, chosen by values; no sentence is written for an outcome."""

from typing import Any

import jinja2

from jaxcompare.analysis.comparison import LABELS, seconds_text
from jaxcompare.analysis.statistics import Estimate
from jaxcompare.records import RunRecord
from jaxcompare.report import speed_text


def points_text(difference: Estimate) -> str:
    """A difference of accuracies in percentage points, with its interval."""
    if difference.interval is None:
        return f"{100 * difference.mean:+.2f} points; one seed, no interval"
    low, high = 100 * difference.interval.low, 100 * difference.interval.high
    return f"{100 * difference.mean:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}"


def epochs_text(record: RunRecord) -> str:
    """How many, and of how many images where that is not one pass."""
    images = record.config.epoch_images
    return f"{record.config.training.epochs} epochs" + (f" of {images:,} images" if images else "")


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("jaxcompare.report", "templates"), undefined=jinja2.StrictUndefined
)
_ENVIRONMENT.filters |= {
    "ratio": speed_text.ratio_text,
    "verdict": speed_text.verdict_word,
    "model": LABELS.__getitem__,
    "points": points_text,
    "epochs": epochs_text,
    "seconds": seconds_text,
    "percent": lambda fraction: f"{100 * fraction:.2f} %",
    "capital": lambda text: text.strip()[:1].upper() + text.strip()[1:],
}


def say(macro: str, **values: Any) -> str:
    """What a macro of `words.jinja` makes of values: one paragraph of plain text."""
    template = _ENVIRONMENT.get_template("words.jinja")
    return " ".join(getattr(template.module, macro)(**values).split())
