"""The networks that are studied: those that runs ended with, and what they began as."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import optax

from jaxcompare.config import InputError, ModelName
from jaxcompare.data.split import Dataset
from jaxcompare.models import build_model
from jaxcompare.records import RunRecord
from jaxcompare.representations.forward import Params
from jaxcompare.training.step import init_state
from jaxcompare.training.weights import load_weights


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A model with its parameters."""

    model: ModelName
    seed: int
    trained: bool
    module: nn.Module
    params: Params

    @property
    def ids(self) -> dict[str, str | int | bool]:
        """The columns of a frame that say which it is."""
        return {"model": self.model, "seed": self.seed, "trained": self.trained}

    @property
    def name(self) -> str:
        """Of its own among all."""
        return f"{self.model}-{self.seed}{'' if self.trained else '-untrained'}"


def check_runs(records: Sequence[RunRecord], dataset: Dataset, folder: Path) -> list[RunRecord]:
    """Of a full comparison's records, the complete runs of seeds that both models have, in order.

    Raises:
        InputError: fewer than two such seeds, or runs on other images.
    """
    complete = [record for record in records if record.status == "complete" and record.experiment == "full_comparison"]
    seeds = {model: {r.config.training.seed for r in complete if r.config.model == model} for model in ("cnn", "vit")}
    both = seeds["cnn"] & seeds["vit"]
    if len(both) < 2:
        raise InputError(
            f"{folder}: complete runs of both models are needed, of two seeds or more, not of {sorted(both)}; "
            "train them by full_comparison.py --seeds 2"
        )
    chosen = [record for record in complete if record.config.training.seed in both]
    for record in chosen:
        for name, there, here in (
            ("number of classes", record.num_classes, len(dataset.class_names)),
            ("images", record.data_fingerprint[:8], dataset.fingerprint[:8]),
        ):
            if there != here:
                raise InputError(
                    f"{folder}: the runs' {name} is {there}, here it is {here}; give the --data-dir of their images"
                )
    return sorted(chosen, key=lambda r: (r.config.model, r.config.training.seed))


def load_networks(folder: Path, records: Sequence[RunRecord], dataset: Dataset) -> list[Network]:
    """Every run's network as trained, then every one untrained, from the run's own initialisation.

    Raises:
        InputError: weights that are missing, damaged, or those of another run.
    """
    some = np.zeros((1, *dataset.test.images.shape[1:]), np.float32)
    trained, untrained = [], []
    for record in records:
        name, seed = record.config.model, record.config.training.seed
        module = build_model(name, num_classes=record.num_classes)
        trained.append(Network(name, seed, True, module, load_weights(folder, record)))
        start = init_state(module, optax.identity(), jax.random.key(seed), some)
        untrained.append(Network(name, seed, False, module, start.params))
    return [*trained, *untrained]
