"""What is said of leads over training-set sizes and their changes: claims, and the sentences made of them."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Literal

from jaxcompare.analysis.comparison import LABELS, leader
from jaxcompare.analysis.crossover import REACH, Change, Crossover
from jaxcompare.analysis.data_efficiency import Efficiency
from jaxcompare.analysis.statistics import Interval
from jaxcompare.config import ModelName


@dataclasses.dataclass(frozen=True)
class Claim:
    """One thing said, of which model and which sizes. Its text names these, and no others."""

    kind: Literal["ahead", "came out ahead", "level", "takes the lead", "where", "could lie"]
    """Ahead: shown to be. Where: the change's size, then its interval. Could lie: a change that is not shown."""
    model: ModelName | None
    sizes: tuple[float, ...]
    text: str


def list_claims(efficiency: Efficiency) -> list[Claim]:
    """Everything that is said of the leads over a sweep's sizes, two or more."""
    crossover, sizes = efficiency.crossover, efficiency.sweep.sizes
    if crossover is None:
        return []
    if len(efficiency.sweep.seeds) == 1:
        return _leads("came out ahead", [leader(difference) for difference in efficiency.difference], sizes)
    claims = _leads("ahead", crossover.leads, sizes)
    for change in crossover.changes:
        ends = tuple(f"{size:,.0f}" for size in change[:2])
        text = f"the {LABELS[change.leader]} takes the lead between {ends[0]} and {ends[1]} images"
        claims.append(Claim("takes the lead", change.leader, change[:2], text))
    if crossover.changes:
        return claims + _where(crossover)
    return claims + [Claim("could lie", None, place, _place(place)) for place in _open_places(crossover, sizes)]


def describe_crossover(efficiency: Efficiency) -> str:
    """Who is shown ahead at which sizes, and where the lead changes or could still change, in whole sentences."""
    claims = list_claims(efficiency)
    of = {kind: [claim.text for claim in claims if claim.kind == kind] for kind in {claim.kind for claim in claims}}
    if "came out ahead" in of or len(efficiency.sweep.seeds) == 1:
        return f"{sentence('; '.join(claim.text for claim in claims))} One seed shows no lead, and no change of one."
    leads = "; ".join(claim.text for claim in claims if claim.kind in ("ahead", "level"))
    together = " (95 % for all sizes together)" if "ahead" in of else ""
    text = sentence(f"{leads}{together}")
    if "takes the lead" in of:
        return f"{text} {sentence('; '.join([*of['takes the lead'], *of.get('where', [])]))}"
    if "could lie" not in of:
        return f"{text} A change of lead is neither shown nor ruled out."
    return f"{text} No change of lead is shown; one could still lie {_and(of['could lie'], 'or')} images."


def describe_extrapolation(efficiency: Efficiency) -> str:
    """What the power laws foretell beyond the largest size, only where no change of lead was measured."""
    crossover = efficiency.extrapolated
    if crossover is None or efficiency.crossover is None or efficiency.crossover.changes:
        return ""
    if crossover.leads[0] and set(crossover.leads) == {crossover.leads[0]}:
        return (
            f"Extrapolated, not measured: the {LABELS[crossover.leads[0]]}'s fitted power law stays lower up to "
            f"{REACH:,} times the largest size (95 %), if both go on so."
        )
    if crossover.size is None or crossover.interval is None:
        return "Extrapolated, the fitted power laws bound no crossover."
    size, low, high = _round_within(crossover.size, crossover.interval, crossover.changes[0])
    model = LABELS[crossover.changes[0].leader]
    return (
        f"Extrapolated, not measured: the {model}'s fitted power law takes the lead at about {size} images (95 %: "
        f"{low} to {high}), if both go on so."
    )


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def _leads(
    kind: Literal["ahead", "came out ahead"], leads: Sequence[ModelName | None], sizes: Sequence[int]
) -> list[Claim]:
    """Each model at the sizes where it leads, then the sizes at which none does."""
    claims, words = [], "is ahead" if kind == "ahead" else kind
    models: tuple[ModelName | None, ...] = ("cnn", "vit", None)
    for model in models:
        where = tuple(size for size, lead in zip(sizes, leads, strict=True) if lead == model)
        if where:
            text = (
                f"the {LABELS[model]} {words}" if model else "no lead is shown" if kind == "ahead" else "both are level"
            )
            claims.append(
                Claim(kind if model else "level", model, where, f"{text} at {_and([f'{s:,}' for s in where])} images")
            )
    return claims


def _where(crossover: Crossover) -> list[Claim]:
    if crossover.size is None or crossover.interval is None:
        return []
    size, low, high = _round_within(crossover.size, crossover.interval, crossover.changes[0])
    text = f"if errors follow power laws between the sizes measured, at about {size} (95 % interval {low} to {high})"
    numbers = tuple(float(number.replace(",", "")) for number in (size, low, high))
    return [Claim("where", None, numbers, text)]


def _open_places(crossover: Crossover, sizes: Sequence[int]) -> list[tuple[float, float]]:
    """Where a change of lead could lie unseen: below, beyond and between sizes at which one model is shown ahead."""
    shown = [place for place, lead in enumerate(crossover.leads) if lead]
    if not shown:
        return []
    gaps = [(float(sizes[a]), float(sizes[b])) for a, b in itertools.pairwise(shown) if b > a + 1]
    return [(0.0, float(sizes[shown[0]])), *gaps, (float(sizes[shown[-1]]), math.inf)]


def _place(place: tuple[float, float]) -> str:
    low, high = place
    if low == 0:
        return f"below {high:,.0f}"
    return f"beyond {low:,.0f}" if math.isinf(high) else f"between {low:,.0f} and {high:,.0f}"


def _and(words: Sequence[str], last: str = "and") -> str:
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)


def _round_within(size: float, interval: Interval, change: Change) -> list[str]:
    """Size and interval, outwards, to two digits, since no crossover is known better; not beyond the change's sizes."""
    rounded = []
    for value, to in (
        (size, round),
        (interval.low, math.floor),
        (interval.high, math.ceil),
    ):
        unit = 10 ** max(0, math.floor(math.log10(value)) - 1)
        # A quotient that is whole but for rounding stays what it is.
        rounded.append(min(max(to(round(value / unit, 6)) * unit, change.after), change.by))
    return [f"{value:,.0f}" for value in rounded]
