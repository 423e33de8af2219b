"""Speed cells as tables, in detail: the compile ledger, phases of a step, time to accuracy, inputs, batch sizes."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from jaxcompare.analysis.comparison import LABELS, by_model, epochs_to_accuracy, mean
from jaxcompare.analysis.dispatch import FixedCost, fixed_cost, several_sizes, swept
from jaxcompare.analysis.speed import (
    STEADY,
    baseline,
    by_repeat,
    cells_of,
    cold_compile_s,
    execution,
    in_matrix,
    measured,
    slow_first_steps,
)
from jaxcompare.cells import INPUTS, Cell, CellInput, CellRecord
from jaxcompare.config import InputError
from jaxcompare.measure.clock import STEPS
from jaxcompare.records import RunRecord
from jaxcompare.report.speed_costs import Measurements, cost_table, memory_table
from jaxcompare.report.speed_text import (
    counted,
    engine_label,
    estimate_text,
    half_size_text,
    known,
    spread,
    spread_or_never,
)
from jaxcompare.report.tables import TARGETS, Table

COMPILE_PHASES = {"trace_s": "Trace", "lower_s": "Lower", "compile_s": "Compile"}

PHASES = {
    "input_ms": "Input",
    "copy_ms": "Copy",
    "forward_ms": "Forward",
    "backward_ms": "Backward",
    "update_ms": "Update",
    "step_ms": "Step",
    "dispatch_ms": "Call returns after",
    "evaluation_ms": "Evaluation",
}


def detail_tables(
    records: Sequence[CellRecord],
    phases: Measurements = (),
    inputs: Measurements = (),
    costs: Measurements = (),
    runs: Sequence[RunRecord] = (),
) -> list[Table]:
    """Those that there are records of, for the page."""
    tables = [
        ledger_table(records),
        phases_table(phases),
        accuracy_table(records, runs),
        ladder_table(records),
        batch_table(records),
        cost_table(records, costs),
        memory_table(records),
        input_table(inputs),
    ]
    return [table for table in tables if table.rows]


def ledger_table(records: Sequence[CellRecord]) -> Table:
    """What each compiled way pays before its steps are steady on device input, and PyTorch eager for comparison."""
    records = [record for record in measured(in_matrix(records)) if record.cell.input == "device"]
    cells, rows = cells_of(records), []
    for cell in (cell for cell in cells if cell.compiled or cell == baseline(cells, cell)):
        runs = by_repeat(records, cell)
        rows.append(
            (
                LABELS[cell.model],
                execution(cell),
                spread((run.programs for run in runs), ",.0f"),
                *(spread(known(phase_s(run.compile_times, name) for run in runs), ".2f") for name in COMPILE_PHASES),
                spread((run.first_run_s for run in runs), ".2f"),
                spread(known(map(cold_compile_s, runs)), ".2f"),
                spread(known(run.warm_compile_time_s for run in runs), ".2f"),
                spread_or_never(known(map(slow_first_steps, runs)), ",.0f"),
            )
        )
    header = (
        "Model",
        "Execution",
        "Programs",
        *(f"{title}, s" for title in COMPILE_PHASES.values()),
        "First run, s",
        "All cold, s",
        "All warm, s",
        "Slow first steps",
    )
    note = (
        "Median (and range) over repeats. Trace: Python to a jaxpr; lower: to StableHLO; compile: XLA's, to a "
        "program; all cold. First run: what the first epoch took beyond a later one. All: of JAX, the programs "
        "compiled ahead; of torch.compile, the whole first step, since it traces and compiles while that step runs: "
        "the two cannot be told apart, and are part of its first run. Warm: in the first repeat, a second process "
        "that finds every program in the first one's cache. Slow first steps: until one takes no more than "
        f"{STEADY:g} times the later median, the device waited for after each; JAX's programs are compiled ahead and "
        "have none to count; never: none of the first epoch's."
    )
    return Table(header, rows, [note], "What compiling is made of")


def phase_s(programs: Mapping[str, Mapping[str, Any]], name: str) -> float | None:
    """Seconds of one phase of compilation, all programs together; None: nothing was compiled ahead."""
    return sum(times.get(name, 0.0) for times in programs.values()) if programs else None


def phases_table(records: Measurements) -> Table:
    """Where a step's time goes in PyTorch eager and in JAX's compiled step."""
    rows = []
    for record in records:
        cell = Cell(**record["cell"])
        values = (f"{record[name]:.2f}" for name in PHASES)
        rows.append((LABELS[cell.model], engine_label(cell), str(cell.batch_size), *values))
    header = ("Model", "Execution", "Batch", *(f"{title}, ms" for title in PHASES.values()))
    note = (
        f"Median of {STEPS} steps of one process a cell: where to look, and no interval. The device is waited for "
        "after each phase. Input: the next batch of the host's pipeline. Copy: from host to device. Forward and "
        "backward have dropout on. In JAX they are programs of their own: backward is what the gradient takes beyond "
        "the loss, update what the step takes beyond the gradient: differences, which scatter may make negative. Step: "
        "all three in one call; less than their sum where a compiler fuses or the device works on while Python goes "
        "ahead. Call returns after: how soon that call gives Python back. Evaluation: the forward pass of a batch, "
        "dropout off; PyTorch's holds the loss too."
    )
    return Table(header, rows, [note], "Where a step's time goes")


def accuracy_table(records: Sequence[CellRecord], runs: Sequence[RunRecord]) -> Table:
    """Seconds of training until a test accuracy is reached, by execution: epochs from a full comparison, their length
    from the cells.

    Args:
        runs: the full comparison's; without them there are no rows.
    """
    models = by_model(runs)
    targets = [t for t in TARGETS if any(epochs_to_accuracy(run, t) is not None for run in runs)]
    rows = []
    for cell in cells_of(measured(in_matrix(records))):
        alike = [
            run
            for run in models.get(cell.model, [])
            if (run.config.training.batch_size, run.config.execution.precision) == (cell.batch_size, cell.precision)
        ]
        if alike and cell.seeds == 1:
            texts = [_accuracy_text(by_repeat(records, cell), alike, target) for target in targets]
            rows.append((LABELS[cell.model], execution(cell), *texts))
    header = ("Model", "Execution", *(f"{100 * target:g} %, s" for target in targets))
    note = (
        "Seconds until the first epoch whose accuracy on the test images is at least that; in brackets, with what is "
        "paid once: compilation, cold, and the first epoch's excess. Epochs: as many as the full comparison's runs "
        "took (mean over seeds), whose updates every execution computes, by the parity gate, up to rounding and draws. "
        "Their length: images of an epoch there times the median time per image here. Extrapolated, not trained "
        "through, and of medians: the cells' scatter is in the tables above; evaluation excluded."
    )
    return Table(header, rows, [note], "Time to accuracy, by execution")


def _accuracy_text(cell_runs: Sequence[CellRecord], runs: Sequence[RunRecord], target: float) -> str:
    epochs = known(epochs_to_accuracy(run, target) for run in runs)
    if len(epochs) < len(runs):
        return f"{len(epochs)} of {len(runs)} seeds" if epochs else "not reached"
    images = mean(epochs) * (runs[0].config.epoch_images or runs[0].train_images)
    seconds = images * statistics.median(run.image_time_s for run in cell_runs)
    paid = statistics.median(run.one_time_s for run in cell_runs)
    return f"{seconds:,.0f} ({seconds + paid:,.0f})"


def ladder_table(records: Sequence[CellRecord]) -> Table:
    """Time per image of PyTorch eager and JAX's step, from the recipe's input to input on the device."""
    rows, found = [], ladders(records)
    places = [place for place in INPUTS if any(place in engine_cells for engine_cells in found)]
    for engine_cells in found:
        any_cell = next(iter(engine_cells.values()))
        texts = [_rung(records, engine_cells[place]) if place in engine_cells else "-" for place in places]
        rows.append((LABELS[any_cell.model], engine_label(any_cell), *texts))
    header = ("Model", "Execution", *(f"{place.capitalize()}, µs per image" for place in places))
    note = (
        "Median (and range) over repeats; wait: the share of an epoch in which the device had nothing to do for want "
        "of a batch, as far as known (of PyTorch, in which the next batch was awaited: on a GPU, at most). "
        f"{'; '.join(f'{place}: {INPUTS[place]}' for place in places)}."
    )
    return Table(header, rows, [note], "The input ladder")


def ladders(records: Sequence[CellRecord]) -> list[dict[CellInput, Cell]]:
    """Cells by input, of each model, precision and engine with two rungs or more: PyTorch eager and JAX's step."""
    found: dict[tuple, dict[CellInput, Cell]] = {}
    for cell in cells_of(measured(in_matrix(records))):
        if cell.engine in ("eager", "step") and cell.seeds == 1 and not cell.control:
            found.setdefault((cell.model, cell.precision, cell.engine), {})[cell.input] = cell
    return [{place: rungs[place] for place in INPUTS if place in rungs} for rungs in found.values() if len(rungs) > 1]


