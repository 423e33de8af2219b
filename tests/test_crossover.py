"""Leads and their changes are shown as often as they may be, crossovers lie where they were planted."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from jaxcompare.analysis.crossover import GRID, _bend, crossover_size

SIZES = [1_000, 5_000, 10_000, 25_000, 50_000]
FOUR_SEEDS = np.array([-0.3, -0.1, 0.1, 0.3])
"""Scatter around a mean of 0."""


def rng(seed=0):
    return np.random.default_rng(seed)


def errors_of(lead, sizes, scatter=(0.0,)):
    """Errors of both models whose logarithms differ by `lead` at each size, the CNN ahead above 0, and by seed."""
    cnn = np.tile(0.3 * (np.asarray(sizes) / sizes[0]) ** -0.2, (len(scatter), 1))
    return cnn, cnn * np.exp(np.asarray(lead) + np.asarray(scatter)[:, None])


def found_in(lead, sizes, scatter):
    return crossover_size(sizes, *errors_of(lead, sizes, scatter))


# Leads and changes


@pytest.mark.parametrize("seeds", [3, 5, 12])
def test_leads_are_students_corrected_for_the_number_of_sizes(seeds):
    leads = []
    for trial in range(40):
        cnn, vit = rng(trial).normal(0.4, 0.01, (2, seeds, 5))
        vit += [0, 0.01, 0, -0.02, 0]
        found = crossover_size(SIZES, cnn, vit)
        tests = stats.ttest_rel(vit, cnn)
        expected = [
            (None if p >= 0.05 / 5 else "cnn" if t > 0 else "vit")
            for p, t in zip(tests.pvalue, tests.statistic, strict=True)
        ]
        assert list(found.leads) == expected
        leads += expected
    assert set(leads) == {None, "cnn", "vit"}


def test_where_models_are_level_any_lead_is_shown_in_one_of_twenty():
    trials = 2_000
    rows = 0.4 + rng().normal(0, 0.01, (trials, 2, 5, 5))
    wrong = np.mean([any(crossover_size(SIZES, cnn, vit).leads) for cnn, vit in rows])
    assert 0.03 < wrong < 0.06  # uncorrected: one of five


@pytest.mark.parametrize(
    ("lead", "changes"),
    [
        ([1, 1, 1, 1, 1], []),
        ([0, 1, 0, 1, 0], []),
        ([1, -1, -1, -1, -1], [(1_000, 5_000, "vit")]),
        ([-1, 0, 0, 1, 1], [(1_000, 25_000, "cnn")]),
        ([1, -1, 1, 0, 0], [(1_000, 5_000, "vit"), (5_000, 10_000, "cnn")]),
        ([0, -1, 0, 1, -1], [(5_000, 25_000, "cnn"), (25_000, 50_000, "vit")]),
    ],
)
def test_the_lead_changes_between_sizes_that_each_model_is_shown_ahead_at(lead, changes):
    found = found_in(lead, SIZES, 0.3 * FOUR_SEEDS)
    assert list(found.leads) == [{1: "cnn", -1: "vit", 0: None}[sign] for sign in lead]
    assert list(found.changes) == changes
    assert (found.size is not None) == (len(changes) == 1)
    if len(changes) == 1:
        after, by, _ = changes[0]
        assert after <= found.interval.low <= found.size <= found.interval.high <= by


def test_one_seed_shows_nothing():
    found = found_in([1, -1, 1, -1, 1], SIZES, [0.0])
    assert (set(found.leads), found.changes, found.size, found.interval) == ({None}, (), None, None)


# Where in between


@pytest.mark.parametrize("truth", [1_700, 7_000, 48_000])
@pytest.mark.parametrize("slope", [-0.5, 0.2])
def test_power_laws_meet_exactly_where_they_do(truth, slope):
    sizes = [1_000, 5_000, 50_000]
    found = found_in(slope * np.log(np.array(sizes) / truth), sizes, 0.01 * FOUR_SEEDS)
    assert found.size == pytest.approx(truth)
    assert found.changes[0].leader == ("cnn" if slope > 0 else "vit")


def test_the_interval_of_parallel_lines_in_closed_form():
    offsets = [-0.03, 0.01, 0.05]
    half = 4.302653 * np.std(offsets, ddof=1) / math.sqrt(3)  # t(97.5 %, 2)
    found = found_in([0.5, -0.5], [1_000, 10_000], offsets)
    # The lead falls by 1 a decade and is 0.01 more on average.
    exact = [10 ** (3.5 + 0.01 + side * half) for side in (-1, 0, 1)]
    step = 10 ** (1 / GRID)
    assert found.size == pytest.approx(exact[1])
    assert exact[0] / step <= found.interval.low <= exact[0]
    assert exact[2] <= found.interval.high <= exact[2] * step


def test_the_bend_widens_by_the_error_of_linear_interpolation():
    sizes = [1_000, 10_000, 100_000]
    # Without scatter; a parabola in log10(size), of second divided difference 0.4, through these leads.
    found = found_in([-0.6, 0.2, 1.8], sizes, [0.0] * 3)
    distance = np.linspace(0, 1, 100_001)
    near = np.abs(-0.6 + 0.8 * distance) <= 0.4 * distance * (1 - distance)
    exact = 10 ** (3 + distance[near][[0, -1]])
    step = 10 ** (1.001 / GRID)
    assert exact[0] / step <= found.interval.low <= exact[0]
    assert exact[1] <= found.interval.high <= exact[1] * step
    straight = found_in([-0.6, 0.19, 0.98], sizes, [0.0] * 3).interval
    assert straight.low < 10 ** (3 + 0.6 / 0.79) < straight.high <= straight.low * 10 ** (2.001 / GRID)


def test_sizes_scale_and_the_order_of_seeds_changes_no_bit():
    for trial in range(5):
        cnn, vit = errors_of(rng(trial).normal([0.3, 0.1, 0, -0.1, -0.3], 0.03, (6, 5)), SIZES, [0.0] * 6)
        found, order = crossover_size(SIZES, cnn, vit), rng(trial).permutation(6)
        assert crossover_size(SIZES, cnn[order], vit[order]) == found
        scaled = crossover_size([7 * n for n in SIZES], cnn, vit)
        assert scaled.size == pytest.approx(7 * found.size)
        assert (scaled.interval.low, scaled.interval.high) == pytest.approx(
            (7 * found.interval.low, 7 * found.interval.high)
        )


def law(a, b, floor=0.0):
    return lambda sizes: floor + a * (np.asarray(sizes) / 1_000) ** -b


def through(other, size, b, floor=0.0):
    """A law that meets another at a size."""
    return law((other(size) - floor) * (size / 1_000) ** b, b, floor)


CNN = law(0.65, 0.15)
THREE = [1_000, 5_000, 10_000]
WIDE = [1_000, 7_000, 50_000]


# With accuracies interpolated, coverage would be 68, 0, 9 and 0 %; without the widening, 0 % in the last.
@pytest.mark.parametrize(
    ("sizes", "seeds", "cnn", "vit"),
    [
        (THREE, 5, CNN, through(CNN, 2_500, 0.25)),
        (WIDE, 5, law(0.5, 0.1), through(law(0.5, 0.1), 20_000, 0.6)),
        (WIDE, 10, CNN, through(CNN, 2_500, 0.25)),
        (WIDE, 5, law(0.65, 0.12), through(law(0.65, 0.12), 2_500, 0.9, 0.15)),
    ],
)
def test_the_interval_covers_where_errors_are_power_laws_or_saturate(sizes, seeds, cnn, vit):
    truth = 20_000 if cnn(1_000) == 0.5 else 2_500
    assert cnn(truth) == pytest.approx(vit(truth))
    noise = np.exp(rng().normal(0, 0.015, (300, 2, seeds, 3)))
    found = [crossover_size(sizes, cnn(sizes) * one, vit(sizes) * other) for one, other in noise]
    shown = [f for f in found if f.size]
    assert len(shown) > 0.9 * len(found)
    assert all(f.changes[0].after < truth < f.changes[0].by for f in shown)
    assert np.mean([f.interval.low <= truth <= f.interval.high for f in shown]) > 0.93


# What is refused


def test_what_is_no_table_of_errors_is_refused():
    table = np.full((2, 5), 0.2)
    for bad, message in ((math.nan, "NaN"), (math.inf, "infinite"), (0.0, "error of 0")):
        broken = table.copy()
        broken[1, 2] = bad
        for pair in itertools.permutations([table, broken]):
            with pytest.raises(ValueError, match=message):
                crossover_size(SIZES, *pair)
    with pytest.raises(ValueError, match="increasing"):
        crossover_size(SIZES[::-1], table, table)
    with pytest.raises(ValueError, match="same seeds"):
        crossover_size(SIZES, table, np.full((3, 5), 0.2))
    with pytest.raises(ValueError, match="at least"):
        crossover_size(SIZES[:1], table[:, :1], table[:, :1])


def test_a_gap_is_widened_by_the_larger_bend_at_its_ends():
    sizes, middles = np.array([1.0, 10.0, 100.0, 1000.0]), np.sqrt([10.0, 1e3, 1e5])
    bends = _bend(sizes, np.array([0.0, 0.0, 0.0, 1.0]), middles)
    assert bends[0] == 0
    assert 0 < bends[1] == pytest.approx(bends[2])
    np.testing.assert_allclose(_bend(sizes, np.array([1.0, 0.0, 0.0, 0.0]), middles), bends[::-1])


def test_of_several_turns_within_a_change_the_last_is_taken():
    """Level at the two sizes between, where the mean turns back and forth."""
    scatter = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])[:, None] * [0.001, 0.1, 0.1, 0.001]
    mean, cnn = np.array([0.2, -0.01, 0.01, -0.2]), np.full((5, 4), 0.5)
    found = crossover_size([1_000, 2_000, 4_000, 8_000], cnn, cnn * np.exp(mean + scatter))
    assert found.leads == ("cnn", None, None, "vit")
    assert 4_000 < found.size < 8_000
