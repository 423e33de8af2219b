"""Intervals cover as often as they say, crossovers lie where they were planted, power laws are recovered."""

import itertools
import math
from unittest.mock import ANY

import numpy as np
import pytest
from scipy import stats

from jaxcompare.analysis.statistics import (
    GRID,
    Interval,
    _mean_intervals,
    contrast_of_medians,
    crossover_size,
    extrapolated_crossover,
    fit_power_law,
    mean_interval,
)

SIZES = [1_000, 4_000, 16_000, 50_000]
FOUR_SEEDS = np.array([-0.3, -0.1, 0.1, 0.3])
"""Scatter around a mean of 0."""


def rng(seed=0):
    return np.random.default_rng(seed)


def scattered(mean, scatter=FOUR_SEEDS):
    """(seeds, sizes): each seed off the mean by the same everywhere."""
    return np.asarray(mean) + np.asarray(scatter)[:, None]


def bounds(values):
    interval = mean_interval(values)
    return interval.low, interval.high


# The interval of a mean


@pytest.mark.parametrize("seeds", [2, 3, 4])
def test_few_values_have_students_interval(seeds):
    values = rng(seeds).normal(3, 2, seeds).tolist()
    assert bounds(values) == pytest.approx(tuple(stats.ttest_1samp(values, 0).confidence_interval(0.95)), rel=1e-12)
    assert "Student" in mean_interval(values).method


def test_five_values_have_the_bootstrap_of_all_resamples_at_the_expanded_level():
    values = [0.13, 0.2, 0.55, 0.6, 0.95]
    # Phi(-sqrt(5 / 4) * t), by other means than the code's; t(97.5 %, 4) is tabulated.
    tail = math.erfc(math.sqrt(5 / 4) * 2.776445 / math.sqrt(2)) / 2
    means = np.mean(list(itertools.product(values, repeat=5)), axis=1)
    assert bounds(values) == pytest.approx(np.quantile(means, [tail, 1 - tail]), rel=1e-12)
    assert "bootstrap" in mean_interval(values).method


# 5: resamples of five values do not reach far enough; the plain percentile would cover 85 %.
@pytest.mark.parametrize(
    ("seeds", "samples", "least", "most"), [(3, 4000, 0.94, 0.96), (5, 1000, 0.9, 0.95), (10, 1000, 0.93, 0.97)]
)
def test_the_interval_covers_as_often_as_it_says(seeds, samples, least, most):
    low, high = _mean_intervals(rng().normal(7, 3, (samples, seeds)))
    assert least < np.mean((low <= 7) & (high >= 7)) < most


@pytest.mark.parametrize("seeds", [3, 7])
def test_rows_together_have_the_interval_of_each_alone(seeds):
    rows = rng().normal(size=(20, seeds))
    low, high = _mean_intervals(rows)
    assert list(zip(low, high, strict=True)) == [bounds(row) for row in rows.tolist()]


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


def test_five_repeats_have_the_bootstrap_of_whole_repeats_at_the_expanded_level():
    rows = np.array([[0.13, 0.2, 0.55, 0.6, 0.95], [1.2, 1.1, 1.0, 1.9, 1.4]])
    value, interval = contrast_of_medians(rows, [1, -1])
    assert value == pytest.approx(0.55 - 1.2)
    tail = math.erfc(math.sqrt(5 / 4) * 2.776445 / math.sqrt(2)) / 2
    drawn = rows[:, list(itertools.product(range(5), repeat=5))]
    contrasts = np.median(drawn[0], axis=1) - np.median(drawn[1], axis=1)
    assert (interval.low, interval.high) == pytest.approx(np.quantile(contrasts, [tail, 1 - tail]), abs=1e-12)
    assert interval.method == "expanded percentile bootstrap, 5 repeats"


@pytest.mark.parametrize(("repeats", "samples", "least"), [(3, 2000, 0.94), (5, 200, 0.92), (9, 200, 0.93)])
def test_a_contrast_is_covered_as_often_as_it_says(repeats, samples, least):
    """Of times whose logarithms are normal, half of the scatter common to both sides of a repeat."""
    noise = rng().normal(0, 0.05, (samples, 3, repeats))
    found = [contrast_of_medians([2 + a + both, 1 + b + both], [1, -1])[1] for a, b, both in noise]
    assert np.mean([interval.low <= 1 <= interval.high for interval in found]) > least


@pytest.mark.parametrize("repeats", [3, 6])
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


