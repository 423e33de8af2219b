"""A speed study: gates first, then every cell in turn, again and again; what is measured is on disk at once.

One measurement is one folder. Called again it goes on; what is there already is not repeated. Other cells need another
folder: measured later, they would not stand beside these.
"""

import contextlib
import dataclasses
import functools
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jaxcompare.cell_records import CellRecord
from jaxcompare.cells import Cell
from jaxcompare.config import InputError, ModelName
from jaxcompare.measure.environment import find_commit
from jaxcompare.measure.malloc import malloc_settings, single_arena
from jaxcompare.side import Setup
from jaxcompare.study import worker
from jaxcompare.study.gates import Gates, Log, gate_of, open_gates
from jaxcompare.study.measured import Measured, as_json, check_one_commit
from jaxcompare.study.process import CellFailed, in_fresh_process

WORKERS = (0, 2)
"""Of the input pipelines by themselves."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One measurement to make."""

    title: str
    run: Callable[[], None]


def run_study(
    cells: Sequence[Cell], repeats: int, setup: Setup, measured: Measured, log: Log, *, details: bool = True
) -> None:
    """Measure what is missing, and add it to `measured`; without `details` neither phases nor input pipelines alone.

    Raises:
        InputError: another commit began the measurement, or no cell of it can be measured.
    """
    done = {(record.cell, record.repeat) for record in measured.cells}
    missing = [cell for cell in cells if any((cell, repeat) not in done for repeat in range(repeats))]
    check_one_commit(measured, missing)
    for cell, message in {record.cell: record.message for record in measured.cells if record.message}.items():
        log(f"{cell.model} {cell.title}: not measured by an earlier call ({message}); with another --out, tried again")
    models = list(dict.fromkeys(cell.model for cell in cells))
    gates = open_gates([cell for cell in missing if not cell.refusal(setup.gpu)], setup, log)
    refused = [cell.refusal(setup.gpu) or gates[gate_of(cell)][1] for cell in missing]
    if not measured.cells and all(refused):
        raise InputError(f"no cell can be measured; the first: {refused[0]}")
    _prepare_batches(missing, setup)
    jobs = [_cost_job(model, setup, measured) for model in models if not measured.has("costs", {"model": model})]
    for repeat in range(repeats):
        # After the first round, which is in a table's order, each in another: neighbours are no part of a cell.
        order = random.Random(repeat).sample(missing, len(missing)) if repeat else missing
        to_do = [cell for cell in order if (cell, repeat) not in done]
        jobs += [_cell_job(cell, repeat, setup, measured, gates, log) for cell in to_do]
        jobs += _input_jobs(repeat, setup, measured) if details else []
    jobs += _phase_jobs(cells, setup, measured) if details else []
    _run(jobs, log)


def _run(jobs: Sequence[Job], log: Log) -> None:
    """One after another. What remains is judged by how long jobs of the same title took, or all of them."""
    took: dict[str, float] = {}
    for number, job in enumerate(jobs):
        usual = sum(took.values()) / len(took) if took else 0.0
        rest = sum(took.get(other.title, usual) for other in jobs[number:])
        left = f", about {max(1, round(rest / 60))} min left" if took else ""
        log(f"[{number + 1}/{len(jobs)}{left}] {job.title}")
        start = time.perf_counter()
        try:
            job.run()
        except CellFailed as error:
            log(f"  not measured: {error}")
        took[job.title] = time.perf_counter() - start


def _cell_job(cell: Cell, repeat: int, setup: Setup, measured: Measured, gates: Gates, log: Log) -> Job:
    def run() -> None:
        # What failed once is not tried again.
        failed = next((record.message for record in measured.cells if record.cell == cell and record.message), "")
        refusal = cell.refusal(setup.gpu)
        parity, refused = ({}, refusal) if refusal else gates[gate_of(cell)]
        record = measure_cell(cell, repeat, setup, parity, log, refused or failed)
        measured.add_cell(record)
        if not record.message:
            log(f"  {1e6 * record.image_time_s:,.0f} µs per image")
        elif not failed:
            raise CellFailed(record.message)

    return Job(f"{cell.model} {cell.title}{'' if cell.precision == 'float32' else f', {cell.precision}'}", run)


