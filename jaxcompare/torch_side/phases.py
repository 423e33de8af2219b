"""The phases of PyTorch's train step, one after another."""

import dataclasses
import time

import torch

from jaxcompare.cells import Cell
from jaxcompare.data.host import build_loaders
from jaxcompare.measure.clock import STEPS, WARM_UP, Phases, median_ms, time_batches, time_calls
from jaxcompare.side import Setup
from jaxcompare.torch_side.cell_step import build_loss, build_training, start, synchronise
from jaxcompare.torch_side.fit import to_tensors


def measure_phases(cell: Cell, setup: Setup) -> Phases:
    """Time a cell's step by phase, on batches of the same pipeline as JAX's; all training images are used."""
    device, cell = start(cell), dataclasses.replace(cell, input="prepared")
    model, optimiser, propagate, update = build_training(cell, setup, device)
    compute_loss = build_loss(cell, model, device)
    loader, _ = build_loaders(setup.dataset, setup.training_of(cell), workers=0)
    batches, input_ms = time_batches(loader.epoch(0))
    on_host = to_tensors(batches[0])

    def wait(_: object) -> None:
        synchronise(device)

    copy_ms, _ = time_calls(lambda: [part.to(device, copy=True) for part in on_host], wait)
    images, labels = (part.to(device) for part in on_host)

    def step() -> None:
        optimiser.zero_grad()
        propagate(images, labels)
        update()

    step_ms, dispatch_ms = time_calls(step, wait)
    marks: list[list[float]] = []
    for _ in range(WARM_UP + STEPS):
        marks.append([_now(device)])
        optimiser.zero_grad()
        loss, _ = compute_loss(images, labels)
        marks[-1].append(_now(device))
        loss.backward()
        marks[-1].append(_now(device))
        update()
        marks[-1].append(_now(device))
    forward_ms, backward_ms, update_ms = (
        median_ms([mark[i + 1] - mark[i] for mark in marks[WARM_UP:]]) for i in range(3)
    )
    model.eval()

    @torch.inference_mode()
    def evaluate() -> torch.Tensor:
        return (compute_loss(images, labels)[1].argmax(1) == labels).sum()

    evaluation_ms, _ = time_calls(evaluate, wait)
    return Phases(input_ms, copy_ms, forward_ms, backward_ms, update_ms, step_ms, dispatch_ms, evaluation_ms)


def _now(device: torch.device) -> float:
    synchronise(device)
    return time.perf_counter()
