"""Timed epochs of the PyTorch twin, in every way that PyTorch can run them. For a process in which JAX does not run."""

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from jaxcompare import compat
from jaxcompare.cells import Cell, Timing
from jaxcompare.config import InputError, TrainingConfig
from jaxcompare.data.batch import Batch
from jaxcompare.data.split import Dataset
from jaxcompare.measure import clock
from jaxcompare.measure.environment import cpu_cores, describe_environment, process_peak_bytes
from jaxcompare.measure.parity import Outcome, Reference
from jaxcompare.twin.fit import build_optimiser, to_tensors
from jaxcompare.twin.gate import Loss, load_weights, run_side, without_dropout
from jaxcompare.twin.models import build_model

Prepared = Sequence[Batch] | None
"""The batches of a cell that has prepared ones: see `cells.Cell.prepared`."""

Tensors = tuple[torch.Tensor, torch.Tensor]


def find_device() -> str:
    """Where PyTorch trains here: "cuda" or "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def time_epochs(cell: Cell, dataset: Dataset, training: TrainingConfig, prepared: Prepared) -> Timing:
    """Train epochs on all images and time each, the first with all compilation; see `measure.clock.time_epochs`.

    The clock is read with the device synchronised, at the start and the end of an epoch only; the loss stays on the
    device, as it does in JAX.

    Raises:
        InputError: the cell needs a GPU and there is none, or the loss is no longer finite.
        RuntimeError: a program came from a cache or was compiled after the first epoch, or a clock was read too early.
    """
    device = set_up(cell)
    step = _build_step(cell, dataset, training, device)
    first_step_time_s: list[float] = []
    compiled = 0

    def check(epoch: int, loss: torch.Tensor) -> None:
        nonlocal compiled
        programs = compat.torch_programs()
        if programs.hits:
            raise RuntimeError("torch.compile did not compile anew: it found programs in a cache")
        compiled = compiled or programs.compiled
        if programs.compiled != compiled:
            raise RuntimeError(f"torch.compile compiled {programs.compiled - compiled} program(s) in epoch {epoch + 1}")
        if not torch.isfinite(loss):
            raise InputError("the training loss is no longer finite")

    with _open_batches(cell, dataset, training, prepared, device) as batches:
        timing = clock.time_epochs(
            training.epochs,
            lambda epoch: _train(step, batches(epoch), device, None if epoch else first_step_time_s),
            lambda _: synchronise(device),
            lambda: synchronise(device),
            check,
        )
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    memory = {"allocator": peak, "plan": None, "process": process_peak_bytes()}
    # The ceilings' own arrays come after the peak is read.
    flops_per_s, copy_bytes_per_s = _measure_ceilings(cell, device)
    return dataclasses.replace(
        timing,
        first_step_time_s=first_step_time_s,
        programs=compiled,
        ceiling_flops_per_s=flops_per_s,
        copy_bytes_per_s=copy_bytes_per_s,
        memory=memory,
        manifest=_build_manifest(cell, device),
        environment=describe_environment("torch", torch_device=device.type),
    )


def time_first_step(cell: Cell, dataset: Dataset, training: TrainingConfig, prepared: Prepared) -> float:
    """Seconds of the first step, with whatever the compiler finds in its cache.

    Raises:
        RuntimeError: it found nothing, and the time is no warm one.
    """
    device = set_up(cell)
    step = _build_step(cell, dataset, training, device)
    marks: list[float] = []
    with _open_batches(cell, dataset, training, prepared, device) as batches:
        _train(step, itertools.islice(batches(0), 1), device, marks)
    programs = compat.torch_programs()
    if programs.misses or not programs.hits:
        raise RuntimeError("torch.compile did not find its programs in the cache")
    return marks[0]


def save_trace(cell: Cell, dataset: Dataset, training: TrainingConfig, prepared: Prepared, folder: Path) -> None:
    """Write a profiler's trace of the second epoch, for chrome://tracing or Perfetto."""
    device = set_up(cell)
    step = _build_step(cell, dataset, training, device)
    folder.mkdir(parents=True, exist_ok=True)
    with _open_batches(cell, dataset, training, prepared, device) as batches:
        _train(step, batches(0), device)
        with compat.profile_torch() as profile:
            _train(step, batches(1), device)
            synchronise(device)
    profile.export_chrome_trace(str(folder / "trace.json"))


def build_training(
    cell: Cell, dataset: Dataset, training: TrainingConfig, device: torch.device
) -> tuple[torch.nn.Module, torch.optim.Optimizer, Loss]:
    """A cell's model in training mode, its optimiser, and its loss."""
    torch.manual_seed(training.seed)
    model = build_model(cell.model, num_classes=len(dataset.class_names), image_size=dataset.train.images.shape[1])
    if not cell.dropout:
        without_dropout(model)
    model.to(device).train()
    optimiser = build_optimiser(model, training, fused=device.type == "cuda")
    return model, optimiser, build_loss(cell, model, device)


