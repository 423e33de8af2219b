"""Intervals cover as often as they say, equivalence is shown as often as it may be, power laws are recovered."""

import math
from unittest.mock import ANY

import numpy as np
import pytest
from interval_coverage import covered
from scipy import stats

from jaxcompare.analysis.power_law import fit_power_law
from jaxcompare.analysis.statistics import (
    Interval,
    contrast_of_medians,
    find_equivalence,
    mean_interval,
    seeds_needed,
)

SIZES = [1_000, 4_000, 16_000, 50_000]


def rng(seed=0):
    return np.random.default_rng(seed)


def bounds(values):
    interval = mean_interval(values)
    return interval.low, interval.high


# The interval of a mean


@pytest.mark.parametrize("seeds", [2, 3, 5, 9])
def test_few_values_have_students_interval(seeds):
    values = rng(seeds).normal(3, 2, seeds).tolist()
    assert bounds(values) == pytest.approx(tuple(stats.ttest_1samp(values, 0).confidence_interval(0.95)), rel=1e-12)
    assert "Student" in mean_interval(values).method


def expanded_tail(count, t):
    """Phi(-sqrt(n / (n - 1)) * t), by other means than the code's; t is tabulated."""
    return math.erfc(math.sqrt(count / (count - 1)) * t / math.sqrt(2)) / 2


def test_more_values_have_the_bootstrap_at_the_expanded_level():
    # Resampled means of ten ones and ten zeros are binomial; the plain level would give 0.3 and 0.7.
    low, high = bounds([0.0, 1.0] * 10)
    tail = expanded_tail(20, 2.093024)
    assert (low, high) == pytest.approx((stats.binom.ppf(tail, 20, 0.5) / 20, stats.binom.ppf(1 - tail, 20, 0.5) / 20))
    assert "bootstrap" in mean_interval([0.0, 1.0] * 5).method


@pytest.mark.parametrize(
    ("seeds", "samples", "least", "most"), [(3, 4_000, 0.94, 0.96), (5, 4_000, 0.94, 0.96), (10, 1_000, 0.93, 0.97)]
)
def test_the_interval_covers_as_often_as_it_says(seeds, samples, least, most):
    found = [mean_interval(row) for row in rng().normal(7, 3, (samples, seeds))]
    assert least < np.mean([interval.low <= 7 <= interval.high for interval in found]) < most


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_equal_values_have_zero_width(seeds):
    assert bounds([0.1] * seeds) == (0.1, 0.1)


# The interval of a contrast of medians


def test_a_contrast_is_of_medians_and_few_repeats_have_students_interval_of_pairs():
    rows = np.array([[1.0, 2.0, 9.0], [0.5, 4.0, 3.0]])
    value, interval = contrast_of_medians(rows, [1, -1])
    assert value == pytest.approx(2 - 3)
    expected = stats.ttest_1samp(rows[0] - rows[1], 0).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx(tuple(expected))
    assert interval.method == "Student's t, 3 repeats"
    assert contrast_of_medians([[2.0], [5.0]], [1, -1]) == (-3.0, None)


def test_many_repeats_have_the_bootstrap_of_whole_repeats_at_the_expanded_level():
    row = np.sort(rng().normal(size=11))
    value, interval = contrast_of_medians([row], [1])
    # A resample's median is at most the k-th value where at least 6 of 11 draws are.
    at_most = stats.binom.sf(5, 11, np.arange(1, 12) / 11)
    low = row[np.argmax(at_most >= expanded_tail(11, 2.228139))]
    high = row[np.argmax(at_most >= 1 - expanded_tail(11, 2.228139))]
    assert (value, interval.low, interval.high) == pytest.approx((row[5], low, high))
    assert interval.method == "expanded percentile bootstrap, 11 repeats"
    # Drawn together, what is the same in every repeat stays so.
    assert contrast_of_medians([row + 2, row], [1, -1])[1] == Interval(pytest.approx(2), pytest.approx(2), ANY)


@pytest.mark.parametrize(("repeats", "samples", "least"), [(3, 4000, 0.94), (5, 4000, 0.94), (12, 200, 0.93)])
def test_a_contrast_is_covered_as_often_as_it_says(repeats, samples, least):
    """Of times whose logarithms are normal, half of the scatter common to both sides of a repeat."""
    noise = rng().normal(0, 0.05, (samples, 3, repeats))
    found = [contrast_of_medians([2 + a + both, 1 + b + both], [1, -1])[1] for a, b, both in noise]
    assert np.mean([interval.low <= 1 <= interval.high for interval in found]) > least


