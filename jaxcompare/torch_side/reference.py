"""The float64 reference that both sides of the parity gate are held against."""

from collections.abc import Mapping

import numpy as np
import torch
from flax.traverse_util import flatten_dict
from torch import nn
from torch.nn.functional import cross_entropy

from jaxcompare.config import ModelName, TrainingConfig
from jaxcompare.data.batch import full_batches
from jaxcompare.data.host import crop_and_flip, normalise
from jaxcompare.data.split import Dataset
from jaxcompare.measure.parity import STEPS, Outcome, Reference
from jaxcompare.torch_side.cell_step import with_gradients, without_dropout
from jaxcompare.torch_side.convert import to_flax
from jaxcompare.torch_side.fit import build_optimiser, to_tensors
from jaxcompare.torch_side.gate import compute
from jaxcompare.torch_side.models import build_model
from jaxcompare.torch_side.resident import Draws, draw, put_split


def compute_reference(name: ModelName, dataset: Dataset, training: TrainingConfig) -> Reference:
    """Weights and batches from the seed, and what float64 makes of them."""
    torch.manual_seed(training.seed)
    model = build_model(name, num_classes=len(dataset.class_names), image_size=dataset.train.images.shape[1])
    without_constants(model)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    pixels, labels, draws = _draw_batches(dataset, training)
    cropped = [crop_and_flip(*one) for one in zip(pixels.permute(0, 1, 4, 2, 3), *draws, strict=True)]
    images = torch.stack([normalise(one, dataset.statistics) for one in cropped]).permute(0, 1, 3, 4, 2).numpy()
    batches = [*map(to_tensors, full_batches(images, labels))]
    model.double()

    def compute_loss(images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = model(images.double())
        return cross_entropy(logits, labels), logits

    without_dropout(model)
    optimiser = build_optimiser(model, training)
    outcome = compute(model, with_gradients(compute_loss), batches, optimiser, optimiser.step)
    grads = {key: torch.from_numpy(np.asarray(value)) for key, value in outcome.grads.items()}
    return Reference(
        images,
        labels,
        pixels.numpy(),
        np.stack([part.numpy() for part in draws]),
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


def _draw_batches(dataset: Dataset, training: TrainingConfig) -> tuple[torch.Tensor, np.ndarray, Draws]:
    """STEPS full batches: pixels (steps, n, h, w, 3), labels and draws (steps, n)."""
    size = min(training.batch_size, len(dataset.train))
    places = np.stack([torch.randperm(len(dataset.train))[:size].numpy() for _ in range(STEPS)])
    split = dataset.train
    draws = draw(put_split(split, dataset.statistics, torch.device("cpu")), places.size)
    shaped = Draws(*(part.view(*places.shape) for part in draws))
    return torch.from_numpy(split.images[places]), split.labels[places], shaped


def _flat(tree: Mapping) -> dict[str, np.ndarray]:
    return {"/".join(path): np.asarray(value) for path, value in flatten_dict(dict(tree)).items()}
