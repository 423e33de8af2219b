"""Of every pattern of leads over three and over five sizes: all that is said is true, and no change goes unsaid."""

import itertools
import math
import re

import numpy as np
import pytest
import synthetic
from scipy import stats

from jaxcompare.analysis.data_efficiency import analyse
from jaxcompare.report.crossover_words import describe_crossover, list_claims

SIZES = {3: (1_000, 5_000, 10_000), 5: (1_000, 5_000, 10_000, 25_000, 50_000)}
CNN = {1_000: 0.35, 5_000: 0.47, 10_000: 0.54, 25_000: 0.62, 50_000: 0.7}
SCATTER = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])
"""Of five seeds, around the CNN's lead."""


def efficiency_of(pattern, scatter=SCATTER, points=0.08):
    """A sweep in which the CNN's lead is `points` times the pattern's sign at each size, give or take the scatter."""
    records = []
    for place, (size, sign) in enumerate(zip(SIZES[len(pattern)], pattern, strict=True)):
        for seed, offset in enumerate(np.roll(scatter, place)):
            records.append(synthetic.run("cnn", size, seed, CNN[size]))
            records.append(synthetic.run("vit", size, seed, CNN[size] - sign * points - offset))
    return analyse(synthetic.sweep_of(records))


def signs_shown(efficiency):
    """Who is ahead at each size by Student's t of the paired accuracies, corrected for the number of sizes: +, -, 0."""
    sweep = efficiency.sweep
    values = sweep.values("best")
    found = stats.ttest_rel(values["cnn"], values["vit"])
    signs = np.sign(found.statistic) * (found.pvalue < 0.05 / len(sweep.sizes))
    return signs.astype(int).tolist()


def of_kind(claims, kind):
    return [claim for claim in claims if claim.kind == kind]


