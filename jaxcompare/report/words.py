"""Words around numbers: Jinja macros, chosen by values; no sentence is written for an outcome."""

from typing import Any

import jinja2

from jaxcompare.analysis.representations import MEASURES
from jaxcompare.records import short_commit
from jaxcompare.report import text

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("jaxcompare.report", "templates"), undefined=jinja2.StrictUndefined
)
_ENVIRONMENT.filters |= {
    "ratio": text.ratio_text,
    "verdict": text.verdict_word,
    "model": text.LABELS.__getitem__,
    "model_of": text.model_of,
    "points": text.points_text,
    "epochs": text.epochs_text,
    "commit": short_commit,
    "seconds": text.seconds_text,
    "percent": text.percent_text,
    "device": text.device_text,
    "place": text.place_text,
    "versions": text.versions_text,
    "whole": "{:,.0f}".format,
    "listed": text.and_text,
    "capital": text.capitalised,
    "signed": text.number("+.2f"),
    "tenths": text.number("+.1f", 100),
    "measure": MEASURES.__getitem__,
    "layer": text.layer_label,
}


def say(macro: str, *values: Any, **named: Any) -> str:
    """What a macro of `words.jinja` makes of values: one paragraph of plain text."""
    return _say("words.jinja", macro, *values, **named)


def say_learned(macro: str, *values: Any, **named: Any) -> str:
    """The same of `representations.jinja`."""
    return _say("representations.jinja", macro, *values, **named)


def _say(template: str, macro: str, *values: Any, **named: Any) -> str:
    module = _ENVIRONMENT.get_template(template).module
    return " ".join(getattr(module, macro)(*values, **named).split())
