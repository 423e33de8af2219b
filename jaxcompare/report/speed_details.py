"""The speed study in detail, for the page: compilation, phases of a step, inputs, batch sizes, costs, memory."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from jaxcompare.analysis.comparison import LABELS, by_model, epochs_to_accuracy, mean
from jaxcompare.analysis.contrast import measured
from jaxcompare.analysis.dispatch import several_sizes
from jaxcompare.analysis.roofline import common_roofs, roofs_by_framework
from jaxcompare.analysis.speed import baseline, cells_of, in_matrix
from jaxcompare.analysis.speed_study import SpeedStudy
from jaxcompare.cell_frame import COMPILE_PHASES
from jaxcompare.cells import INPUTS, Cell, CellInput
from jaxcompare.config import InputError
from jaxcompare.measure.clock import STEPS
from jaxcompare.records import RunRecord
from jaxcompare.report.tables import TARGETS, Table, chance_note
from jaxcompare.report.text import (
    FRAMEWORKS,
    engine_label,
    estimate_text,
    half_size_text,
    spread,
    spread_or_never,
)
from jaxcompare.report.words import say

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

APART = 0.05
"""Difference of two counts of one thing, from which on it is pointed at."""

MEMORY = {"allocator": "Allocator", "plan": "XLA's plan", "process": "Process"}


def detail_tables(study: SpeedStudy, runs: Sequence[RunRecord] = ()) -> list[Table]:
    """Those that there are records of.

    Args:
        runs: the full comparison's, for times to accuracy.
    """
    tables = [
        compile_table(study.frame),
        phases_table(study.phases),
        accuracy_table(study.frame, runs),
        input_table(study.frame),
        batch_table(study),
        cost_table(study),
        memory_table(study.frame),
        pipeline_table(study.inputs),
    ]
    return [table for table in tables if table.rows]


def compile_table(frame: pd.DataFrame) -> Table:
    """What each compiled way pays before its steps are steady on device input, and PyTorch eager for comparison."""
    frame = measured(in_matrix(frame))
    frame = frame[frame.input == "device"]
    cells, rows = cells_of(frame), []
    for cell in (cell for cell in cells if cell.compiled or cell == baseline(cells, cell)):
        runs = frame[frame.cell == cell]
        rows.append(
            (
                LABELS[cell.model],
                cell.execution,
                spread(runs.programs, ",.0f"),
                *(spread(runs[f"cold_{name}"], ".2f") for name in COMPILE_PHASES.values()),
                spread(runs.first_run_s, ".2f"),
                spread(runs.cold_compile_s, ".2f"),
                spread(runs.warm_compile_s, ".2f"),
                spread_or_never(list(runs.slow_first_steps.dropna()), ",.0f"),
            )
        )
    header = (
        *("Model", "Execution", "Programs", "Trace, s", "Lower, s", "Compile, s", "First run, s"),
        *("All cold, s", "All warm, s", "Slow first steps"),
    )
    return Table(header, rows, [say("compile")], "What compiling is made of")


def phases_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """Where a step's time goes in PyTorch eager and in JAX's compiled step."""
    rows = []
    for record in records:
        cell = Cell(**record["cell"])
        values = (f"{record[name]:.2f}" for name in PHASES)
        rows.append((LABELS[cell.model], engine_label(cell), str(cell.batch_size), *values))
    header = ("Model", "Execution", "Batch", *(f"{title}, ms" for title in PHASES.values()))
    return Table(header, rows, [say("phases", steps=STEPS)], "Where a step's time goes")


def accuracy_table(frame: pd.DataFrame, runs: Sequence[RunRecord]) -> Table:
    """Seconds of training until a test accuracy is reached, by execution: epochs from a full comparison, their length
    from the cells."""
    frame, models = measured(in_matrix(frame)), by_model(runs)
    targets = [t for t in TARGETS if any(epochs_to_accuracy(run, t) is not None for run in runs)]
    rows = []
    for cell in (cell for cell in cells_of(frame) if cell.seeds == 1):
        alike = [
            run
            for run in models.get(cell.model, [])
            if (run.config.training.batch_size, run.config.execution.precision) == (cell.batch_size, cell.precision)
        ]
        if alike:
            image_time_s, one_time_s = frame[frame.cell == cell][["image_time_s", "one_time_s"]].median()
            texts = [_accuracy_text(image_time_s, one_time_s, alike, target) for target in targets]
            rows.append((LABELS[cell.model], cell.execution, *texts))
    header = ("Model", "Execution", *(f"{100 * target:g} %, s" for target in targets))
    return Table(header, rows, [say("time_to_accuracy")], "Time to accuracy, by execution")


def _accuracy_text(image_time_s: float, one_time_s: float, runs: Sequence[RunRecord], target: float) -> str:
    epochs = [n for run in runs if (n := epochs_to_accuracy(run, target)) is not None]
    if len(epochs) < len(runs):
        return f"{len(epochs)} of {len(runs)} seeds" if epochs else "not reached"
    seconds = mean(epochs) * (runs[0].config.epoch_images or runs[0].train_images) * image_time_s
    return f"{seconds:,.0f} ({seconds + one_time_s:,.0f})"


def input_table(frame: pd.DataFrame) -> Table:
    """Time per image of PyTorch eager and JAX's step, from the recipe's input to input on the device."""
    found = cells_by_input(frame)
    places: list[CellInput] = [place for place in INPUTS if any(place in cells for cells in found)]
    rows = []
    for cells in found:
        first = next(iter(cells.values()))
        texts = [_input_text(frame[frame.cell == cells[place]]) if place in cells else "-" for place in places]
        rows.append((LABELS[first.model], engine_label(first), *texts))
    header = ("Model", "Execution", *(f"{place.capitalize()}, µs per image" for place in places))
    note = say("input_ladder", places={place: INPUTS[place] for place in places})
    return Table(header, rows, [note], "Time by input")


def cells_by_input(frame: pd.DataFrame) -> list[dict[CellInput, Cell]]:
    """Cells by input, of each model, precision and engine with two inputs or more: PyTorch eager and JAX's step."""
    found: dict[tuple, dict[CellInput, Cell]] = {}
    for cell in cells_of(measured(in_matrix(frame))):
        if cell.engine in ("eager", "step") and cell.seeds == 1 and not cell.control:
            found.setdefault((cell.model, cell.precision, cell.engine), {})[cell.input] = cell
    ordered = [{place: cells[place] for place in INPUTS if place in cells} for cells in found.values()]
    return [cells for cells in ordered if len(cells) > 1]


