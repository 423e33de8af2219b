"""What can be read off each layer by a linear classifier, beside the same classifier taught shuffled labels."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxcompare.representations.forward import CONSTANT

ALPHAS = tuple(10.0**exponent for exponent in range(-1, 6))
"""Penalties that each class's is chosen from, by leave-one-out squared error on the training examples."""


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
) -> Probe:
    """Ridge classification (least squares of 1 for the class and -1 for all others) on standardised features.

    Least squares and not logistic regression: the solution is closed, so that nothing depends on when an iteration was
    ended, and its penalty comes from leave-one-out at no further cost. Features are standardised by the training
    examples; constant ones are left out. Where all are, every example is taken for the most frequent training label.

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
    shuffled = np.random.default_rng(0).permutation(train_labels)
    classes = np.unique(train_labels)
    # Side by side, so that one decomposition serves both.
    targets = [np.where(labels[:, None] == classes, 1.0, -1.0) for labels in (train_labels, shuffled)]
    scores = _ridge_scores(train, np.concatenate(targets, axis=1), test)
    accuracy, control = (
        float(np.mean(classes[part.argmax(axis=1)] == test_labels)) for part in np.split(scores, 2, axis=1)
    )
    return Probe(accuracy, control, int(varying.sum()))


def _ridge_scores(
    train: Float[np.ndarray, "n d"], targets: Float[np.ndarray, "n t"], test: Float[np.ndarray, "m d"]
) -> Float[np.ndarray, "m t"]:
    """Ridge regression of each target, with the penalty of `ALPHAS` that leaves it the least leave-one-out error.

    As scikit-learn's `RidgeCV`, from the eigenvectors of train' train, which takes a fraction of its time where
    examples are many. The residual of an example that is left out is its residual over 1 - its leverage.

    Args:
        train: every feature's mean is 0.
    """
    mean = targets.mean(axis=0)
    values, vectors = np.linalg.eigh(train.T @ train)
    rotated = train @ vectors
    cross = rotated.T @ (targets - mean)
    errors, slopes = [], []
    for alpha in ALPHAS:
        shrunk = 1 / (np.maximum(values, 0) + alpha)
        slopes.append(shrunk[:, None] * cross)
        # The mean, which is fitted too, has leverage 1 / n.
        leverage = 1 / len(train) + rotated**2 @ shrunk
        errors.append(np.mean(((targets - mean - rotated @ slopes[-1]) / (1 - leverage)[:, None]) ** 2, axis=0))
    best = np.argmin(errors, axis=0)
    return test @ vectors @ np.stack(slopes)[best, :, np.arange(len(best))].T + mean


def probe_layers(
    train_features: Mapping[str, Float[np.ndarray, "n _"]],
    train_labels: Int[np.ndarray, " n"],
    test_features: Mapping[str, Float[np.ndarray, "m _"]],
    test_labels: Int[np.ndarray, " m"],
) -> dict[str, Probe]:
    """A probe for every layer of a network.

    Args:
        train_features: by layer, pooled to a given dimension: see `forward.pooled_features`. A probe of more features
            can read more, so compare layers of one dimension, or say which.
        test_features: of the same layers, for other images.

    Raises:
        ValueError: see `probe`.
    """
    return {
        layer: probe(features, train_labels, test_features[layer], test_labels)
        for layer, features in train_features.items()
    }
