"""Words around numbers: Jinja macros, chosen by values; no sentence is written for an outcome."""

from typing import Any

import jinja2

from jaxcompare.analysis.comparison import LABELS
from jaxcompare.report import speed_text

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("jaxcompare.report", "templates"), undefined=jinja2.StrictUndefined
)
_ENVIRONMENT.filters |= {
    "ratio": speed_text.ratio_text,
    "verdict": speed_text.verdict_word,
    "model": LABELS.__getitem__,
}


def say(macro: str, **values: Any) -> str:
    """What a macro of `words.jinja` makes of values: one paragraph of plain text."""
    template = _ENVIRONMENT.get_template("words.jinja")
    return " ".join(getattr(template.module, macro)(**values).split())