def measure_cell(
    cell: Cell, repeat: int, setup: Setup, parity: dict[str, float], log: Log, message: str = ""
) -> CellRecord:
    """A fresh process; in the first repeat another, for what compiling takes with a cache. With a `message`, the reason
    not to measure, none at all."""
    dataset = setup.dataset
    context: dict[str, Any] = {
        "cell": cell,
        "repeat": repeat,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": setup.command,
        "epochs": setup.training.epochs,
        "train_images": len(dataset.train),
        "epoch_images": setup.epoch_images_of(cell),
        "image_size": dataset.train.images.shape[1],
        "num_classes": len(dataset.class_names),
        "seed": setup.training.seed,
        "dataset_title": dataset.title,
        "data_fingerprint": dataset.fingerprint,
        "git_commit": find_commit(),
        "parity": parity,
    }
    if message:
        return CellRecord(**context, message=message)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        try:
            timing = _in_cells_process(worker.time_epochs, cell, setup, Path(cache))
        except CellFailed as error:
            return CellRecord(**context, message=str(error))
        warm = {}
        if _is_compiled_warm(cell, repeat):
            try:
                warm = _in_cells_process(worker.compile_warm, cell, setup, Path(cache))
            except CellFailed as error:
                log(f"  no warm compilation: {error}")
    timing = dataclasses.replace(timing, manifest=timing.manifest | {"malloc": malloc_settings()})
    return CellRecord(**context, **vars(timing), warm_compile_times=warm)


def _in_cells_process(function: Callable, cell: Cell, *arguments: Any) -> Any:
    """A fresh process, with the allocator that the cell needs."""
    with single_arena() if cell.engine == "jit" else contextlib.nullcontext():
        return in_fresh_process(function, cell, *arguments)


def _is_compiled_warm(cell: Cell, repeat: int) -> bool:
    """Whether its warm compilation is measured too: one run, of batches on the device, once; no ratio is made of it."""
    return cell.compiled and cell.same_step and cell.on_device and cell.seeds == 1 and repeat == 0


def _prepare_batches(cells: Sequence[Cell], setup: Setup) -> None:
    """What cells with prepared batches train on, where it is missing. Without it no ratio would have its denominator:
    a failure ends the command."""
    sizes = {cell.batch_size for cell in cells if cell.prepared and not cell.refusal(setup.gpu)}
    if missing := sorted(size for size in sizes if not (setup.batches / str(size)).exists()):
        try:
            in_fresh_process(worker.prepare_batches, missing, setup)
        except CellFailed as error:
            raise InputError(f"the cells' batches cannot be prepared in {setup.batches}: {error}") from None


def _cost_job(model: ModelName, setup: Setup, measured: Measured) -> Job:
    def run() -> None:
        measured.add("costs", {}, in_fresh_process(worker.count_costs, model, setup))

    return Job(f"{model} costs, by formula and by XLA", run)


def _input_jobs(repeat: int, setup: Setup, measured: Measured) -> list[Job]:
    """The input pipelines by themselves, where they are missing."""

    def run(workers: int) -> None:
        for values in in_fresh_process(worker.measure_inputs, workers, setup):
            measured.add("inputs", {"repeat": repeat, "workers": workers}, values)

    return [
        Job(f"input pipelines alone, {workers} workers", functools.partial(run, workers))
        for workers in WORKERS
        if not measured.has("inputs", {"repeat": repeat, "workers": workers})
    ]


def _phase_jobs(cells: Sequence[Cell], setup: Setup, measured: Measured) -> list[Job]:
    """The phases of the cell that stands for its framework, where they are missing. Once: they say where to look, and
    nothing is compared by them."""

    def is_missing(cell: Cell) -> bool:
        failed = any(record.cell == cell and record.message for record in measured.cells)
        return not failed and not measured.has("phases", {"cell": as_json(cell)})

    def run(cell: Cell) -> None:
        if is_missing(cell):
            place = {"repeat": 0, "cell": as_json(cell)}
            measured.add("phases", place, in_fresh_process(worker.measure_phases, cell, setup))

    return [
        Job(f"{cell.model} {cell.title}: phases of a step", functools.partial(run, cell))
        for cell in cells
        if (cell.engine in ("eager", "step"), cell.input, cell.seeds) == (True, "resident", 1)
        and (cell.batch_size, cell.control, cell.options) == (cells[0].batch_size, None, ())
        and is_missing(cell)
    ]


def find_gpu() -> bool:
    """Whether the frameworks run on something else than a CPU.

    Raises:
        InputError: one of them does, the other does not: no comparison.
    """
    jax_place, torch_place = (in_fresh_process(worker.find_backend, name) for name in ("jax", "torch"))
    if (jax_place == "cpu") != (torch_place == "cpu"):
        raise InputError(
            f"JAX runs on {jax_place}, PyTorch on {torch_place}: no comparison; install jax's CUDA build "
            '(pip install -e ".[cuda]"), or hide the GPU with CUDA_VISIBLE_DEVICES='
        )
    return jax_place != "cpu"


def save_traces(cells: Sequence[Cell], setup: Setup, folder: Path, log: Log) -> None:
    """A folder for each cell: a profiler's trace, and of compiled JAX the optimised HLO."""
    _prepare_batches(cells, setup)
    for cell in cells:
        *parts, options = dataclasses.astuple(cell)
        name = "-".join(str(part) for part in (*parts, *options) if part)
        log(f"trace: {folder / name}")
        try:
            _in_cells_process(worker.save_trace, cell, setup, folder / name)
        except CellFailed as error:
            log(f"  no trace: {error}")
