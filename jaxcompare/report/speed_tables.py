"""The speed study as tables: how fast, why, when compiling has paid, what else, found again; and the details."""

from collections.abc import Sequence

import pandas as pd

from jaxcompare.analysis import speed_details
from jaxcompare.analysis.contrast import measured
from jaxcompare.analysis.speed_study import SpeedStudy
from jaxcompare.analysis.statistics import interval_method
from jaxcompare.cell_frame import environment_of
from jaxcompare.cells import Cell
from jaxcompare.measure.clock import STEPS, Phases
from jaxcompare.report.tables import Columns, Table, make_table
from jaxcompare.report.text import (
    LABELS,
    engine_label,
    factor_text,
    half_size_text,
    model_of,
    number,
    ratio_text,
    share_text,
)
from jaxcompare.report.words import say


def _title(cell: Cell) -> str:
    return cell.title


CELL: Columns = {"Model": ("cell", model_of), "Execution": ("cell", _title)}
WAY: Columns = {"Model": ("cell", model_of), "Execution": ("cell", engine_label)}

SPEED: Columns = CELL | {
    "Time per image, µs": ("image_time_s", number(",.0f", 1e6)),
    "Over PyTorch eager": ("over_eager", ratio_text),
    "Over the best of PyTorch": ("over_best", ratio_text),
    "Compile cold, s": ("cold_compile_s", number(".1f")),
    "Compile warm, s": ("warm_compile_s", number(".1f")),
}


BREAK_EVEN: Columns = CELL | {
    "Against": ("eager", _title),
    "Paid once, s": ("paid", number(".1f")),
    "Step, ms": ("step", number(".2f", 1e3)),
    "Break-even, steps": ("steps", number(",.0f")),
    "Break-even, s": ("seconds", number(",.0f")),
}

REPEATED: Columns = {
    "Model": ("cell", model_of),
    "Ratios": ("ratios", "{:,}".format),
    "Confirmed": ("confirmed", "{:,}".format),
    "Contradicted": ("contradicted", "{:,}".format),
    "Median change, factor": ("change", "{:.2f}".format),
    "Largest change": ("largest", lambda one: say("twice", one)),
}

ALLOCATOR: Columns = CELL | {
    "Over the best of PyTorch": ("here", ratio_text),
    "The same, second setting": ("there", ratio_text),
    "Change": ("change", ratio_text),
    "Page faults per epoch": ("faults_here", number(",.0f")),
    "Page faults, second setting": ("faults_there", number(",.0f")),
}

COMPILE: Columns = CELL | {
    "Import, s": ("import_time_s", number(".2f")),
    "Build, s": ("build_time_s", number(".2f")),
    "Trace, s": ("cold_trace_s", number(".2f")),
    "Lower, s": ("cold_lower_s", number(".2f")),
    "Compile, s": ("cold_xla_s", number(".2f")),
    "First run, s": ("first_run_s", number(".2f")),
    "To the first step, cold, s": ("startup_s", number(".1f")),
    "To the first step, warm, s": ("warm_startup_s", number(".1f")),
}

MACHINE: Columns = CELL | {
    "Share of ceiling, %": ("ceiling_share", number(".0f", 100)),
    "Allocator, MB": ("allocator_bytes", number(",.0f", 1e-6)),
    "XLA's plan, MB": ("plan_bytes", number(",.0f", 1e-6)),
    "Process, MB": ("process_bytes", number(",.0f", 1e-6)),
    "Page faults per epoch": ("page_faults", number(",.0f")),
    "Waits, %": ("input_wait", number(".0f", 100)),
    "Energy, mJ per image": ("image_energy_j", number(".2f", 1e3)),
}

COST_ROWS = {
    "forward_flops": "Forward, MFLOP",
    "training_flops": "Training, MFLOP",
    "training_bytes": "Training, MB",
    "intensity": "Intensity, FLOP per byte",
}

