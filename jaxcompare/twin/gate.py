"""PyTorch's side of the parity gate."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from jaxcompare.config import TrainingConfig
from jaxcompare.data.batch import Batch
from jaxcompare.measure.parity import Outcome
from jaxcompare.twin.fit import build_optimiser, to_tensors

Loss = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""(images, labels) -> mean loss, logits: as a cell computes them."""


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


def load_weights(model: nn.Module, params: Mapping[str, np.ndarray]) -> None:
    """Set a model's parameters to a reference's."""
    model.load_state_dict({key: torch.from_numpy(value) for key, value in params.items()})


def _numpy(value: torch.Tensor) -> np.ndarray:
    return value.detach().double().cpu().numpy()
