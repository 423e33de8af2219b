"""What can be read off each layer by a linear classifier, beside the same classifier taught shuffled labels."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

ALPHAS = tuple(10.0**exponent for exponent in range(-1, 6))
"""Penalties that a probe's is chosen from, by leave-one-out error on its training examples."""

CONSTANT = 1e-5
"""A feature whose deviation is below this share of its size is constant: float32 rounds at 1e-7."""


class Probe(NamedTuple):
    """Of one layer."""

    accuracy: float
    """On test examples, 0 to 1."""
    control: float
    """The same, with the training labels shuffled: what the probe reaches without the layer, around chance."""
    features: int
    """That vary over the training examples."""


def probe(
    train_features: Float[np.ndarray, "n d"],
    train_labels: Int[np.ndarray, " n"],
    test_features: Float[np.ndarray, "m d"],
    test_labels: Int[np.ndarray, " m"],
    *,
    seed: int = 0,
) -> Probe:
    """Ridge classification (one against all others, least squares) on standardised features.

    Least squares and not logistic regression: the solution is closed, so that nothing depends on when an iteration was
    ended, and its penalty comes from leave-one-out at no further cost. Features are standardised by the training
    examples; constant ones are left out. Where all are, every example is taken for the most frequent training label.

    Args:
        seed: of the shuffle.

    Raises:
        ValueError: features that are not finite, no test example, or fewer than two classes to learn.

    Source: Alain and Bengio 2017, Understanding intermediate layers using linear classifier probes; the control, Zhang
    et al. 2017, Understanding deep learning requires rethinking generalization, section 2.
    """
    if not (np.isfinite(train_features).all() and np.isfinite(test_features).all()):
        raise ValueError("a probe needs finite features")
    if len(np.unique(train_labels)) < 2 or not len(test_labels):
        raise ValueError("a probe needs two classes or more to learn, and a test example")
    mean, deviation = train_features.mean(axis=0, dtype=np.float64), train_features.std(axis=0, dtype=np.float64)
    varying = deviation > CONSTANT * np.abs(train_features).max(axis=0)
    train, test = ((x[:, varying] - mean[varying]) / deviation[varying] for x in (train_features, test_features))
    shuffled = np.random.default_rng(seed).permutation(train_labels)
    found = [_accuracy(train, labels, test, test_labels) for labels in (train_labels, shuffled)]
    return Probe(found[0], found[1], int(varying.sum()))


def _accuracy(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> float:
    # Imported here: its 0.7 s would be paid by every process that imports this package.
    from sklearn.linear_model import RidgeClassifierCV

    if not train.shape[1]:
        values, counts = np.unique(train_labels, return_counts=True)
        return float(np.mean(test_labels == values[counts.argmax()]))
    return float(RidgeClassifierCV(ALPHAS).fit(train, train_labels).score(test, test_labels))


def probe_layers(
    train_features: Mapping[str, Float[np.ndarray, "n _"]],
    train_labels: Int[np.ndarray, " n"],
    test_features: Mapping[str, Float[np.ndarray, "m _"]],
    test_labels: Int[np.ndarray, " m"],
    *,
    seed: int = 0,
) -> dict[str, Probe]:
    """A probe for every layer of a network.

    Args:
        train_features: by layer, pooled to a stated dimension: see `forward.pooled_features`. A probe of more features
            can read more, so compare layers of one dimension, or say which.
        test_features: of the same layers, for other images.
        seed: of the control's shuffle.

    Raises:
        ValueError: see `probe`.
    """
    return {
        layer: probe(features, train_labels, test_features[layer], test_labels, seed=seed)
        for layer, features in train_features.items()
    }
