"""Confusions, agreement and error consistency of known tables; intervals per class."""

import numpy as np
import pytest
from scipy import stats

from jaxcompare.representations.disagreement import (
    agreement,
    class_differences,
    confusion_matrix,
    error_consistency,
)


def outcomes(both, first, second, neither):
    """Labels and two classifiers' predictions with so many images that both, one or neither has right."""
    labels = np.zeros(both + first + second + neither, int)
    a = np.repeat([0, 0, 1, 1], [both, first, second, neither])
    b = np.repeat([0, 1, 0, 1], [both, first, second, neither])
    return labels, a, b


def test_confusions_and_agreement():
    labels, predictions = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 0, 2])
    np.testing.assert_array_equal(confusion_matrix(labels, predictions, 3), [[1, 1, 0], [0, 1, 0], [1, 0, 1]])
    assert agreement(labels, predictions) == 0.6


@pytest.mark.parametrize(
    ("table", "kappa"),
    [
        ((50, 0, 0, 50), 1),
        ((25, 25, 25, 25), 0),
        ((0, 50, 50, 0), -1),
        ((20, 5, 10, 15), 0.4),  # Cohen's example of two readers
        ((81, 9, 9, 1), 0),
        ((10, 0, 0, 0), 0),
        ((0, 0, 0, 3), 0),
        ((0, 1, 0, 0), 0),
    ],
)
def test_kappa_of_known_tables(table, kappa):
    found = error_consistency(*outcomes(*table))
    assert found.kappa == pytest.approx(kappa)
    assert found.observed == pytest.approx((table[0] + table[3]) / sum(table))


def test_class_differences():
    labels = np.repeat([0, 1, 3], [100, 50, 1])
    first, second = labels.copy(), labels.copy()
    second[:20] = 1
    first[20:25] = 1
    one, none, missing, single = class_differences(labels, first, second, 4)
    assert (one.images, one.difference) == (100, pytest.approx(0.15))
    p, q = 21 / 102, 6 / 102
    half = stats.norm.ppf(0.975) * np.sqrt((p + q - (p - q) ** 2) / 102)
    assert (one.interval.low, one.interval.high) == pytest.approx((p - q - half, p - q + half))
    assert none.difference == 0
    assert none.interval.low == -none.interval.high < 0
    assert missing is None
    assert -1 <= single.interval.low < 0 < single.interval.high <= 1
    wider = class_differences(labels, first, second, 4, level=0.995)[0].interval
    assert wider.low < one.interval.low


def test_intervals_cover():
    generator, n, draws = np.random.default_rng(0), 100, 400
    labels, covered = np.zeros(n, int), 0
    for _ in range(draws):
        first = (generator.random(n) > 0.8).astype(int)
        second = np.where(generator.random(n) < 0.3, generator.random(n) > 0.7, first).astype(int)
        interval = class_differences(labels, first, second, 1)[0].interval
        # 0.8 against 0.7 * 0.8 + 0.3 * 0.7.
        covered += interval.low <= 0.03 <= interval.high
    assert covered / draws > 0.93


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: agreement(np.zeros(2, int), np.zeros(3, int)), "one or more"),
        (lambda: error_consistency(*[np.zeros(0, int)] * 3), "one or more"),
        (lambda: confusion_matrix(np.array([0, 2]), np.array([0, 1]), 2), "from 0 to 1, not from 0 to 2"),
    ],
)
def test_what_does_not_fit_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()
