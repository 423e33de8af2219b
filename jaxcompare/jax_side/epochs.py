"""A cell's epochs, timed or traced."""

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcompare.cell_records import Timing
from jaxcompare.cells import Cell
from jaxcompare.compat import jax as compat
from jaxcompare.config import InputError
from jaxcompare.jax_side.cell_engine import build_engine
from jaxcompare.measure import clock
from jaxcompare.measure.ceiling import measure_ceilings
from jaxcompare.measure.environment import cpu_cores, describe_environment
from jaxcompare.measure.memory import peak_bytes
from jaxcompare.measure.runtime import MATMUL_PRECISION
from jaxcompare.measure.timing import CompileGuard
from jaxcompare.side import Pause, Setup
from jaxcompare.training.engine import Engine
from jaxcompare.training.programs import explain_memory
from jaxcompare.training.step import Metrics, TrainState

Epoch = Callable[[int], tuple[tuple[TrainState, list[Metrics]], float]]
"""Trains the epoch of this number. Returns the state and the metrics, perhaps under way still, and the input wait in
seconds."""


def time_cell(cell: Cell, setup: Setup, pause: Pause, *, device_s: float = 0.0) -> Timing:
    """Train epochs and time each; see `side.Side.time_epochs`. Of the cache nothing is asked.

    Args:
        device_s: seconds that it took to start the device.
    """
    begun = time.perf_counter()
    with explain_memory(cell.seeds):
        engine = build_engine(cell, setup)
    with explain_memory(cell.seeds), engine:
        train = train_from_start(engine)
        ready_s = time.perf_counter() - begun
        with CompileGuard() as guard:
            timing = _time(setup.training_of(cell).epochs, train, pause, guard, compiled_ahead=cell.compiled)
        peak = peak_bytes()
    programs = engine.programs
    compile_s = sum(times.total_s for times in programs.times.values())
    plans = [sum(plan) for name, plan in programs.plans.items() if name.startswith("train")]
    size = engine.learner.placement.computed_batch_size(cell.batch_size)
    computed = {"computed_batch_size": size} if cell.packaged else {}
    # The ceilings' own arrays come after the peak is read.
    ceilings = measure_ceilings(cell.precision)
    return dataclasses.replace(
        timing,
        build_time_s=device_s + ready_s - compile_s,
        first_step_time_s=engine.first_step_time_s,
        input_wait_s=timing.input_wait_s if cell.packaged else [],
        compile_times=programs.describe_times(),
        programs=len(programs.compiled) + len(guard.programs),
        memory={"allocator": peak["device"], "process": peak["process"], "plan": max(plans, default=None)},
        ceiling_flops_per_s=ceilings.flops_per_s,
        copy_bytes_per_s=ceilings.copy_bytes_per_s,
        manifest=computed | build_manifest(cell, setup),
        environment=describe_environment("jax"),
    )


def _time(epochs: int, train: Epoch, pause: Pause, guard: CompileGuard, *, compiled_ahead: bool) -> Timing:
    """Time each epoch; whatever is compiled in one where nothing should be is an error."""
    declared = 0

    def check(epoch: int, result: tuple[TrainState, list[Metrics]]) -> None:
        nonlocal declared
        if epoch == 0 and not compiled_ahead:
            declared = len(guard.programs)
        guard.check(declared, during=f"epoch {epoch + 1}")
        if not all(np.isfinite(jax.device_get(of_call.loss)).all() for of_call in result[1]):
            raise InputError("the training loss is no longer finite")

    return clock.time_epochs(epochs, train, wait, settle, check, pause)


def train_from_start(engine: Engine) -> Epoch:
    """An engine's epochs, each from where the one before it came to."""
    state = engine.init()

    def train(epoch: int) -> tuple[tuple[TrainState, list[Metrics]], float]:
        nonlocal state
        state, metrics, waited = engine.train_epoch(state, epoch, lambda done: None)
        return (state, metrics), waited

    return train


def wait(tree: Any) -> None:
    """Until every array of a pytree is there. A step's outputs come from one program, all at once."""
    jax.block_until_ready(tree)


def settle() -> None:
    """Until every array of this process is there, whoever asked for it."""
    for array in jax.live_arrays():
        array.block_until_ready()


def build_manifest(cell: Cell, setup: Setup) -> dict[str, Any]:
    """What decides this process's speed, as `cell_records.MUST_AGREE` compares it with PyTorch's."""
    device = jax.local_devices()[0]
    with jax.default_matmul_precision(MATMUL_PRECISION[cell.precision]):
        products = compat.matmul_precision()
    return {
        "tf32": products == "tensorfloat32",
        "bfloat16": cell.precision == "bfloat16",
        # That may compute: XLA takes what the process has, whatever number of devices the cores are grouped into.
        "threads": cpu_cores(),
        # Of glibc's allocator; empty: as many as it likes.
        "arenas": os.environ.get("MALLOC_ARENA_MAX", ""),
        "devices": jax.local_device_count(),
        "layout": "NHWC",
        "attention": "two products and a softmax",
        "optimiser": "in the step's program" if cell.compiled else "operation by operation",
        "dropout_generator": setup.training_of(cell).dropout_generator,
        "donation": cell.compiled,
        "preallocation": os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE", "true"),
        "device": device.device_kind,
    }


def save_trace(engine: Engine, folder: Path) -> None:
    """A profiler's trace of the second epoch, and the optimised HLO of every program compiled ahead."""
    folder.mkdir(parents=True, exist_ok=True)
    with engine:
        for name, program in engine.programs.compiled.items():
            (folder / f"{name}.hlo.txt").write_text(program.as_text() or "", encoding="utf-8")
        train = train_from_start(engine)
        wait(train(0))
        with jax.profiler.trace(str(folder)):
            wait(train(1))