def _rung(records: Sequence[CellRecord], cell: Cell) -> str:
    runs = by_repeat(records, cell)
    text = spread((1e6 * run.image_time_s for run in runs), ",.0f")
    waits = [wait / epoch for run in runs for wait, epoch in zip(run.input_wait_s, run.epoch_time_s, strict=False)]
    return f"{text}; {100 * statistics.median(waits):.0f} % wait" if waits else text


def batch_table(records: Sequence[CellRecord]) -> Table:
    """A step's time over batch sizes, and the size below which most of it is a fixed cost."""
    timed, ways = measured(records), several_sizes(cells_of(records))
    sizes = sorted({cell.batch_size for cells in ways.values() for cell in cells})
    rows = []
    for way, cells in ways.items():
        runs_of = {cell.batch_size: by_repeat(timed, cell) for cell in cells}
        steps = [_step_text(runs_of[size]) if runs_of.get(size) else "-" for size in sizes]
        fit = fixed_cost(timed, swept(timed).get(way, []))
        rows.append((LABELS[cells[0].model], engine_label(cells[0]), *steps, *_fit_texts(fit)))
    header = (
        "Model",
        "Execution",
        *(f"{size:,}: ms (µs per image)" for size in sizes),
        "Fixed, ms",
        "Each image, µs",
        "Half fixed at",
        "Largest residual, %",
    )
    note = (
        "Medians over repeats by batch size, device input. The law, step = fixed + batch · each image, is fitted to "
        "every repeat by relative errors: mean and 95 % interval over repeats. Fixed: the "
        "fixed cost of a step (dispatch, the optimiser's update, all that does not grow with the batch), of which the "
        "fit cannot tell the parts. Half fixed at: the batch size fixed / each image; below it more than half of a "
        "step is fixed cost. Residual: of any batch size and repeat; a large one says that the law does not hold."
    )
    lost = [
        f"{LABELS[cell.model]}, {execution(cell)}: not measured ({message})."
        for cell, message in _lost_sizes(records).items()
    ]
    notes = [" ".join(lost), counted(rows, -4, -3, -2), note]
    return Table(header, rows, notes, "Batch sizes, and the fixed cost of a step")


