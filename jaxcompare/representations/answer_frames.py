"""What the networks answer, as frames: where they disagree, and what they answer to corrupted images."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from jaxcompare.analysis.statistics import LEVEL
from jaxcompare.data.split import Statistics
from jaxcompare.representations.corruptions import CORRUPTIONS, robustness_curves
from jaxcompare.representations.disagreement import agreement, class_differences, confusion_matrix, error_consistency
from jaxcompare.representations.networks import Network

Labels = Int[np.ndarray, " n"]

PARTS = 10
"""Of the images, one of which is left out at a time: what the jackknife makes an interval of."""


def disagreement_frames(
    networks: Sequence[Network], labels: Labels, predictions: Mapping[str, Labels], classes: int
) -> dict[str, pd.DataFrame]:
    """`agreement` of every pair, over all images (`without` -1) and without each part of them; `confusion` of every
    network; `classes`: CNN less ViT,
    a row a seed and class that has images.
    """
    pairs, cells, differences = [], [], []
    together = 1 - (1 - LEVEL) / classes  # of all classes at once (Bonferroni)
    for one, other in itertools.combinations(networks, 2):
        first, second = predictions[one.name], predictions[other.name]
        ids = {"model": one.model, "seed": one.seed, "other_model": other.model, "other_seed": other.seed}
        everything = np.arange(len(labels))
        for without, part in enumerate([[], *np.array_split(everything, PARTS)], -1):
            rows = np.setdiff1d(everything, part)
            both = {"without": without, **ids, "agreement": agreement(first[rows], second[rows])}
            pairs.append(both | error_consistency(labels[rows], first[rows], second[rows])._asdict())
        if one.model != other.model and one.seed == other.seed:
            for label, found in enumerate(class_differences(labels, first, second, classes, level=together)):
                if found:
                    ends = {"low": found.interval.low, "high": found.interval.high}
                    row = {"seed": one.seed, "label": label, "images": found.images, "difference": found.difference}
                    differences.append(row | ends)
    for network in networks:
        matrix = confusion_matrix(labels, predictions[network.name], classes)
        for (label, prediction), images in np.ndenumerate(matrix):
            row = {"model": network.model, "seed": network.seed, "label": label}
            cells.append(row | {"prediction": prediction, "images": images})
    return {
        "agreement": pd.DataFrame(pairs),
        "confusion": pd.DataFrame(cells),
        "classes": pd.DataFrame(differences),
    }


def robustness_frame(
    networks: Sequence[Network], pixels: Float[np.ndarray, "n h w c"], labels: Labels, statistics: Statistics
) -> pd.DataFrame:
    """`robustness`, a row a network, corruption and strength."""
    curves = robustness_curves({n.name: (n.module, n.params) for n in networks}, pixels, labels, statistics)
    return pd.DataFrame(
        {
            "model": network.model,
            "seed": network.seed,
            "corruption": kind,
            "unit": CORRUPTIONS[kind].unit,
            "step": step,
            "strength": strength,
            "accuracy": accuracy,
        }
        for network in networks
        for kind, curve in curves[network.name].items()
        for step, (strength, accuracy) in enumerate(zip(curve.strengths, curve.accuracy, strict=True))
    )