def _input_text(runs: pd.DataFrame) -> str:
    text, wait = spread(1e6 * runs.image_time_s, ",.0f"), runs.input_wait.median()
    return text if math.isnan(wait) else f"{text}; {100 * wait:.0f} % wait"


def batch_table(study: SpeedStudy) -> Table:
    """A step's time over batch sizes, and the size below which most of it is a fixed cost."""
    ways = several_sizes(cells_of(study.frame))
    sizes = sorted({cell.batch_size for cells in ways.values() for cell in cells})
    rows, shown = [], 0
    for way, cells in ways.items():
        of_size = {
            cell.batch_size: study.frame[study.frame.cell == cell] for cell in cells if cell not in study.failures
        }
        steps = [_step_text(of_size[size]) if size in of_size else "-" for size in sizes]
        fit = study.fits.get(way)
        texts = ("-",) * 4
        if fit:
            texts = (
                estimate_text(fit.fixed_s, 1e3, ".2f"),
                estimate_text(fit.image_s, 1e6, ",.1f"),
                half_size_text(fit),
                f"{100 * fit.max_residual:.0f}",
            )
            shown += sum(one.interval is not None for one in (fit.fixed_s, fit.image_s, fit.half_size))
        rows.append((LABELS[cells[0].model], engine_label(cells[0]), *steps, *texts))
    header = (
        *("Model", "Execution", *(f"{size:,}: ms (µs per image)" for size in sizes)),
        *("Fixed, ms", "Each image, µs", "Half fixed at", "Largest residual, %"),
    )
    at_size = set(cells_of(in_matrix(study.frame)))
    lost = [
        f"{LABELS[cell.model]}, {cell.execution}: not measured ({message})."
        for cell, message in study.failures.items()
        if cell not in at_size
    ]
    notes = [" ".join(lost), chance_note(shown), say("batches")]
    return Table(header, rows, notes, "Batch sizes, and the fixed cost of a step")


def _step_text(runs: pd.DataFrame) -> str:
    step, image = runs[["step_time_s", "image_time_s"]].median()
    return f"{1e3 * step:,.2f} ({1e6 * image:,.0f})"


def cost_table(study: SpeedStudy) -> Table:
    """What a training image costs by formula and by XLA's count, and what the machine reaches."""
    rows = []
    for cost in study.costs:
        label = LABELS[cost["model"]]
        for title, name in (
            ("Forward, MFLOP", "forward_flops"),
            ("Training, MFLOP", "training_flops"),
            ("Training, MB", "training_bytes"),
        ):
            formula, xla = (cost[f"{by}_{name}"] / 1e6 for by in ("formula", "xla"))
            flagged = name.endswith("flops") and abs(xla / formula - 1) > APART
            mark = f" (more than {100 * APART:.0f} % apart)" if flagged else ""
            rows.append((label, title, f"{formula:,.3f}", f"{xla:,.3f}", f"{100 * (xla / formula - 1):+.1f}{mark}"))
        formula, xla = (cost[f"{by}_training_flops"] / cost[f"{by}_training_bytes"] for by in ("formula", "xla"))
        change = f"{100 * (xla / formula - 1):+.1f}"
        rows.append((label, "Intensity, FLOP a byte", f"{formula:,.1f}", f"{xla:,.1f}", change))
    header = ("Model", "An image", "By formula", "By XLA", "XLA over formula, %")
    notes = [say("costs", first=study.costs[0]), *roof_notes(study.frame)] if rows else []
    return Table(header, rows, notes, "What a training image costs")


def roof_notes(frame: pd.DataFrame) -> list[str]:
    """The machine's ceilings in each precision."""
    return [
        say(
            "roofs",
            precision=precision,
            common=common_roofs(frame, precision),
            each={FRAMEWORKS[name]: roofs for name, roofs in roofs_by_framework(frame, precision).items()},
        )
        for precision in measured(frame).precision.unique()
    ]


def memory_table(frame: pd.DataFrame) -> Table:
    """Peak memory as three witnesses have it, and page faults."""
    frame, rows = measured(in_matrix(frame)), []
    for cell in cells_of(frame):
        runs = frame[frame.cell == cell]
        texts = [spread(runs[f"{name}_bytes"].dropna() / 1e6, ",.0f") for name in MEMORY]
        rows.append((LABELS[cell.model], cell.execution, *texts, spread(runs.page_faults, ",.0f")))
    header = ("Model", "Execution", *(f"{title}, MB" for title in MEMORY.values()), "Page faults an epoch")
    return Table(header, rows, [say("memory")], "Peak memory and page faults")


def pipeline_table(records: Sequence[Mapping[str, Any]]) -> Table:
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
    note = say("pipelines", images=records[0]["images"]) if rows else ""
    return Table(header, rows, [note], "Input pipelines")
