"""Probes of separable and of random features, with their control."""

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV

from jaxcompare.representations.probes import ALPHAS, Probe, probe, probe_layers

GENERATOR = np.random.default_rng(0)
LABELS, TEST_LABELS = GENERATOR.integers(0, 4, 400), GENERATOR.integers(0, 4, 300)
NOISE, TEST_NOISE = (GENERATOR.normal(size=(n, 12)).astype(np.float32) for n in (400, 300))
CENTRES = 8 * np.eye(4, 12, dtype=np.float32)


def test_separable_random_and_constant_layers():
    dead = np.ones((400, 3), np.float32)
    train = {"clear": NOISE + CENTRES[LABELS], "noise": NOISE, "dead": dead}
    test = {"clear": TEST_NOISE + CENTRES[TEST_LABELS], "noise": TEST_NOISE, "dead": dead[:300]}
    found = probe_layers(train, LABELS, test, TEST_LABELS)
    assert list(found) == ["clear", "noise", "dead"]
    assert found["clear"].accuracy > 0.99
    assert abs(found["clear"].control - 0.25) < 0.15
    assert abs(found["noise"].accuracy - 0.25) < 0.08
    frequent = np.mean(np.bincount(LABELS).argmax() == TEST_LABELS)
    assert found["dead"] == Probe(frequent, frequent, 0)


@pytest.mark.parametrize("signal", [0, 0.1, 1])
def test_probes_are_scikit_learns_ridge(signal):
    train, test = (x + signal * CENTRES[y] for x, y in ((NOISE, LABELS), (TEST_NOISE, TEST_LABELS)))
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    targets = np.where(LABELS[:, None] == np.arange(4), 1, -1)
    ridge = RidgeCV(ALPHAS, alpha_per_target=True).fit((train - mean) / deviation, targets)
    expected = ridge.predict((test - mean) / deviation).argmax(axis=1)
    assert probe(train, LABELS, test, TEST_LABELS).accuracy == pytest.approx(np.mean(expected == TEST_LABELS))


def test_scale_shift_and_dead_features_change_nothing():
    train, test = NOISE + 0.2 * CENTRES[LABELS], TEST_NOISE + 0.2 * CENTRES[TEST_LABELS]
    plain = probe(train, LABELS, test, TEST_LABELS)
    scale = np.logspace(-2, 2, 12, dtype=np.float32)

    def change(x):
        return np.concatenate([x * scale + 3, np.full((len(x), 2), 0.1, np.float32)], axis=1)

    changed = probe(change(train), LABELS, change(test), TEST_LABELS)
    assert changed.features == plain.features == 12
    assert changed.accuracy == pytest.approx(plain.accuracy, abs=0.01)


@pytest.mark.parametrize(
    ("train", "labels", "test", "test_labels", "message"),
    [
        (NOISE * np.nan, LABELS, TEST_NOISE, TEST_LABELS, "finite features"),
        (NOISE, 0 * LABELS, TEST_NOISE, TEST_LABELS, "two classes or more"),
        (NOISE, LABELS, TEST_NOISE[:0], TEST_LABELS[:0], "a test example"),
    ],
)
def test_what_cannot_be_probed_is_said(train, labels, test, test_labels, message):
    with pytest.raises(ValueError, match=message):
        probe(train, labels, test, test_labels)