def _build_step(
    cell: Cell, dataset: Dataset, training: TrainingConfig, device: torch.device
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """(images, labels) on the device -> loss, after one optimiser update."""
    _, optimiser, compute_loss = build_training(cell, dataset, training, device)

    def step(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        optimiser.zero_grad()
        loss, _ = compute_loss(images, labels)
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def _train(
    step: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    batches: Iterable[Sequence[torch.Tensor]],
    device: torch.device,
    marks: list[float] | None = None,
) -> tuple[torch.Tensor, float]:
    """One epoch; the last loss, perhaps under way still, and how many seconds the batches took to come. Into `marks`
    the seconds of each step, waited for."""
    start, loss, waited = time.perf_counter(), torch.tensor(torch.nan), 0.0
    asked = start
    for images, labels in batches:
        waited += time.perf_counter() - asked
        loss = step(images.to(device), labels.to(device))
        if marks is not None:
            synchronise(device)
            marks.append(time.perf_counter() - start)
            start = time.perf_counter()
        asked = time.perf_counter()
    return loss, waited


def _build_manifest(cell: Cell, device: torch.device) -> dict[str, object]:
    return {
        "tf32": device.type == "cuda" and compat.allows_tf32(),
        "bfloat16": cell.precision == "bfloat16",
        "threads": torch.get_num_threads() if device.type == "cpu" else cpu_cores(),
        "layout": "NHWC" if cell.control == "channels-last" else "NCHW",
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
    compat.torch_programs()  # what it reads is imported now, before any clock starts
    device = torch.device(find_device())
    if device.type == "cpu" and cell.engine == "cudagraphs":
        raise InputError("CUDA graphs need a GPU that PyTorch can use")
    if device.type == "cpu" and cell.precision == "tf32":
        raise InputError("tf32 needs a GPU that PyTorch can use")
    compat.allow_tf32(cell.precision == "tf32")
    torch.backends.cudnn.benchmark = True  # XLA, too, times its candidates
    if device.type == "cpu":
        torch.set_num_threads(cpu_cores())  # as many as JAX may use; PyTorch's own choice leaves out hyperthreads
    return device


def build_loss(cell: Cell, model: torch.nn.Module, device: torch.device) -> Loss:
    """A batch's mean loss and logits, compiled and rounded as the cell says."""

    layout = _layout(cell)
    model.to(memory_format=layout)

    def compute_loss(images: torch.Tensor, labels: torch.Tensor) -> Tensors:
        images = images.contiguous(memory_format=layout)
        with torch.autocast(device.type, torch.bfloat16, enabled=cell.precision == "bfloat16"):
            logits = model(images).float()
            return cross_entropy(logits, labels), logits

    if cell.engine == "eager":
        return compute_loss
    mode = "reduce-overhead" if cell.engine == "cudagraphs" else "default"
    # The short last batch is a second program, not a program of unknown size.
    return torch.compile(compute_loss, mode=mode, dynamic=False)


@contextlib.contextmanager
def _open_batches(
    cell: Cell, dataset: Dataset, training: TrainingConfig, prepared: Prepared, device: torch.device
) -> Iterator[Callable[[int], Iterable[Sequence[torch.Tensor]]]]:
    """The batches of an epoch, by the cell's input; see `cells.INPUTS`."""
    if prepared is not None:
        place = device if cell.input == "device" else torch.device("cpu")
        ready = [
            (images.to(place, memory_format=_layout(cell)), labels.to(place))
            for images, labels in map(to_tensors, prepared)
        ]
        yield lambda epoch: ready
        return
    # Imported here, as in `twin.fit`: torchvision takes seconds.
    from jaxcompare.data.host import build_loaders
    from jaxcompare.data.recipe import WORKERS, RecipeStream

    if cell.input == "recipe":
        with RecipeStream(dataset, training.batch_size, workers=WORKERS) as stream:
            yield stream.epoch
        return
    pipeline, _ = build_loaders(dataset, training, workers=0)
    yield lambda epoch: map(to_tensors, pipeline.epoch(epoch))


def _layout(cell: Cell) -> torch.memory_format:
    """Of images and kernels; their values and shapes are the same."""
    return torch.channels_last if cell.control == "channels-last" else torch.contiguous_format


def _measure_ceilings(cell: Cell, device: torch.device) -> tuple[float, float]:
    """FLOP/s of a large matrix product and bytes/s of a large copy; see `measure.ceiling`."""
    side, values = clock.ceiling_sizes(device.type == "cpu")
    factor = torch.randn(side, side, device=device).to(getattr(torch, cell.precision, torch.float32))
    product_ms, _ = clock.time_calls(lambda: factor @ factor, lambda _: synchronise(device))
    source, place = torch.ones(values, device=device), torch.empty(values, device=device)
    copy_ms, _ = clock.time_calls(lambda: torch.neg(source, out=place), lambda _: synchronise(device))
    return 1e3 * 2 * side**3 / product_ms, 1e3 * 2 * source.nbytes / copy_ms


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