@pytest.mark.parametrize("repeats", [3, 6, 11])
def test_the_order_of_repeats_changes_no_bit_and_one_burst_moves_the_value_little(repeats):
    rows = rng().normal(size=(2, repeats))
    order = rng(1).permutation(repeats)
    assert contrast_of_medians(rows[:, order], [1, -1]) == contrast_of_medians(rows, [1, -1])
    assert contrast_of_medians([[0.1] * repeats], [1])[1] == Interval(0.1, 0.1, ANY)
    burst = rows.copy()
    burst[0, np.argmax(rows[0])] += 100
    assert contrast_of_medians(burst, [1, -1])[0] == contrast_of_medians(rows, [1, -1])[0]


@pytest.mark.parametrize(("rows", "signs"), [([], []), ([[]], [1]), ([[1.0, math.inf]], [1]), ([[1.0]], [1, -1])])
def test_a_contrast_of_nothing_is_refused(rows, signs):
    with pytest.raises(ValueError, match="one or more finite numbers a term, and one sign"):
        contrast_of_medians(rows, signs)


def test_one_value_has_no_interval():
    assert mean_interval([0.1]) is None


@pytest.mark.parametrize("seeds", [2, 5, 9, 12])
def test_the_interval_moves_and_stretches_with_the_values(seeds):
    for trial in range(5):
        values = rng(trial).exponential(size=seeds)
        low, high = bounds(values.tolist())
        assert low < values.mean() < high
        assert bounds((3 * values - 40).tolist()) == pytest.approx((3 * low - 40, 3 * high - 40), rel=1e-9)


@pytest.mark.parametrize("seeds", [3, 11])
def test_the_order_of_seeds_changes_no_bit(seeds):
    for trial in range(5):
        generator = rng(trial)
        errors = generator.uniform(0.1, 0.6, (seeds, 4))
        order = generator.permutation(seeds)
        assert mean_interval(errors[order, 0].tolist()) == mean_interval(errors[:, 0].tolist())
        assert fit_power_law(SIZES, errors[order]) == fit_power_law(SIZES, errors)


# Equivalence


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.3, -0.2, 0.1, 0.0], "shown"),
        ([0.9, -0.8, 1.9, -1.4], "not shown"),
        ([-21.3, -20.6, -21.2, -20.9], "excluded"),
        ([20.0, 22.0, 21.0], "excluded"),
        ([1.4, 1.6, 1.5], "not shown"),
        ([0.0], "not tested"),
        ([-21.0], "not tested"),
    ],
)
def test_equivalence_is_what_two_one_sided_tests_say(differences, verdict):
    found = find_equivalence(differences, 1.5)
    assert found.verdict == verdict
    assert found.mean == pytest.approx(np.mean(differences))
    if len(differences) > 1:
        above = stats.ttest_1samp(differences, -1.5, alternative="greater").pvalue
        below = stats.ttest_1samp(differences, 1.5, alternative="less").pvalue
        assert (max(above, below) < 0.05) == (verdict == "shown")
        ends = stats.ttest_1samp(differences, 0).confidence_interval(0.9)
        assert (found.interval.low, found.interval.high) == pytest.approx(tuple(ends))
    else:
        assert found.interval is None


@pytest.mark.parametrize(("side", "seeds"), [(1, 4), (-1, 8)])
def test_at_the_margin_equivalence_is_shown_in_one_of_twenty(side, seeds):
    rows = rng().normal(1.5 * side, 0.4, (4_000, seeds))
    found = [find_equivalence(row, 1.5).verdict for row in rows.tolist()]
    assert 0.04 < found.count("shown") / 4_000 < 0.06
    assert 0.04 < found.count("excluded") / 4_000 < 0.06  # the other one-sided test