COSTS: Columns = {
    "Model": ("model", LABELS.__getitem__),
    "An image": ("name", COST_ROWS.__getitem__),
    "By formula": ("formula", "{:,.3f}".format),
    "By XLA": ("xla", "{:,.3f}".format),
    "XLA over formula, %": ("change", number("+.1f", 100)),
}

CANDIDATES: Columns = CELL | {
    "Rounds": ("rounds", str),
    "Time per image, µs": ("image", lambda seconds: f"{1e6 * seconds:,.0f}" if seconds == seconds else "-"),
    "Failed": ("message", lambda message: message or "-"),
}

PIPELINES: Columns = {
    "Workers": ("workers", str),
    "Host pipeline, images/s": ("jaxcompare", number(",.0f")),
    "Recipe's pipeline, images/s": ("recipe", number(",.0f")),
    "Ratio": ("ratio", number(".1f")),
}


def speed_tables(study: SpeedStudy) -> list[Table]:
    """The answers, those that there are records for."""
    if measured(study.frame).empty:
        return [speed_table(study)]
    paid = speed_details.break_even(study)
    tables = [
        speed_table(study),
        contrast_table(study, "Where the speed-up comes from", "stages", "stage", "whole", "beside"),
        make_table("What compiling costs, and when it has paid", paid, BREAK_EVEN, say("break_even")),
    ]
    return [table for table in tables if table.rows]


def speed_table(study: SpeedStudy) -> Table:
    """A row per cell of the matrix, beside PyTorch eager and beside the best of PyTorch."""
    cells = study.cells[study.cells.main]
    notes = [say("lost", [(cell, study.failures[cell]) for cell in cells.cell if cell in study.failures])]
    if cells.measured.any():
        found = speed_details.conditions(study)
        precisions = ", ".join(found["gates"])
        notes += [say("speed", found, precisions, interval_method(found["repeats"], "repeats"))]
        notes += [say("conditions", found), say("machine", environment_of(found["first"]), found["first"].git_commit)]
    # Where nothing was measured, columns are missing.
    rows = cells[cells.matrix].reindex(columns=list(dict.fromkeys(column for column, _ in SPEED.values())))
    return make_table("Speed: every execution beside PyTorch eager", rows, SPEED, *notes)


def verdict_lines(study: SpeedStudy) -> list[str]:
    """A line for each model and precision: the best of JAX over the best of PyTorch, and the same of what was measured
    without options, and without dropout."""
    plain, without = ({one.cell.group: one for one in study.of(kind)} for kind in ("plain", "without dropout"))
    return [
        say(
            "best",
            one,
            *beside,
            again,
            study.when,
            study.others_share([cell for said in (one, *beside) if said for cell in said.pair.above + said.pair.below]),
        )
        for one, again in study.verdicts
        for beside in [(plain.get(one.cell.group), without.get(one.cell.group))]
    ]


def contrast_table(study: SpeedStudy, title: str, note: str, *kinds: str) -> Table:
    """A row per contrast of some kinds: what is compared, the ratio, what the other study found, its share."""
    found = study.of(*kinds)
    columns: dict = {
        "Model": ("pair.above", lambda cells: model_of(cells[0]) if len(cells) == 1 else "both"),
        "What": ("pair.name", str),
        "Time of": ("pair.above", _way),
        "Over that of": ("pair.below", _way),
        "Ratio": ("ratio", factor_text),
    }
    if study.when:
        columns[f"{study.when.capitalize()} study"] = ("again", factor_text)
    if any(one.share for one in found):
        columns["Share"] = ("share", share_text)
    ceilings = speed_details.ceilings(study.frame) if "stage" in kinds else {}
    return make_table(
        title, found, columns, say(note, study.frame, [one.pair.name for one in found]), say("matrix_library", ceilings)
    )


def _way(cells: Sequence[Cell]) -> str:
    """An interaction's times are of one way in both models: that way alone is named."""
    return next((cell.execution for cell in cells if cell.engine != "eager"), cells[0].execution)


