"""The float64 reference that both sides of the parity gate are held against."""

from collections.abc import Mapping

import numpy as np
import torch
from flax.traverse_util import flatten_dict
from torch import nn
from torch.nn.functional import cross_entropy

from jaxcompare.config import ModelName, TrainingConfig
from jaxcompare.data.batch import Batch
from jaxcompare.data.host import HostLoader
from jaxcompare.data.split import Dataset
from jaxcompare.measure.parity import STEPS, Outcome, Reference
from jaxcompare.torch_side.convert import to_flax
from jaxcompare.torch_side.gate import compute
from jaxcompare.torch_side.models import build_model


def compute_reference(name: ModelName, dataset: Dataset, training: TrainingConfig) -> Reference:
    """Weights from the seed, the first batches of the first epochs, and what float64 makes of them."""
    torch.manual_seed(training.seed)
    model = build_model(name, num_classes=len(dataset.class_names), image_size=dataset.train.images.shape[1])
    without_constants(model)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    batches = _first_batches(dataset, training)
    model.double()

    def compute_loss(images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = model(images.double())
        return cross_entropy(logits, labels), logits

    outcome = compute(model, compute_loss, batches, training)
    grads = {key: torch.from_numpy(np.asarray(value)) for key, value in outcome.grads.items()}
    return Reference(
        np.stack([batch.images for batch in batches]),
        np.stack([batch.labels for batch in batches]),
        {"torch": {key: value.numpy() for key, value in weights.items()}, "jax": _flat(to_flax(name, weights))},
        {"torch": outcome, "jax": Outcome(outcome.logits, _flat(to_flax(name, grads)), outcome.losses)},
    )


def without_constants(model: nn.Module) -> None:
    """Make a little noise of parameters that start constant: the class token, norms, some biases. A constant would hide
    a mistake in what it is used for."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.std() == 0:
                parameter += 0.02 * torch.randn_like(parameter)


def _first_batches(dataset: Dataset, training: TrainingConfig) -> list[Batch]:
    """STEPS full batches, as the host pipeline gives them."""
    size = min(training.batch_size, len(dataset.train))
    loader = HostLoader(dataset.train, size, dataset.statistics, augment=True, shuffle=True, seed=training.seed)
    found: list[Batch] = []
    epoch = 0
    while len(found) < STEPS:
        found += [batch for batch in loader.epoch(epoch) if batch.mask.all()]
        epoch += 1
    return found[:STEPS]


def _flat(tree: Mapping) -> dict[str, np.ndarray]:
    return {"/".join(path): np.asarray(value) for path, value in flatten_dict(dict(tree)).items()}
