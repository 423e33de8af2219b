"""How PyTorch's side of the parity gate computes, in float64 for the reference, or as a cell does."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from jaxcompare.cells import Cell
from jaxcompare.data.batch import full_batches
from jaxcompare.data.split import Split
from jaxcompare.measure.parity import Outcome, Reference, compute_outcome
from jaxcompare.side import Setup
from jaxcompare.torch_side.cell_step import build_cells_model, build_propagation, build_update, start, without_dropout
from jaxcompare.torch_side.fit import to_tensors
from jaxcompare.torch_side.replicas import Loss
from jaxcompare.torch_side.resident import put_split


def run_gate(cell: Cell, setup: Setup, reference: Reference) -> Outcome:
    """Logits, gradients and losses of a cell's model with a reference's weights."""
    device, model = start(cell), build_cells_model(cell, setup)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in reference.params["torch"].items()})
    if cell.input == "resident":
        # The step itself makes the reference's batches, of its pixels and by its draws.
        places = torch.arange(reference.labels.size).view(*reference.labels.shape)
        top, left, flip = map(torch.from_numpy, reference.draws)
        batches = list(zip(places, top, left, flip.bool(), strict=True))
        pixels = reference.pixels.reshape(-1, *reference.pixels.shape[2:])
        resident = put_split(Split(pixels, reference.labels.ravel()), setup.dataset.statistics, device)
    else:
        batches, resident = [*map(to_tensors, full_batches(reference.images, reference.labels))], None
    without_dropout(model)
    model.to(device).train()
    propagate = build_propagation(cell, model, device, resident)
    return compute(model, propagate, batches, *build_update(cell, model, setup.training_of(cell)), device.type)


def compute(
    model: nn.Module,
    propagate: Loss,
    batches: Sequence[Sequence[torch.Tensor]],
    optimiser: torch.optim.Optimizer,
    update: Callable[[], object],
    device: str = "cpu",
) -> Outcome:
    """What `measure.parity` asks for, by `propagate`, which leaves the gradients of each of `batches` in `model`."""

    def run(batch: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        optimiser.zero_grad()
        return propagate(*(part.to(device) for part in batch))

    def differentiate(batch: Sequence[torch.Tensor]) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        _, logits = run(batch)
        grads = {key: _numpy(value.grad) for key, value in model.named_parameters() if value.grad is not None}
        return _numpy(logits), grads

    def train(batch: Sequence[torch.Tensor]) -> float:
        loss, _ = run(batch)
        update()
        return float(loss)

    return compute_outcome(batches, differentiate, train)


def _numpy(value: torch.Tensor) -> np.ndarray:
    return value.double().cpu().numpy()