@pytest.mark.parametrize("scatter", [0.7, 1.6])
def test_as_many_seeds_as_needed_show_equivalence_in_four_of_five(scatter):
    needed = seeds_needed([1.0 - scatter / math.sqrt(2), 1.0 + scatter / math.sqrt(2)], 1.5)

    def power(seeds):
        rows = rng(seeds).normal(0, scatter, (40_000, seeds))
        half = stats.t.ppf(0.95, seeds - 1) * rows.std(axis=1, ddof=1) / math.sqrt(seeds)
        return np.mean(np.abs(rows.mean(axis=1)) + half < 1.5)

    assert power(needed - 1) < 0.805
    assert power(needed) > 0.795
    assert power(needed + 1) > power(needed - 1)
    assert seeds_needed([0.2, 0.2], 1.5) == 2


def test_what_is_said_of_coverage_is_simulated():
    """In full: interval_coverage.py."""
    for row in covered(40):
        assert 75 < row["normal"] <= 100, row["kind"]


# Power laws


def test_an_exact_power_law_is_recovered():
    law = fit_power_law(SIZES, [[3 * n**-0.35 for n in SIZES]])
    assert (law.a, law.b) == pytest.approx((3, 0.35))
    assert law.max_residual == pytest.approx(0, abs=1e-12)
    assert law.b_interval is None
    assert law.forecast.mean == pytest.approx(0, abs=1e-12)


def test_a_law_is_tried_on_the_largest_size():
    """Of which the smaller ones' law knows nothing."""
    errors = np.array([[a * n**-0.35 for n in SIZES] for a in (2, 3)])
    errors[:, -1] /= 1.1, 1.2
    found = fit_power_law(SIZES, errors).forecast
    assert found.mean == pytest.approx(0.15)
    assert (found.interval.low, found.interval.high) == pytest.approx(bounds([0.1, 0.2]))
    assert fit_power_law(SIZES[-3:], errors[:, -3:]).forecast is None


@pytest.mark.parametrize("seeds", [3, 6])
def test_the_law_is_the_mean_of_the_seeds_lines(seeds):
    errors = rng().uniform(0.1, 0.6, (seeds, 4))
    lines = [stats.linregress(np.log(SIZES), np.log(row)) for row in errors]
    law = fit_power_law(SIZES, errors)
    assert law.b == pytest.approx(-np.mean([line.slope for line in lines]))
    assert law.a == pytest.approx(math.exp(np.mean([line.intercept for line in lines])))
    low, high = bounds([-line.slope for line in lines])
    assert (law.b_interval.low, law.b_interval.high) == pytest.approx((low, high))


def test_the_residual_is_of_the_law_and_not_of_the_seeds():
    bump = np.exp([0, 0.06, 0])
    line = np.array([0.4, 0.2, 0.1])
    assert fit_power_law([10, 100, 1_000], [line * bump] * 2).max_residual == pytest.approx(0.04)
    assert fit_power_law([10, 100, 1_000], [line * bump, line / bump]).max_residual == pytest.approx(0, abs=1e-12)


# What is refused


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_that_is_not_finite_is_refused(bad):
    broken = np.full((2, 4), 0.2)
    broken[1, 2] = bad
    for call in (
        lambda: mean_interval([0.1, bad]),
        lambda: find_equivalence([0.1, bad], 1.5),
        lambda: fit_power_law(SIZES, broken),
    ):
        with pytest.raises(ValueError, match=r"finite|NaN|positive and increasing"):
            call()


@pytest.mark.parametrize(
    ("sizes", "table", "message"),
    [
        ([1_000, 4_000], [[0.2, 0.1]], "at least 3"),
        ([1_000, 4_000, 4_000], [[0.3, 0.2, 0.1]], "increasing"),
        ([0, 4_000, 8_000], [[0.3, 0.2, 0.1]], "positive"),
        ([1_000, 4_000, 8_000], [[0.3, 0.2]], "one per size"),
        ([1_000, 4_000, 8_000], [0.3, 0.2, 0.1], "one per size"),
        ([1_000, 4_000, 8_000], np.empty((0, 3)), "one per size"),
        ([1_000, 4_000, 8_000], [[0.3, 0.2, 0.0]], "error of 0"),
    ],
)
def test_a_power_law_is_refused_where_it_cannot_be_fitted(sizes, table, message):
    with pytest.raises(ValueError, match=message):
        fit_power_law(sizes, table)


def test_no_value_is_refused():
    for call in (mean_interval, lambda row: find_equivalence(row, 1.5)):
        with pytest.raises(ValueError, match="one or more"):
            call([])