def numbers(text):
    return [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\d|\d", text)]


def check_leads(claims, sizes, signs, kind):
    said = {claim.model: claim.sizes for claim in of_kind(claims, kind) + of_kind(claims, "level")}
    for sign, model in ((1, "cnn"), (-1, "vit"), (0, None)):
        where = tuple(size for size, shown in zip(sizes, signs, strict=True) if shown == sign)
        assert said.pop(model, ()) == where
    assert not said


def check_changes(claims, sizes, signs):
    """Every neighbouring pair of opposite leads is a claim, and nothing else is."""
    shown = [(size, sign) for size, sign in zip(sizes, signs, strict=True) if sign]
    expected = [
        ((after, by), "cnn" if new > 0 else "vit")
        for (after, old), (by, new) in itertools.pairwise(shown)
        if new != old
    ]
    assert [(claim.sizes, claim.model) for claim in of_kind(claims, "takes the lead")] == expected
    return expected


def check_where(efficiency, claims, changes):
    """An estimate only of one change, within it, and the mean log error turns there or a hundredth away."""
    found = of_kind(claims, "where")
    assert len(found) == (len(changes) == 1)
    if found:
        ((size, low, high),) = [claim.sizes for claim in found]
        (after, by), leader = changes[0]
        assert after <= low <= size <= high <= by
        errors = {model: 1 - values for model, values in efficiency.sweep.values("best").items()}
        lead = np.mean(np.log(errors["vit"]) - np.log(errors["cnn"]), axis=0) * (1 if leader == "cnn" else -1)
        at = np.interp(np.log([0.94 * size, 1.06 * size]), np.log(efficiency.sweep.sizes), lead)
        assert at[0] < 0 < at[1]


def check_text(efficiency, claims):
    """Each claim's words name its model and its sizes, and the whole is made of nothing else."""
    whole = rest = describe_crossover(efficiency)
    for claim in claims:
        named = {"CNN": "cnn", "ViT": "vit"}
        assert [named[name] for name in re.findall("CNN|ViT", claim.text)] == ([claim.model] if claim.model else [])
        finite = [size for size in claim.sizes if 0 < size < math.inf]
        assert numbers(claim.text.replace("95 %", "")) == finite
        start = rest.lower().index(claim.text.lower())
        rest = rest[:start] + rest[start + len(claim.text) :]
    assert not re.search("CNN|ViT", rest)
    assert set(numbers(rest)) <= {95}
    assert whole[0].isupper()
    assert whole.endswith(".")


@pytest.mark.parametrize("count", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_all_that_is_said_of_a_pattern_of_leads_is_true(count):
    for pattern in itertools.product((1, -1, 0), repeat=count):
        efficiency = efficiency_of(pattern)
        sizes, signs, claims = SIZES[count], signs_shown(efficiency), list_claims(efficiency)
        assert signs == list(pattern)
        check_leads(claims, sizes, signs, "ahead")
        changes = check_changes(claims, sizes, signs)
        assert ("No change of lead is shown" in describe_crossover(efficiency)) == (not changes)
        check_where(efficiency, claims, changes)
        check_text(efficiency, claims)


def test_all_that_is_said_of_one_seed_is_its_own():
    for pattern in itertools.product((1, -1, 0), repeat=3):
        efficiency = efficiency_of(pattern, scatter=[0.0])
        claims = list_claims(efficiency)
        check_leads(claims, SIZES[3], pattern, "came out ahead")
        assert {claim.kind for claim in claims} <= {"came out ahead", "level"}
        check_text(efficiency, claims)
        assert "95 %" not in describe_crossover(efficiency)


def test_a_lead_that_is_lost_and_won_back_is_two_changes():
    claims = list_claims(efficiency_of((1, -1, 1), points=0.055))
    assert [(claim.model, claim.sizes) for claim in of_kind(claims, "takes the lead")] == [
        ("vit", (1_000, 5_000)),
        ("cnn", (5_000, 10_000)),
    ]


@pytest.mark.parametrize("leads", [(0.08, -0.005), (0.005, -0.08), (0.03, -0.04)])
def test_a_crossover_is_rounded_outwards_and_not_beyond_the_sizes_of_its_change(leads):
    sizes = 1_437, 14_377
    records = [
        synthetic.run(model, size, seed, accuracy + (0.001 * (seed - 1) if model == "vit" else lead))
        for size, accuracy, lead in zip(sizes, (0.4, 0.6), leads, strict=True)
        for seed in range(3)
        for model in ("cnn", "vit")
    ]
    efficiency = analyse(synthetic.sweep_of(records))
    exact = efficiency.crossover.interval
    ((size, low, high),) = [claim.sizes for claim in of_kind(list_claims(efficiency), "where")]
    assert sizes[0] <= low <= size <= high <= sizes[1]
    assert low == pytest.approx(exact.low, rel=0.1)
    assert high == pytest.approx(exact.high, rel=0.1)
    assert low <= exact.low + 0.5  # printed as a whole number
    assert high >= exact.high - 0.5


def test_a_lead_that_one_size_alone_would_show_is_not_said():
    """p = 0.03: enough for one size, not for one of three."""
    lead = 0.01
    scatter = SCATTER * lead * math.sqrt(5) / (stats.t.ppf(1 - 0.03 / 2, 4) * np.std(SCATTER, ddof=1))
    efficiency = efficiency_of((1, 1, 1), scatter=scatter, points=lead)
    assert [difference.sign for difference in efficiency.difference] == [1, 1, 1]
    assert [claim.kind for claim in list_claims(efficiency)] == ["level"]


def test_a_model_without_an_error_has_a_crossover():
    """No error has no logarithm: half a wrong image is counted."""
    records = [
        synthetic.run(model, size, seed, min(1.0, accuracy + 0.01 * (seed if model == "cnn" else -seed)))
        for model, accuracies in (("cnn", (0.9, 0.8)), ("vit", (0.8, 1.0)))
        for size, accuracy in zip((1_000, 10_000), accuracies, strict=True)
        for seed in range(3)
    ]
    crossover = analyse(synthetic.sweep_of(records)).crossover
    assert crossover.leads == ("cnn", "vit")
    assert 1_000 < crossover.interval.low < crossover.size < crossover.interval.high < 10_000
