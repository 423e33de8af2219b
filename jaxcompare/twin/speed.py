"""Timed epochs of the PyTorch twin, in every way that PyTorch can run them. For a process without JAX."""

import contextlib
import dataclasses
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from jaxcompare.cells import Cell
from jaxcompare.config import InputError, TrainingConfig
from jaxcompare.data.batch import Batch
from jaxcompare.data.datasets import Dataset
from jaxcompare.data.host import HostLoader
from jaxcompare.measure.environment import cpu_cores, process_peak_bytes
from jaxcompare.measure.parity import Outcome, Reference
from jaxcompare.twin.fit import build_optimiser, to_tensors
from jaxcompare.twin.gate import Loss, load_weights, run_side
from jaxcompare.twin.models import build_model
from jaxcompare.twin.recipe_input import build_recipe_loader

RECIPE_WORKERS = 2
CEILING_REPEATS = 7


@dataclasses.dataclass(frozen=True)
class Timing:
    """What was measured, in seconds and FLOP/s."""

    epoch_time_s: list[float]
    ceiling_flops_per_s: float
    execution: dict[str, object]
    manifest: dict[str, object]
    """Everything that decides PyTorch's speed, read back from it; see `cells.MUST_AGREE`."""


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
    device = set_up(cell)
    torch.manual_seed(training.seed)
    model = build_model(cell.model, num_classes=len(dataset.class_names), image_size=dataset.train.images.shape[1])
    model.to(device).train()
    fused = device.type == "cuda"
    optimiser = build_optimiser(model, training, fused=fused)
    compute_loss = build_loss(cell, model, device)
    batches = _batches(cell, dataset, training, device)
    times = []
    with empty_compiler_cache():
        for _ in range(training.epochs):
            synchronise(device)
            start = time.perf_counter()
            for images, labels in batches:
                optimiser.zero_grad()
                loss, _ = compute_loss(images.to(device), labels.to(device))
                loss.backward()
                optimiser.step()
            synchronise(device)
            times.append(time.perf_counter() - start)
    if not torch.isfinite(loss):
        raise InputError(f"{cell.title}, {cell.model}: the training loss is no longer finite; try a lower --lr")
    peak = torch.cuda.max_memory_allocated() if fused else None
    execution: dict[str, object] = {"peak_bytes": {"device": peak, "process": process_peak_bytes()}}
    return Timing(times, _measure_ceiling(cell, device), execution, _build_manifest(cell, device))


@contextlib.contextmanager
def empty_compiler_cache() -> Iterator[None]:
    """A new folder for what torch.compile keeps: another process's programs, the gate's among them, would be read from
    the usual one, and compiling would seem to cost less than it does."""
    before = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    # Its compiler processes may still write as they end.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        try:
            yield
        finally:
            del os.environ["TORCHINDUCTOR_CACHE_DIR"]
            if before is not None:
                os.environ["TORCHINDUCTOR_CACHE_DIR"] = before


def _build_manifest(cell: Cell, device: torch.device) -> dict[str, object]:
    return {
        "tf32": device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32,
        "bfloat16": cell.precision == "bfloat16",
        "threads": torch.get_num_threads() if device.type == "cpu" else cpu_cores(),
        "layout": "NCHW",
        "attention": "torch.nn.MultiheadAttention",
        "optimiser": "fused" if device.type == "cuda" else "for each parameter",
        "dropout_generator": "Philox" if device.type == "cuda" else "Mersenne Twister",
        "donation": False,
        "cudnn_benchmark": device.type == "cuda",
        "compiler": "none" if cell.engine == "eager" else "inductor",
    }


def run_gate(cell: Cell, reference: Reference, training: TrainingConfig) -> Outcome:
    """What the cell's way of running the model, compiler and precision included, makes of a reference's weights."""
    device = set_up(cell)
    model = build_model(cell.model, num_classes=reference.num_classes, image_size=reference.images.shape[2])
    load_weights(model, reference.params["torch"])
    ones = np.ones(reference.labels.shape[1], np.float32)
    batches = [Batch(images, labels, ones) for images, labels in zip(reference.images, reference.labels, strict=True)]
    return run_side(model, build_loss(cell, model, device), batches, training, device.type)


def set_up(cell: Cell) -> torch.device:
    """The device, with PyTorch's global settings as the cell has them."""
    device = torch.device(find_device())
    if device.type == "cpu" and (cell.engine == "cudagraphs" or cell.precision == "tf32"):
        raise InputError(f"{cell.title}, {cell.precision}: needs a GPU that PyTorch can use")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = cell.precision == "tf32"
    torch.backends.cudnn.benchmark = True  # XLA, too, times its candidates
    if device.type == "cpu":
        torch.set_num_threads(cpu_cores())  # as many as JAX may use; PyTorch's own choice leaves out hyperthreads
    return device


def build_loss(cell: Cell, model: torch.nn.Module, device: torch.device) -> Loss:
    """A batch's mean loss and logits, compiled and rounded as the cell says."""

    def compute_loss(images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast(device.type, torch.bfloat16, enabled=cell.precision == "bfloat16"):
            logits = model(images).float()
            return cross_entropy(logits, labels), logits

    if cell.engine == "eager":
        return compute_loss
    mode = "reduce-overhead" if cell.engine == "cudagraphs" else "default"
    # The short last batch is a second program, not a program of unknown size.
    return torch.compile(compute_loss, mode=mode, dynamic=False)


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
        synchronise(device)
        times.append(time.perf_counter() - start)
    return 2 * side**3 / statistics.median(times[1:])


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