@pytest.mark.parametrize("seeds", [2, 4, 5, 9])
def test_the_interval_moves_and_stretches_with_the_values(seeds):
    for trial in range(5):
        values = rng(trial).exponential(size=seeds)
        low, high = bounds(values.tolist())
        assert low < values.mean() < high
        assert bounds((3 * values - 40).tolist()) == pytest.approx((3 * low - 40, 3 * high - 40), rel=1e-9)


@pytest.mark.parametrize("seeds", [3, 8])
def test_the_order_of_seeds_changes_no_bit(seeds):
    for trial in range(5):
        generator = rng(trial)
        scores = generator.normal(0.05, 0.1, (seeds, 4))
        cnn, vit = (generator.uniform(0.1, 0.6, (seeds, 4)) for _ in range(2))
        order = generator.permutation(seeds)
        assert mean_interval(scores[order, 0].tolist()) == mean_interval(scores[:, 0].tolist())
        assert crossover_size(SIZES, scores[order]) == crossover_size(SIZES, scores)
        assert fit_power_law(SIZES, cnn[order]) == fit_power_law(SIZES, cnn)
        assert extrapolated_crossover(SIZES, cnn[order], vit[order]) == extrapolated_crossover(SIZES, cnn, vit)


# The crossover


def test_the_crossover_is_linear_in_the_logarithm_of_the_size():
    found = crossover_size([1_000, 10_000], [[2, -2]])
    assert found.size == pytest.approx(10**3.5)
    assert (found.interval, found.reversals) == (None, ())


def test_the_crossovers_interval_of_parallel_lines_in_closed_form():
    offsets = [-0.3, 0.1, 0.5]
    half = 4.302653 * np.std(offsets, ddof=1) / math.sqrt(3)  # t(97.5 %, 2)
    found = crossover_size([1_000, 10_000], scattered([2, -2], offsets))
    # The difference falls by 4 a decade and is 0 at the mean offset of 0.1.
    exact = [10 ** (3.5 + (0.1 + side * half) / 4) for side in (-1, 0, 1)]
    step = 10 ** (1 / GRID)
    assert found.size == pytest.approx(exact[1])
    assert exact[0] / step <= found.interval.low <= exact[0]
    assert exact[2] <= found.interval.high <= exact[2] * step


@pytest.mark.parametrize(
    ("mean", "size", "reversals"),
    [
        ([2, 2, 2, 2], math.inf, []),
        ([-2, -2, -2, -2], 0, []),
        ([0, 0, 0, 0], 0, []),
        ([2, 1, 0, -1], 1_000, []),
        ([2, 1, 1, 0], 10_000, []),
        ([1, -1, 3, -1], 10**3.75, [10**1.25 * 10]),
        ([-1, 1, 1, -3], 10**3.25, [10**1.5]),
        ([-2, -2, 2, 2], math.inf, [10**2.5]),
        ([1, -1, -1, 1], math.inf, [10**3.5]),
        ([0, 1, 1, 1], math.inf, [10]),
    ],
)
def test_the_last_turn_to_not_ahead_is_the_crossover_and_turns_back_are_reversals(mean, size, reversals):
    found = crossover_size([10, 100, 1_000, 10_000], [mean])
    assert found.size == pytest.approx(size)
    assert found.reversals == pytest.approx(reversals)


def interval_of(differences, sizes=(10, 100, 1_000, 10_000)):
    found = crossover_size(sizes, differences)
    assert found.interval.low <= found.size <= found.interval.high
    return found.interval.low, found.interval.high


def test_the_interval_is_open_where_the_measured_sizes_end():
    assert interval_of(scattered([2, 2, 2, 2])) == (math.inf, math.inf)
    assert interval_of(scattered([-2, -2, -2, -2])) == (0, 0)
    assert interval_of(scattered([0.01, 0, 0, -0.01])) == (0, math.inf)
    low, high = interval_of(scattered([2, 2, 2, 0.1]))  # still ahead at the largest, but not shown to be
    assert 1_000 < low < 10_000
    assert high == math.inf
    low, high = interval_of(scattered([-0.1, -2, -2, -2]))
    assert low == 0
    assert 10 < high < 100


def test_the_interval_bounds_the_last_turn_where_there_are_several():
    low, high = interval_of(scattered([2, -2, 2, -2]))
    assert 1_000 <= low < 10**3.5 < high < 10**3.8
    low, _ = interval_of(scattered([0, 0, 2, -2]))  # level, then ahead, then caught up with
    assert low >= 1_000
    assert interval_of(scattered([-2, -2, 2, 2])) == (math.inf, math.inf)  # the CNN overtakes


@pytest.mark.parametrize("seeds", [3, 5])
def test_without_scatter_the_interval_closes_around_the_crossover(seeds):
    low, high = interval_of(np.tile([3, 1, -1, -3], (seeds, 1)))
    assert low < high <= low * 10 ** (2.001 / GRID)


