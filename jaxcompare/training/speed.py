"""Timed epochs of JAX, by an engine of this package or a plain one; compilation alone; a profiler's trace."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcompare.cells import Cell, Timing
from jaxcompare.config import ExecutionConfig, InputError, RunConfig
from jaxcompare.data.batch import Batch, Loader, ReadyBatches
from jaxcompare.data.split import Dataset
from jaxcompare.measure import clock
from jaxcompare.measure.ceiling import measure_ceilings
from jaxcompare.measure.environment import describe_environment
from jaxcompare.measure.memory import MemoryPlan, peak_bytes, plan_memory
from jaxcompare.measure.runtime import MATMUL_PRECISION
from jaxcompare.measure.timing import CompileGuard, CompileTimes
from jaxcompare.training import plain
from jaxcompare.training.engine import Engine, explain_memory
from jaxcompare.training.engines import build_engine
from jaxcompare.training.execution import check_precision
from jaxcompare.training.gate import build_manifest
from jaxcompare.training.step import Metrics, TrainState, build_train_step, init_state

Epoch = Callable[[int], tuple[tuple[TrainState, list[Metrics]], float]]
"""Trains the epoch of this number. Returns the state and the metrics, perhaps under way still, and the input wait in
seconds."""


def build_execution(cell: Cell) -> ExecutionConfig:
    """A packaged cell's. Every input but the device's comes batch by batch."""
    engine: Any = cell.engine
    return ExecutionConfig(engine, "device" if cell.input == "device" else "host", precision=cell.precision)


def time_epochs(cell: Cell, config: RunConfig, dataset: Dataset, seeds: Sequence[int], loader: Loader | None) -> Timing:
    """Train epochs and time each; see `measure.clock.time_epochs`.

    Args:
        config: the cell's, with its data and training.
        dataset: the images to train on, all of them.
        seeds: as many as the cell has.
        loader: where batches come from; None: device input of a packaged cell.

    Raises:
        InputError: the device lacks the precision or the memory, or the loss is no longer finite.
        RuntimeError: a program was compiled after the first epoch, or a clock was read too early.
    """
    check_precision(cell.precision)
    time_cell = _time_engine if cell.packaged else _time_plain
    timing = time_cell(cell, config, dataset, seeds, loader)
    # The ceilings' own arrays come after the peak is read.
    ceilings = measure_ceilings(cell.precision)
    return dataclasses.replace(
        timing,
        ceiling_flops_per_s=ceilings.flops_per_s,
        copy_bytes_per_s=ceilings.copy_bytes_per_s,
        manifest=timing.manifest | build_manifest(cell, config),
        environment=describe_environment("jax"),
    )


def build_cells_engine(
    cell: Cell, config: RunConfig, dataset: Dataset, seeds: Sequence[int], loader: Loader | None
) -> Engine:
    """A packaged cell's, ready to train."""
    return build_engine(config, dataset, seeds, loader=loader, evaluation=False, dropout=cell.dropout)


def _time_engine(
    cell: Cell, config: RunConfig, dataset: Dataset, seeds: Sequence[int], loader: Loader | None
) -> Timing:
    with explain_memory(len(seeds)), build_cells_engine(cell, config, dataset, seeds, loader) as engine:
        with CompileGuard() as guard:
            timing = _time(config.training.epochs, _epochs_of(engine), guard, compiled_ahead=True)
        plans = [sum(plan) for name, plan in engine.memory_plans.items() if name.startswith("train")]
        return dataclasses.replace(
            timing,
            compile_times=describe_compilation(engine.compile_times),
            programs=len(engine.programs),
            memory=_memory() | {"plan": max(plans, default=None)},
            manifest={"computed_batch_size": engine.computed_batch_size},
        )


def _time_plain(cell: Cell, config: RunConfig, dataset: Dataset, seeds: Sequence[int], loader: Loader | None) -> Timing:
    assert len(seeds) == 1
    assert loader is not None
    with explain_memory(1), _open_plain(cell, config, dataset, loader) as opened:
        with CompileGuard() as guard:
            timing = _time(config.training.epochs, opened.train, guard, compiled_ahead=cell.compiled)
        return dataclasses.replace(
            timing,
            first_step_time_s=opened.first_step_time_s,
            input_wait_s=[],
            compile_times=describe_compilation(opened.compile_times),
            programs=len(opened.programs) + len(guard.programs),
            memory=_memory() | {"plan": sum(opened.plan) if opened.plan else None},
        )


class Plain(NamedTuple):
    """A plain cell, ready to train."""

    train: Epoch
    programs: dict[str, Any]
    """Compiled ahead."""
    compile_times: dict[str, CompileTimes]
    """Of each of these."""
    plan: MemoryPlan | None
    """Of the step, where it is compiled."""
    first_step_time_s: list[float]
    """Takes the seconds of each step of the first epoch, waited for; of compiled cells none."""


