"""The study of what the networks learned, read from its frames: seeds' means with their intervals."""

import dataclasses
import io
import json
import zipfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jaxcompare.analysis.statistics import Estimate, estimate
from jaxcompare.config import InputError

NETWORK = ("model", "seed", "trained")

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "similarity": (
        "measure",
        *NETWORK,
        "layer",
        "other_model",
        "other_seed",
        "other_trained",
        "other_layer",
        "value",
    ),
    "identification": ("measure", "model", "seed", "other_seed", "share", "chance"),
    "attention": (*NETWORK, "layer", "head", "pixels", "class_share"),
    "fields": (*NETWORK, "layer", "width", "theoretical"),
    "deletion": ("model", "seed", "map", "fraction", "by_map", "by_other", "at_random"),
    "probes": (*NETWORK, "layer", "accuracy", "control", "features"),
    "agreement": (
        "without",
        "model",
        "seed",
        "other_model",
        "other_seed",
        "agreement",
        "observed",
        "expected",
        "kappa",
    ),
    "confusion": ("model", "seed", "label", "prediction", "images"),
    "classes": ("seed", "label", "images", "difference", "low", "high"),
    "robustness": ("model", "seed", "corruption", "unit", "step", "strength", "accuracy"),
}
"""Of every frame, FRAME.csv; what they mean is in docs/records.md."""

STUDY, PICTURES = "study.json", "pictures.npz"

MEASURES = {"cka": "CKA", "neighbours": "mutual nearest neighbours"}

LEAST_IDENTIFIED = 0.5
"""Share of layers that a measure must find again in another seed of each model to be used for a conclusion."""


@dataclasses.dataclass(frozen=True, eq=False)
class Representations:
    """A finished study."""

    frames: Mapping[str, pd.DataFrame]
    study: Mapping[str, Any]
    """What was used: see docs/records.md."""
    pictures: Mapping[str, np.ndarray]
    """Images, maps and first layers, for figures."""

    @cached_property
    def seeds(self) -> list[int]:
        """Of the trained networks, the same for both models."""
        return sorted(self.frames["robustness"].seed.unique())

    @cached_property
    def identified(self) -> dict[str, dict[str, float]]:
        """By measure and model, the mean share of layers found again in another seed."""
        shares = self.frames["identification"].groupby(["measure", "model"], sort=False).share.mean()
        return {measure: shares[measure].to_dict() for measure in shares.index.unique("measure")}

    @cached_property
    def trusted(self) -> list[str]:
        """The measures of similarity that pass their own test, and so may be used for a conclusion."""
        return [name for name, shares in self.identified.items() if min(shares.values()) >= LEAST_IDENTIFIED]

    def block(
        self, measure: str, model: str, other: str, *, trained: bool = True, within: bool = False
    ) -> pd.DataFrame:
        """Mean similarity of the layers of one model (rows) and of another (columns), in order.

        Args:
            trained: else of untrained networks.
            within: of each network with itself; else of networks of different seeds, or of different models.
        """
        of = self.frames["similarity"]
        chosen = (of.measure == measure) & (of.model == model) & (of.other_model == other)
        chosen &= (of.trained == trained) & (of.other_trained == trained)
        if model == other:
            chosen &= (of.seed == of.other_seed) == within
        rows = of[chosen]
        table = rows.groupby(["layer", "other_layer"], sort=False).value.mean().unstack(sort=False)
        return table.loc[rows.layer.unique(), rows.other_layer.unique()]

    @cached_property
    def kept(self) -> pd.DataFrame:
        """By model, seed and corruption: mean share that a network keeps of its own accuracy above chance, over the
        strengths; NaN of one that is not above chance, which has nothing to lose.
        """
        rows, chance = [], 1 / len(self.study["class_names"])
        for (model, seed, corruption), of in self.frames["robustness"].groupby(
            ["model", "seed", "corruption"], sort=False
        ):
            accuracy = of.sort_values("step").accuracy.to_numpy()
            above = accuracy - chance
            shares = above / above[0] if above[0] > 0 else np.full(len(above), np.nan)
            rows.append({"model": model, "seed": seed, "corruption": corruption, "kept": shares[1:].mean()})
        return pd.DataFrame(rows)

    @cached_property
    def kept_more(self) -> dict[str, Estimate]:
        """By corruption: what the ViT keeps of its accuracy above chance less what the CNN keeps, paired by seed; of
        seeds in which both are above it."""
        table = self.kept.set_index(["corruption", "model", "seed"]).kept.unstack("model")
        return {
            str(kind): estimate((rows.vit - rows.cnn).tolist())
            for kind, rows in table.dropna().groupby(level="corruption", sort=False)
        }


def read_representations(folder: Path) -> Representations:
    """A study's frames.

    Raises:
        InputError: a file is missing, damaged, or has other columns.
    """
    try:
        study = json.loads((folder / STUDY).read_text())
        with np.load(io.BytesIO((folder / PICTURES).read_bytes())) as arrays:
            pictures = dict(arrays)
        frames = {name: pd.read_csv(folder / f"{name}.csv") for name in COLUMNS}
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); run representations.py anew") from error
    except (ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{folder}: a file of the study is damaged ({error}); run representations.py anew") from error
    for name, columns in COLUMNS.items():
        if tuple(frames[name]) != columns or not len(frames[name]):
            raise InputError(f"{folder / name}.csv: not the columns {', '.join(columns)}; run representations.py anew")
    return Representations(frames, study, pictures)