def test_the_crossover_scales_with_sizes_and_not_with_the_score():
    differences = rng().normal([3, 1, -1, -3], 0.5, (4, 4))
    one, other = crossover_size(SIZES, differences), crossover_size([7 * n for n in SIZES], 100 * differences)
    assert other.size == pytest.approx(7 * one.size)
    assert other.interval.low == pytest.approx(7 * one.interval.low)
    assert other.interval.high == pytest.approx(7 * one.interval.high)


# Level at 0 from the second size on: the hardest, since any size may be shown ahead by chance.
@pytest.mark.parametrize(
    ("seeds", "sizes", "mean", "truth", "trials", "bounded"),
    [
        (3, SIZES, [6, 2, -2, -6], 8_000, 500, 0.9),
        (4, SIZES, [6, 2, -2, -6], 8_000, 500, 0.98),
        (4, SIZES, [9, 0, 0, 0], 4_000, 500, 0),
        (5, [1_000, 10_000], [4, -4], 10**3.5, 150, 0.98),
    ],
)
def test_the_crossovers_interval_covers_a_planted_one(seeds, sizes, mean, truth, trials, bounded):
    generator = rng()
    found = [interval_of(generator.normal(mean, 1, (seeds, len(sizes))), sizes) for _ in range(trials)]
    assert np.mean([low <= truth <= high for low, high in found]) > (0.935 if seeds < 5 else 0.9)
    assert np.mean([low > 0 and math.isfinite(high) for low, high in found]) >= bounded


# Power laws


def test_an_exact_power_law_is_recovered():
    law = fit_power_law(SIZES, [[3 * n**-0.35 for n in SIZES]])
    assert (law.a, law.b) == pytest.approx((3, 0.35))
    assert law.max_residual == pytest.approx(0, abs=1e-12)
    assert law.b_interval is None


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


def laws(meeting, scatter=(0.0,)):
    """Errors that follow power laws, the CNN's lower up to where they meet; each ViT off by a factor."""
    sizes = np.array(SIZES)
    cnn = 5 * sizes**-0.3
    return np.tile(cnn, (len(scatter), 1)), cnn * np.exp(scattered(0.2 * np.log(meeting / sizes), scatter))


def test_the_laws_meet_where_planted_with_the_interval_of_parallel_lines():
    offsets = [-0.03, 0.01, 0.05]
    half = 4.302653 * np.std(offsets, ddof=1) / math.sqrt(3)
    found = extrapolated_crossover(SIZES, *laws(1e6, offsets))
    exact = [1e6 * math.exp((0.01 + side * half) / 0.2) for side in (-1, 0, 1)]
    step = 10 ** (1 / GRID)
    assert found.size == pytest.approx(exact[1])
    assert exact[0] / step <= found.interval.low <= exact[0]
    assert exact[2] <= found.interval.high <= exact[2] * step
    assert extrapolated_crossover(SIZES, *laws(1e6)).interval is None


def test_the_extrapolation_ends_at_both_ends_of_its_range():
    assert extrapolated_crossover(SIZES, *laws(49_000, FOUR_SEEDS)) is None
    assert extrapolated_crossover(SIZES, *laws(5.1e7)).size == math.inf
    assert extrapolated_crossover(SIZES, *laws(4.9e7)).size == pytest.approx(4.9e7)
    cnn, vit = laws(200_000, FOUR_SEEDS)
    assert extrapolated_crossover(SIZES, cnn, vit).interval.low == 0  # may lie within the sizes measured
    assert extrapolated_crossover(SIZES, vit, cnn).size == math.inf  # the other way round, the lines part


# What is refused


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_that_is_not_finite_is_refused(bad):
    table = np.full((2, 4), 0.2)
    broken = table.copy()
    broken[1, 2] = bad
    for call in (
        lambda: mean_interval([0.1, bad]),
        lambda: crossover_size(SIZES, broken),
        lambda: crossover_size([1_000, bad], table[:, :2]),
        lambda: fit_power_law(SIZES, broken),
        lambda: extrapolated_crossover(SIZES, table, broken),
        lambda: extrapolated_crossover(SIZES, broken, table),
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
    with pytest.raises(ValueError, match=message):
        extrapolated_crossover(sizes, table, table)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="one or more"):
        mean_interval([])
    with pytest.raises(ValueError, match="at least 2"):
        crossover_size([1_000], [[0.1]])
    with pytest.raises(ValueError, match="same seeds"):
        extrapolated_crossover(SIZES, np.full((2, 4), 0.2), np.full((3, 4), 0.2))