def detail_tables(study: SpeedStudy) -> list[Table]:
    """What is too much for a Markdown file, as far as there are records of it."""
    if measured(study.frame).empty:
        return []
    matrix = study.cells[study.cells.matrix & study.cells.measured]
    controls = study.cells.main & ~study.cells.matrix & study.cells.measured
    pays = [cell.on_device and (cell.compiled or _plain_eager(cell)) for cell in matrix.cell]
    begun = [f"{when:%Y-%m-%d %H:%M UTC}" for when in study.begun] if study.when else []
    again = say("repeated", study.when, begun), say("missed", [one for one in study.repeated if not one.confirmed])
    beside = speed_details.work_beside(study.search)
    others = "best", "plain", "without dropout", "seeds", "change", "interaction"
    costs = say("costs", study.costs), say("roofs", speed_details.ceilings(study.frame))
    pipelines = speed_details.pipelines(study.inputs).reset_index()
    counts_energy = study.frame.image_energy_j.notna().any()
    machine = {title: of for title, of in MACHINE.items() if counts_energy or not title.startswith("Energy")}
    tables = [
        make_table("Controls that change what is trained", study.cells[controls], SPEED),
        contrast_table(study, "What else the ratios say", "other_ratios", *others),
        make_table("The search", speed_details.candidates(study.search), CANDIDATES, say("search", beside)),
        make_table("Measured again", study.repetition, REPEATED, *again),
        make_table("From the import to the end of the first step", matrix[pays], COMPILE, say("compile")),
        _phases_table(study),
        _batch_table(study),
        make_table("What a training image costs", speed_details.costs(study.costs), COSTS, *costs),
        make_table("What each execution takes of the machine", matrix, machine, say("memory"), say("shares")),
        make_table("Input pipelines", pipelines, PIPELINES, say("pipelines", study.inputs)),
    ]
    return [table for table in tables if table.rows]


def allocator_table(study: SpeedStudy) -> Table:
    """A row per cell that was measured under other settings of the allocator too."""
    found = [measured(frame) for frame in (study.frame, study.other_malloc)]
    said = [(of.malloc.iloc[0], of.repeat.nunique()) for of in found if len(of)]
    return make_table("What the allocator's settings change", study.allocated, ALLOCATOR, say("allocator", said))


def _plain_eager(cell: Cell) -> bool:
    return cell.engine == "eager" and not cell.changes


def _phases_table(study: SpeedStudy) -> Table:
    """Where a step's time goes in PyTorch eager and in JAX's compiled step."""
    rows = pd.DataFrame(study.phases)
    names = [name for name in Phases.__dataclass_fields__ if name.endswith("_ms")]
    if len(rows):
        rows["cell"] = [Cell(**cell) for cell in rows.cell]
    columns = WAY | {"Batch": ("cell", lambda cell: str(cell.batch_size))}
    columns |= {f"{name[:-3].capitalize()}, ms": (name, number(".2f")) for name in names}
    return make_table("Where a step's time goes", rows, columns, say("phases", STEPS))


def _batch_table(study: SpeedStudy) -> Table:
    """A step's time over batch sizes, and the size below which most of it is a fixed cost."""
    rows = speed_details.batch_sizes(study)
    sizes = [column for column in rows if isinstance(column, int)]
    columns = WAY | {
        f"{size:,}: ms (µs per image)": (size, lambda of: f"{1e3 * of[0]:,.2f} ({1e6 * of[1]:,.0f})") for size in sizes
    }
    columns |= {
        "Fixed, ms": ("fixed", number(".2f", 1e3)),
        "Each image, µs": ("image", number(",.1f", 1e6)),
        "Half fixed at": ("fit", half_size_text),
        "Largest residual, %": ("residual", number(".0f", 100)),
    }
    sweeps = study.cells[~study.cells.main & ~study.cells.measured]
    lost = say("lost", [(cell, study.failures[cell]) for cell in sweeps.cell])
    title = "Batch sizes, and the fixed cost of a step"
    return make_table(title, rows, columns, lost, say("batches"))
