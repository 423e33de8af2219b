"""Timed epochs of the PyTorch twin, in every way that PyTorch can run them. For a process without JAX."""

import dataclasses
import statistics
import time
from collections.abc import Iterable

import torch
from torch.nn.functional import cross_entropy

from jaxcompare.cells import Cell
from jaxcompare.config import InputError, TrainingConfig
from jaxcompare.data.datasets import Dataset
from jaxcompare.data.host import HostLoader
from jaxcompare.measure.environment import process_peak_bytes
from jaxcompare.twin.fit import build_optimiser, to_tensors
from jaxcompare.twin.models import build_model
from jaxcompare.twin.recipe_input import build_recipe_loader

RECIPE_WORKERS = 2
CEILING_REPEATS = 7


@dataclasses.dataclass(frozen=True)
class Timing:
    """What was measured, in seconds and FLOP/s."""

    epoch_time_s: list[float]
    ceiling_flops_per_s: float
    settings: dict[str, object]
    """Everything about PyTorch's execution that decides its speed."""


def find_device() -> str:
    """Where PyTorch trains here: "cuda" or "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def time_epochs(cell: Cell, dataset: Dataset, training: TrainingConfig) -> Timing:
    """Train `training.epochs` epochs and time each; the first holds all compilation.

    The clock is read with the device synchronised, at the start and the end of an epoch only; the loss stays on the
    device, as it does in JAX.

    Raises:
        InputError: the cell needs a GPU and there is none.
    """
    device = torch.device(find_device())
    if device.type == "cpu" and (cell.engine == "cudagraphs" or cell.precision == "tf32"):
        raise InputError(f"{cell.title}, {cell.precision}: needs a GPU that PyTorch can use")
    tf32 = cell.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True  # XLA, too, times its candidates
    torch.manual_seed(training.seed)
    model = build_model(cell.model, num_classes=len(dataset.class_names), image_size=dataset.train.images.shape[1])
    model.to(device).train()
    fused = device.type == "cuda"
    optimiser = build_optimiser(model, training, fused=fused)

    def compute_loss(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=cell.precision == "bfloat16"):
            return cross_entropy(model(images).float(), labels)

    if cell.engine != "eager":
        mode = "reduce-overhead" if cell.engine == "cudagraphs" else "default"
        # The short last batch is a second program, not a program of unknown size.
        compute_loss = torch.compile(compute_loss, mode=mode, dynamic=False)

    batches = _batches(cell, dataset, training, device)
    times = []
    for _ in range(training.epochs):
        _synchronise(device)
        start = time.perf_counter()
        for images, labels in batches:
            optimiser.zero_grad()
            loss = compute_loss(images.to(device), labels.to(device))
            loss.backward()
            optimiser.step()
        _synchronise(device)
        times.append(time.perf_counter() - start)
    if not torch.isfinite(loss):
        raise InputError(f"{cell.title}, {cell.model}: the training loss is no longer finite; try a lower --lr")
    peak = torch.cuda.max_memory_allocated() if fused else None
    settings: dict[str, object] = {
        "tf32": tf32,
        "cudnn_benchmark": fused,
        "fused_optimiser": fused,
        "peak_bytes": {"device": peak, "process": process_peak_bytes()},
    }
    return Timing(times, _measure_ceiling(cell, device), settings)


def _batches(
    cell: Cell, dataset: Dataset, training: TrainingConfig, device: torch.device
) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
    if cell.input == "recipe":
        return build_recipe_loader(dataset.train, training.batch_size, dataset.statistics, workers=RECIPE_WORKERS)
    loader = HostLoader(
        dataset.train, training.batch_size, dataset.statistics, augment=True, shuffle=True, seed=training.seed
    )
    return [(images.to(device), labels.to(device)) for images, labels in map(to_tensors, loader.epoch(0))]


def _measure_ceiling(cell: Cell, device: torch.device) -> float:
    side = 8192 if device.type == "cuda" else 2048
    factor = torch.ones(side, side, device=device, dtype=getattr(torch, cell.precision, torch.float32))
    times = []
    for _ in range(CEILING_REPEATS + 1):
        start = time.perf_counter()
        factor @ factor
        _synchronise(device)
        times.append(time.perf_counter() - start)
    return 2 * side**3 / statistics.median(times[1:])


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