@contextlib.contextmanager
def _open_plain(cell: Cell, config: RunConfig, dataset: Dataset, loader: Loader) -> Iterator[Plain]:
    model, tx = plain.build(config, len(dataset.class_names), dropout=cell.dropout)
    size, shape = config.training.batch_size, dataset.train.images.shape[1:]
    blank = Batch(jnp.zeros((size, *shape)), jnp.zeros(size, jnp.int32), jnp.ones(size))
    marks: list[float] = []
    with loader, jax.default_matmul_precision(MATMUL_PRECISION[cell.precision]):
        key = jax.random.key(config.training.seed)
        init, init_times = plain.prepare(cell.engine, lambda key: init_state(model, tx, key, blank.images), key)
        state = init(key)
        step, step_times = plain.prepare(cell.engine, build_train_step(model, tx), state, blank, donate_argnums=0)

        def train(epoch: int) -> tuple[tuple[TrainState, list[Metrics]], float]:
            nonlocal state
            metrics, start = [], time.perf_counter()
            for batch in loader.epoch(epoch):
                state, of_batch = step(state, plain.to_device(batch))
                metrics.append(of_batch)
                if epoch == 0 and not cell.compiled:
                    wait(state)
                    marks.append(time.perf_counter() - start)
                    start = time.perf_counter()
            return (state, metrics), 0.0

        compiled = (("init", init, init_times), ("train_step", step, step_times)) if cell.compiled else ()
        times = {name: of_program for name, _, of_program in compiled if of_program}
        programs: dict[str, Any] = {name: program for name, program, _ in compiled}
        plan = plan_memory(programs["train_step"]) if cell.compiled else None
        yield Plain(train, programs, times, plan, marks)


def compile_cold_or_warm(
    cell: Cell, config: RunConfig, dataset: Dataset, seeds: Sequence[int], loader: Loader | None
) -> dict[str, dict[str, Any]]:
    """What each of a compiled cell's programs takes to compile, or to read from the cache. Nothing is trained."""
    if cell.packaged:
        with build_cells_engine(cell, config, dataset, seeds, loader) as engine:
            return describe_compilation(engine.compile_times)
    assert loader is not None
    with _open_plain(cell, config, dataset, loader) as opened:
        return describe_compilation(opened.compile_times)


def _time(epochs: int, train: Epoch, guard: CompileGuard, *, compiled_ahead: bool) -> Timing:
    """Time each epoch; whatever is compiled in one where nothing should be is an error."""
    declared = 0

    def check(epoch: int, result: tuple[TrainState, list[Metrics]]) -> None:
        nonlocal declared
        if epoch == 0 and not compiled_ahead:
            declared = len(guard.programs)
        guard.check(declared, during=f"epoch {epoch + 1}")
        if not all(np.isfinite(jax.device_get(of_call.loss)).all() for of_call in result[1]):
            raise InputError("the training loss is no longer finite")

    return clock.time_epochs(epochs, train, wait, settle, check)


def _epochs_of(engine: Engine) -> Epoch:
    state: TrainState = engine.init()

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


def _memory() -> dict[str, int | None]:
    peak = peak_bytes()
    return {"allocator": peak["device"], "process": peak["process"]}


def describe_compilation(programs: Mapping[str, CompileTimes]) -> dict[str, dict[str, Any]]:
    """What each program took to compile, as a record has it."""
    return {name: dataclasses.asdict(times) for name, times in programs.items()}


def save_trace(
    cell: Cell, config: RunConfig, dataset: Dataset, seeds: Sequence[int], loader: Loader | None, folder: Path
) -> None:
    """Write a profiler's trace of the second epoch, and the optimised HLO of every program of a compiled engine."""
    folder.mkdir(parents=True, exist_ok=True)
    if not cell.packaged:
        assert loader is not None
        with _open_plain(cell, config, dataset, loader) as opened:
            _save_programs(opened.programs, folder)
            _trace_second(opened.train, folder)
        return
    with build_cells_engine(cell, config, dataset, seeds, loader) as engine:
        _save_programs(engine.programs, folder)
        _trace_second(_epochs_of(engine), folder)


def _save_programs(programs: Mapping[str, Any], folder: Path) -> None:
    for name, program in programs.items():
        (folder / f"{name}.hlo.txt").write_text(program.as_text() or "", encoding="utf-8")


def _trace_second(train: Epoch, folder: Path) -> None:
    wait(train(0))
    with jax.profiler.trace(str(folder)):
        wait(train(1))


def ready_batches(batches: Sequence[Batch], *, on_device: bool) -> ReadyBatches:
    """An epoch's batches of NumPy arrays, as they are; with `on_device`, as JAX arrays."""
    return ReadyBatches([plain.to_device(batch) for batch in batches] if on_device else batches)
