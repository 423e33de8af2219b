"""PyTorch's side of the parity gate, and the float64 reference that both sides are held against."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from flax.traverse_util import flatten_dict
from torch import nn
from torch.nn.functional import cross_entropy

from jaxcompare.config import ModelName, TrainingConfig
from jaxcompare.data.batch import Batch
from jaxcompare.data.datasets import Dataset
from jaxcompare.data.host import HostLoader
from jaxcompare.measure.parity import STEPS, Outcome, Reference
from jaxcompare.twin.convert import to_flax
from jaxcompare.twin.fit import build_optimiser, to_tensors
from jaxcompare.twin.models import build_model

Loss = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""(images, labels) -> mean loss, logits: as a cell computes them."""


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

    outcome = run_side(model, compute_loss, batches, training)
    grads = {key: torch.from_numpy(np.asarray(value)) for key, value in outcome.grads.items()}
    return Reference(
        np.stack([batch.images for batch in batches]),
        np.stack([batch.labels for batch in batches]),
        {"torch": {key: value.numpy() for key, value in weights.items()}, "jax": _flat(to_flax(name, weights))},
        {"torch": outcome, "jax": Outcome(outcome.logits, _flat(to_flax(name, grads)), outcome.losses)},
    )


def run_side(
    model: nn.Module, compute_loss: Loss, batches: list[Batch], training: TrainingConfig, device: str = "cpu"
) -> Outcome:
    """Logits, gradients and the losses of a few steps, dropout off, by `compute_loss`, which runs `model`."""
    without_dropout(model)
    model.to(device).train()
    optimiser = build_optimiser(model, training, fused=device != "cpu")
    losses, first = [], None
    for batch in batches:
        images, labels = (part.to(device) for part in to_tensors(batch))
        optimiser.zero_grad()
        loss, logits = compute_loss(images, labels)
        loss.backward()
        if first is None:
            grads = {key: _numpy(value.grad) for key, value in model.named_parameters() if value.grad is not None}
            first = (_numpy(logits), grads)
        optimiser.step()
        losses.append(float(loss.detach()))
    assert first is not None
    return Outcome(*first, np.array(losses))


def without_dropout(model: nn.Module) -> None:
    """Set every dropout rate to 0."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0


def without_constants(model: nn.Module) -> None:
    """Make a little noise of parameters that start constant: the class token, norms, some biases. A constant would hide
    a mistake in what it is used for."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.std() == 0:
                parameter += 0.02 * torch.randn_like(parameter)


def load_weights(model: nn.Module, params: Mapping[str, np.ndarray]) -> None:
    """Set a model's parameters to a reference's."""
    model.load_state_dict({key: torch.from_numpy(value) for key, value in params.items()})


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


def _numpy(value: torch.Tensor) -> np.ndarray:
    return value.detach().double().cpu().numpy()