def _lost_sizes(records: Sequence[CellRecord]) -> dict[Cell, str]:
    """Why cells of other batch sizes than the main one were not measured; the speed table has that one's."""
    at_size = set(cells_of(in_matrix(records)))
    return {record.cell: record.message for record in records if record.message and record.cell not in at_size}


def _step_text(runs: Sequence[CellRecord]) -> str:
    step, image = (statistics.median(getattr(run, name) for run in runs) for name in ("step_time_s", "image_time_s"))
    return f"{1e3 * step:,.2f} ({1e6 * image:,.0f})"


def _fit_texts(fit: FixedCost | None) -> tuple[str, ...]:
    if fit is None:
        return ("-",) * 4
    return (
        estimate_text(fit.fixed_s, 1e3, ".2f"),
        estimate_text(fit.image_s, 1e6, ",.1f"),
        half_size_text(fit),
        f"{100 * fit.max_residual:.0f}",
    )


def input_table(records: Measurements) -> Table:
    """The host pipeline beside the recipe's, in images per second."""
    rows = []
    for workers in sorted({record["workers"] for record in records}):
        ours, recipe = (
            [r["images_per_s"] for r in records if (r["pipeline"], r["workers"]) == (pipeline, workers)]
            for pipeline in ("jaxcompare", "recipe")
        )
        if len(ours) != len(recipe):
            raise InputError("inputs.jsonl: a measurement is missing; measure anew")
        ratios = [one / other for one, other in zip(ours, recipe, strict=True)]
        rows.append((str(workers), spread(ours, ",.0f"), spread(recipe, ",.0f"), spread(ratios, ".1f")))
    header = ("Workers", "Host pipeline, images/s", "Recipe's pipeline, images/s", "Ratio")
    note = (
        f"Over {records[0]['images'] if records else 0:,} images, after a pass of warm-up in which workers start: the "
        "steady state, in which all but a few batches of a long epoch are made."
    )
    return Table(header, rows, [note], "Input pipelines")
