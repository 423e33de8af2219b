"""Where two classifiers differ: confusions, agreement, classes, and whether their errors coincide.

All intervals here speak of other test images, for these two networks as they are. How much of a difference is due to
the seed shows only between seeds.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from scipy import stats

from jaxcompare.analysis.statistics import LEVEL, Interval

Labels = Int[np.ndarray, "_"]


class ClassDifference(NamedTuple):
    """Accuracy of the first less that of the second, on the images of one class."""

    images: int
    difference: float
    interval: Interval


class ErrorConsistency(NamedTuple):
    """How often two classifiers are right or wrong together."""

    observed: float
    """Share of images that both have right or both have wrong."""
    expected: float
    """The same, if their errors were independent, at their accuracies."""
    kappa: float
    """1: always; 0: as if independent; below: less than that."""


def confusion_matrix(labels: Labels, predictions: Labels, classes: int) -> Int[np.ndarray, "classes classes"]:
    """Images of each class (rows) that were taken for each class (columns).

    Raises:
        ValueError: no images, lengths that differ, or a class beyond the last.
    """
    _check(labels, predictions)
    for values in (labels, predictions):
        if values.min() < 0 or values.max() >= classes:
            raise ValueError(f"classes must be from 0 to {classes - 1}, not from {values.min()} to {values.max()}")
    return np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)


def agreement(first: Labels, second: Labels) -> float:
    """Share of images on which both say the same, right or wrong.

    Raises:
        ValueError: no images, or lengths that differ.
    """
    _check(first, second)
    return float(np.mean(first == second))


def class_differences(
    labels: Labels, first: Labels, second: Labels, classes: int, *, level: float = LEVEL
) -> list[ClassDifference | None]:
    """Accuracy difference of every class, with an interval for paired proportions; None: no image of that class.

    The adjusted Wald interval adds one to each of the two counts of images that one alone has right, so it is defined
    and has a width where there are none.

    Args:
        level: of each interval by itself. For all together, take 1 - (1 - level) / classes.

    Raises:
        ValueError: no images, or lengths that differ.

    Source: Bonett and Price 2012, Adjusted Wald Confidence Interval for a Difference of Binomial Proportions Based on
    Paired Data, Journal of Educational and Behavioral Statistics 37(4).
    """
    _check(labels, first, second)
    z = float(stats.norm.ppf((1 + level) / 2))
    found: list[ClassDifference | None] = []
    for cls in range(classes):
        of_class = labels == cls
        images = int(of_class.sum())
        if not images:
            found.append(None)
            continue
        right, other = first[of_class] == cls, second[of_class] == cls
        alone, other_alone = int(np.sum(right & ~other)), int(np.sum(other & ~right))
        p, q = (alone + 1) / (images + 2), (other_alone + 1) / (images + 2)
        half = z * np.sqrt((p + q - (p - q) ** 2) / (images + 2))
        # No difference is beyond 1.
        low, high = max(-1.0, float(p - q - half)), min(1.0, float(p - q + half))
        method = f"adjusted Wald, paired, {images} images"
        found.append(ClassDifference(images, (alone - other_alone) / images, Interval(low, high, method)))
    return found


def error_consistency(labels: Labels, first: Labels, second: Labels) -> ErrorConsistency:
    """Cohen's kappa of "right or wrong" between two classifiers, which their accuracies alone do not raise.

    Where no other outcome was possible, since both are always right, both always wrong, kappa is 0: nothing beyond
    chance can be seen.

    Raises:
        ValueError: no images, or lengths that differ.

    Source: Geirhos et al. 2020, Beyond accuracy: quantifying trial-by-trial behaviour of CNNs and humans by measuring
    error consistency, section 2.
    """
    _check(labels, first, second)
    right, other = first == labels, second == labels
    observed = float(np.mean(right == other))
    p, q = float(right.mean()), float(other.mean())
    expected = p * q + (1 - p) * (1 - q)
    return ErrorConsistency(observed, expected, (observed - expected) / (1 - expected) if expected < 1 else 0.0)


def _check(*rows: Labels) -> None:
    lengths = {len(row) for row in rows}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"labels and predictions of the same images are needed, one or more, not {sorted(lengths)}")
