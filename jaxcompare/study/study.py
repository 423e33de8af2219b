"""A speed study: gates and costs first; then in every repeat the cells of a model, precision, batch size and control in
turn, on disk when the last of them is done (on a GPU each when it is done), and the input pipelines; phases last.

One measurement is one folder. Called again it goes on; what is there already is not repeated. Other cells need another
folder: measured later, they would not stand beside these.
"""

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
from jaxcompare.cells import Cell, Control
from jaxcompare.config import InputError, ModelName, Precision
from jaxcompare.measure.environment import find_commit
from jaxcompare.measure.malloc import malloc_settings
from jaxcompare.side import Setup
from jaxcompare.study import worker
from jaxcompare.study.gates import Gates, Log, gate_of, open_gates
from jaxcompare.study.measured import Measured, as_json, check_one_commit
from jaxcompare.study.process import CellFailed, in_fresh_process
from jaxcompare.study.turns import arena_of, time_in_turns

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
    """Measure what is missing, and add it to `measured`; without `details` neither phases nor input pipelines alone nor
    compiling with a cache.

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
        groups: dict[Any, list[Cell]] = {}
        for cell in order:
            if (cell, repeat) not in done:
                # On a GPU none has turns: what is timed is on disk before the next begins.
                groups.setdefault(cell if setup.gpu else _group(cell), []).append(cell)
        warm = details and not repeat
        jobs += [_turns_job(group, repeat, setup, measured, gates, log, warm=warm) for group in groups.values()]
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


def _turns_job(
    cells: Sequence[Cell], repeat: int, setup: Setup, measured: Measured, gates: Gates, log: Log, *, warm: bool
) -> Job:
    """A fresh process for each of some cells; `warm`: and another, for what compiling takes with a cache."""
    starts: dict[Cell, str] = {}

    def begin(cell: Cell) -> None:
        starts[cell] = datetime.now(UTC).isoformat(timespec="seconds")
        log(f"  {cell.title}")

    def run() -> None:
        refusals = {cell: why for cell in cells if (why := cell.refusal(setup.gpu) or gates[gate_of(cell)][1])}
        # What failed once is not tried again.
        refusals |= {record.cell: record.message for record in measured.cells if record.message}
        to_time = [cell for cell in cells if cell not in refusals]
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            caches = {cell: Path(folder, str(number)) for number, cell in enumerate(to_time)}
            found = time_in_turns(to_time, setup, caches.__getitem__, begin)
            for cell in cells:
                context = describe_cell(cell, repeat, setup, gates)
                if cell in refusals:
                    measured.add_cell(CellRecord(**context, message=refusals[cell]))
                    continue
                context |= {"started_at": starts[cell]}
                if isinstance(outcome := found[cell], CellFailed):
                    log(f"  {cell.title}: not measured: {outcome}")
                    measured.add_cell(CellRecord(**context, message=str(outcome)))
                    continue
                timing = dataclasses.replace(outcome, manifest=outcome.manifest | {"malloc": malloc_settings()})
                record = CellRecord(**context, **vars(timing))
                measured.add_cell(record)
                log(f"  {cell.title}: {1e6 * record.image_time_s:,.0f} µs per image")
            # What was timed is on disk before this begins.
            for place, record in enumerate(measured.cells):
                if warm and record.cell in caches and not record.message and _is_compiled_warm(record.cell):
                    times = _compile_warm(record.cell, setup, caches[record.cell], log)
                    measured.cells[place] = dataclasses.replace(record, warm_compile_times=times)
                    measured.save_cells()

    model, precision, size, control = _group(cells[0])
    kind = ", ".join([model, *([precision] if precision != "float32" else []), *([control] if control else [])])
    of_several = f"{kind}, batches of {size}: {len(cells)} executions in turn"
    return Job(of_several if cells[1:] else f"{model} {cells[0].execution}", run)


def _group(cell: Cell) -> tuple[ModelName, Precision, int, Control | None]:
    """What is timed in turn. Of a control apart: the fewer there are, the sooner memory holds all."""
    return cell.model, cell.precision, cell.batch_size, cell.control


def describe_cell(cell: Cell, repeat: int, setup: Setup, gates: Gates) -> dict[str, Any]:
    """What a record says beside its timing."""
    dataset = setup.dataset
    return {
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
        "parity": {} if cell.refusal(setup.gpu) else gates[gate_of(cell)][0],
    }


def _compile_warm(cell: Cell, setup: Setup, cache: Path, log: Log) -> dict[str, dict[str, Any]]:
    try:
        return in_fresh_process(worker.compile_warm, cell, setup, cache)
    except CellFailed as error:
        log(f"  {cell.title}: no warm compilation: {error}")
        return {}


def _is_compiled_warm(cell: Cell) -> bool:
    """Whether its warm compilation is measured too: one run, of batches on the device. No ratio is made of it."""
    return cell.compiled and cell.same_step and cell.on_device and cell.seeds == 1


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
        if cell.engine in ("eager", "step")
        and (cell.input, cell.seeds) == ("resident", 1)
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
            with arena_of(cell, setup):
                in_fresh_process(worker.save_trace, cell, setup, folder / name)
        except CellFailed as error:
            log(f"  no trace: {error}")
