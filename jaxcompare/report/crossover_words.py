"""What is said of leads over training-set sizes and their changes: claims, whose sentences are in words.jinja."""

import dataclasses
import math
from typing import Literal

from jaxcompare.analysis.crossover import Change
from jaxcompare.analysis.data_efficiency import Efficiency
from jaxcompare.analysis.outcome import leader
from jaxcompare.analysis.statistics import Interval
from jaxcompare.config import ModelName
from jaxcompare.report.words import say


@dataclasses.dataclass(frozen=True)
class Claim:
    """One thing said, of which model and which sizes. Its text names these, and no others."""

    kind: Literal["ahead", "came out ahead", "level", "takes the lead", "where"]
    """Ahead: shown to be. Where: the change's size, then its interval."""
    model: ModelName | None
    sizes: tuple[float, ...]

    @property
    def text(self) -> str:
        """In words, as a part of a sentence."""
        return say("claim", self)


def list_claims(efficiency: Efficiency) -> list[Claim]:
    """Everything that is said of the leads over a sweep's sizes, two or more."""
    crossover, sizes = efficiency.crossover, efficiency.sweep.sizes
    if crossover is None:
        return []
    one_seed = len(efficiency.sweep.seeds) == 1
    leads = [leader(difference) for difference in efficiency.difference] if one_seed else crossover.leads
    claims = []
    for model in ("cnn", "vit", None):
        where = tuple(size for size, lead in zip(sizes, leads, strict=True) if lead == model)
        kind = "level" if model is None else "came out ahead" if one_seed else "ahead"
        claims += [Claim(kind, model, where)] if where else []
    if one_seed:
        return claims
    claims += [Claim("takes the lead", change.leader, change[:2]) for change in crossover.changes]
    if crossover.size and crossover.interval:
        claims.append(Claim("where", None, _round_within(crossover.size, crossover.interval, crossover.changes[0])))
    return claims


def describe_crossover(efficiency: Efficiency) -> str:
    """Who is shown ahead at which sizes, and where the lead changes, in whole sentences; empty of one model or size."""
    claims = list_claims(efficiency)
    of: dict[str, list[str]] = {}
    for claim in claims:
        of.setdefault(claim.kind, []).append(claim.text)
    return say("crossover", of, len(efficiency.sweep.seeds)) if claims else ""


def _round_within(size: float, interval: Interval, change: Change) -> tuple[float, ...]:
    """Size and interval, outwards, to two digits, since no crossover is known better; not beyond the change's sizes."""
    rounded = []
    for value, to in ((size, round), (interval.low, math.floor), (interval.high, math.ceil)):
        unit = 10 ** max(0, math.floor(math.log10(value)) - 1)
        # A quotient that is whole but for rounding stays what it is.
        rounded.append(min(max(to(round(value / unit, 6)) * unit, change.after), change.by))
    return tuple(float(f"{value:.0f}") for value in rounded)
