"""A cell's epochs in PyTorch, timed or traced. For a process in which JAX does not run."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from jaxcompare.cell_records import Timing
from jaxcompare.cells import Cell
from jaxcompare.compat import torch as compat
from jaxcompare.config import InputError
from jaxcompare.measure import clock
from jaxcompare.measure.environment import cpu_cores, describe_environment, process_peak_bytes
from jaxcompare.options import Option
from jaxcompare.side import Pause, Setup
from jaxcompare.torch_side.cell_batches import open_batches
from jaxcompare.torch_side.cell_step import IMPLEMENTATIONS, MODES, build_step, start, synchronise

OF_UPDATES = (*IMPLEMENTATIONS, "compiled-optimiser")
ATTENTIONS: dict[Option, str] = {"sdpa": "scaled_dot_product_attention", "dropout-bits": "two products and a softmax"}


def time_epochs(cell: Cell, setup: Setup, pause: Pause, *, cold: bool = True) -> Timing:
    """Train epochs on all images and time each, the first with all compilation; see `side.Side.time_epochs`.

    The clock is read with the device synchronised, at the start and the end of an epoch only; the loss stays on the
    device, as it does in JAX.
    """
    begun = time.perf_counter()
    device = start(cell)
    step = build_step(cell, setup, device)
    first_step_time_s: list[float] = []
    compiled = 0

    def check(epoch: int, loss: torch.Tensor) -> None:
        nonlocal compiled
        programs = compat.torch_programs()
        if cold and programs.hits:
            raise RuntimeError("torch.compile did not compile anew: it found programs in a cache")
        if cell.compiled and not programs.compiled:
            raise RuntimeError("torch.compile compiled nothing; is TORCHDYNAMO_DISABLE set?")
        if programs.graph_skips:
            raise RuntimeError(f"torch.compile left out CUDA graphs {programs.graph_skips} time(s)")
        compiled = compiled or programs.compiled
        if programs.compiled != compiled:
            raise RuntimeError(f"torch.compile compiled {programs.compiled - compiled} program(s) in epoch {epoch + 1}")
        if not torch.isfinite(loss):
            raise InputError("the training loss is no longer finite")

    with open_batches(cell, setup, device) as batches:
        build_time_s = time.perf_counter() - begun
        timing = clock.time_epochs(
            setup.training_of(cell).epochs,
            lambda epoch: _train(step, batches(epoch), device, None if epoch else first_step_time_s),
            lambda _: synchronise(device),
            lambda: synchronise(device),
            check,
            pause,
        )
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    memory = {"allocator": peak, "plan": None, "process": process_peak_bytes(children=True)}
    manifest = _build_manifest(cell, device)
    # The ceilings' own arrays come after the peak is read.
    flops_per_s, copy_bytes_per_s = _measure_ceilings(cell, device)
    return dataclasses.replace(
        timing,
        build_time_s=build_time_s,
        first_step_time_s=first_step_time_s,
        programs=compiled,
        ceiling_flops_per_s=flops_per_s,
        copy_bytes_per_s=copy_bytes_per_s,
        memory=memory,
        manifest=manifest,
        environment=describe_environment("torch", torch_device=device.type),
    )


def time_first_step(cell: Cell, setup: Setup) -> float:
    """Seconds of the first step, with whatever the compiler finds in its cache.

    Raises:
        RuntimeError: it found nothing, and the time is no warm one.
    """
    device = start(cell)
    step = build_step(cell, setup, device)
    marks: list[float] = []
    with open_batches(cell, setup, device) as batches:
        _train(step, itertools.islice(batches(0), 1), device, marks)
    programs = compat.torch_programs()
    if programs.misses or not programs.hits:
        raise RuntimeError("torch.compile did not find its programs in the cache")
    return marks[0]


def save_trace(cell: Cell, setup: Setup, folder: Path) -> None:
    """Write a profiler's trace of the second epoch, for chrome://tracing or Perfetto."""
    device = start(cell)
    step = build_step(cell, setup, device)
    folder.mkdir(parents=True, exist_ok=True)
    with open_batches(cell, setup, device) as batches:
        _train(step, batches(0), device)
        with compat.profile_torch() as profile:
            _train(step, batches(1), device)
            synchronise(device)
    profile.export_chrome_trace(str(folder / "trace.json"))


def _train(
    step: Callable[..., torch.Tensor],
    batches: Iterable[Sequence[torch.Tensor]],
    device: torch.device,
    marks: list[float] | None = None,
) -> tuple[torch.Tensor, float]:
    """One epoch; the last loss, perhaps under way still, and how many seconds the batches took to come. Into `marks`
    the seconds of each step, waited for."""
    begun, loss, waited = time.perf_counter(), torch.tensor(torch.nan), 0.0
    asked = begun
    for batch in batches:
        waited += time.perf_counter() - asked
        loss = step(*(part.to(device) for part in batch))
        if marks is not None:
            synchronise(device)
            marks.append(time.perf_counter() - begun)
            begun = time.perf_counter()
        asked = time.perf_counter()
    return loss, waited


def _build_manifest(cell: Cell, device: torch.device) -> dict[str, object]:
    replicas = cpu_cores() if "replicas" in cell.options else 1
    return {
        "tf32": device.type == "cuda" and compat.allows_tf32(),
        "bfloat16": cell.precision == "bfloat16",
        "threads": cpu_cores() if device.type == "cuda" else torch.get_num_threads() * replicas,
        "layout": "NHWC" if "channels-last" in cell.options else "NCHW",
        "attention": cell.choose(ATTENTIONS, "torch.nn.MultiheadAttention"),
        "optimiser": ", ".join(one for one in cell.options if one in OF_UPDATES) or "PyTorch's choice",
        "dropout_generator": "Philox" if device.type == "cuda" else "Mersenne Twister",
        "donation": False,
        "cudnn_benchmark": device.type == "cuda",
        "compiler": "none" if cell.engine == "eager" else f"inductor, {cell.choose(MODES, 'default')}",
    }


def _measure_ceilings(cell: Cell, device: torch.device) -> tuple[float, float]:
    """FLOP/s of a large matrix product and bytes/s of a large copy; see `measure.ceiling`."""
    if device.type == "cpu":
        torch.set_num_threads(cpu_cores())
    side, values = clock.ceiling_sizes(device.type == "cpu")
    factor = torch.randn(side, side, device=device).to(getattr(torch, cell.precision, torch.float32))
    product_ms, _ = clock.time_calls(lambda: factor @ factor, lambda _: synchronise(device))
    source, place = torch.ones(values, device=device), torch.empty(values, device=device)
    copy_ms, _ = clock.time_calls(lambda: torch.neg(source, out=place), lambda _: synchronise(device))
    return 1e3 * 2 * side**3 / product_ms, 1e3 * 2 * source.nbytes / copy_ms
