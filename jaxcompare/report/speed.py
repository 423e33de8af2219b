"""Speed cells as tables: every execution beside PyTorch eager, where a speed-up comes from, when compiling has paid."""

import math
from collections.abc import Sequence

from jaxcompare.analysis.attribution import attributions
from jaxcompare.analysis.comparison import LABELS
from jaxcompare.analysis.repeated_study import found_again, when
from jaxcompare.analysis.roofline import common_roofs, flops_per_s
from jaxcompare.analysis.speed import (
    RECIPE_IMAGES,
    Ratio,
    baseline,
    best,
    best_eager,
    break_even_steps,
    by_repeat,
    cells_of,
    check_one_measurement,
    cold_compile_s,
    comparable,
    costs_of,
    execution,
    groups,
    in_matrix,
    interactions,
    measured,
    median_cost,
    time_ratio,
)
from jaxcompare.cells import Cell, CellRecord
from jaxcompare.report.speed_checks import allocator_table, repeated_table
from jaxcompare.report.speed_controls import control_table
from jaxcompare.report.speed_costs import matrix_library_sentences
from jaxcompare.report.speed_notes import measurement_note
from jaxcompare.report.speed_sentences import attribution_sentence, conclusions, interaction_sentences
from jaxcompare.report.speed_text import (
    counted,
    factor_text,
    known,
    model_label,
    ratio_text,
    share_text,
    spread,
    spread_or_never,
    undecided,
)
from jaxcompare.report.tables import Table, chance_note


def speed_tables(
    records: Sequence[CellRecord], again: Sequence[CellRecord] = (), other_malloc: Sequence[CellRecord] = ()
) -> list[Table]:
    """Those that answer: how fast, why, when it has paid, what the ratios owe to something else, whether a second study
    found the same, and what the allocator's settings change."""
    tables = [
        speed_table(records, again),
        attribution_table(records, again),
        break_even_table(records),
        control_table(records),
        repeated_table(records, again),
        allocator_table(records, other_malloc),
    ]
    return [table for table in tables if table.rows]


def speed_table(records: Sequence[CellRecord], again: Sequence[CellRecord] = ()) -> Table:
    """A row per cell of the main batch size, beside PyTorch eager as the recipe has it and beside the best of PyTorch;
    then the best of JAX beside that, and what another study makes of it.

    Raises:
        InputError: the records are no one measurement: different data, machines or commits, or cells of which a repeat
            is missing.
    """
    check_one_measurement(measured(records))
    at_size = in_matrix(records)
    failed = {record.cell: record.message for record in at_size if record.message}
    rows = [
        (LABELS[cell.model], execution(cell), *(["-"] * 6 if cell in failed else _speed_cells(records, cell)))
        for cell in cells_of(at_size)
    ]
    timed = measured(at_size)
    sentences = [
        f"{LABELS[cell.model]}, {execution(cell)}: not measured ({message})." for cell, message in failed.items()
    ]
    for model, precision in groups(timed):
        sentences += conclusions(timed, model, precision, again)
    header = (
        "Model",
        "Execution",
        "Time per image, µs",
        "Over PyTorch eager",
        "Over the best of PyTorch",
        "Share of ceiling, %",
        "Compile cold, s",
        "Compile warm, s",
    )
    notes = [" ".join(sentences), counted(rows, 3, 4), measurement_note(timed)]
    return Table(header, rows, notes, "Speed: every execution beside PyTorch eager")


def _speed_cells(records: Sequence[CellRecord], cell: Cell) -> tuple[str, ...]:
    runs, others = by_repeat(records, cell), (baseline(cells_of(measured(records)), cell), best(records, cell, "torch"))
    roof = common_roofs(records, cell.precision).flops_per_s
    return (
        spread((1e6 * run.image_time_s for run in runs), ",.0f"),
        *("1" if other == cell else ratio_text(time_ratio(records, cell, other)) if other else "-" for other in others),
        spread((100 * flops_per_s(run) / roof for run in runs), ".0f"),
        spread(known(cold_compile_s(run) for run in runs), ".1f"),
        spread(known(run.warm_compile_time_s for run in runs), ".1f"),
    )


def attribution_table(records: Sequence[CellRecord], again: Sequence[CellRecord] = ()) -> Table:
    """Where the way from the recipe's loop to JAX's program of an epoch saves its time; without rows if no model was
    measured on all of that way. With another study, what that one found of each factor."""
    found, rows = attributions(records), []
    for one in found:
        label = model_label(one.model, one.precision)
        for stage in one.stages:
            share = share_text(stage.share) if stage.share else "not stated"
            twice = _found_again(again, stage.before, stage.after, stage.factor)
            way = (execution(stage.before), execution(stage.after))
            rows.append((label, stage.name, *way, factor_text(stage.factor), *twice, share))
        whole = "100 %" if one.stated else "not stated"
        first, last = one.stages[0].before, one.stages[-1].after
        twice = _found_again(again, first, last, one.total)
        rows.append((label, "all", execution(first), execution(last), factor_text(one.total), *twice, whole))
        for stage in one.beside:
            twice = _found_again(again, stage.before, stage.after, stage.factor)
            way = (execution(stage.before), execution(stage.after))
            rows.append((label, stage.name, *way, factor_text(stage.factor), *twice, "-"))
    steps = in_matrix(measured(records))[0].steps if found else 0
    note = (
        "Times as fast: time before over time after. Shares are of the logarithm of the whole, in which factors add: "
        "negative where a stage goes against it, above 100 % where others do; none where the whole is undecided. Input "
        "pipeline: batches prepared on the device before the clock. Library: JAX's operations, traced once and each "
        "dispatched from Python, in place of PyTorch's; kernels, dispatch and dropout generator differ. Compilation: "
        "plain jit of the whole batch, with direct convolutions on one device. Slices and cores: this package's step "
        "in its place (slices that stay in a core's cache, a device for each core, convolutions as matrix products), "
        f"which makes its batches itself. Dispatch: one call an epoch of {steps} steps in place of one a step. Rows "
        "without a share are beside the path: PyTorch at its best; Python's tracing of each step, without jit; "
        "dispatch over epochs as long as the recipe's. Another path between the same ends may give other factors."
    )
    note = " ".join([note, *matrix_library_sentences(records)])
    second = (f"{when(records, again).capitalize()} study",) if again else ()
    header = ("Model", "Stage", "From", "To", "Times as fast", *second, "Share")
    notes = [*map(attribution_sentence, found), counted(rows, *range(4, len(header))), note]
    return Table(header, rows, notes, "Where the speed-up comes from")


def _found_again(again: Sequence[CellRecord], before: Cell, after: Cell, first: Ratio) -> tuple[str, ...]:
    """A factor as another study has it, if there is one, and whether that confirms it."""
    if not again:
        return ()
    twice = found_again(again, before, after, first)
    return (factor_text(twice.again) + ("" if twice.confirmed else ": not confirmed") if twice else "-",)


def break_even_table(records: Sequence[CellRecord]) -> Table:
    """What each compiled way of one run costs once, and after how many steps it has caught up with PyTorch eager at its
    best; then whether compiling does as much for the one model as for the other."""
    records = comparable(records)
    rows, references = [], {}
    for cell in (cell for cell in cells_of(records) if cell.compiled):
        reference = references[cell.model] = best_eager(records, cell)
        if reference is None:
            continue
        ours, theirs = (costs_of(records, one) for one in (cell, reference))
        # Where the medians' lines cross, as the figure draws them; then each repeat's own.
        pairs = [(median_cost(ours), median_cost(theirs)), *zip(ours, theirs, strict=True)]
        steps = [break_even_steps(*pair) for pair in pairs]
        seconds = [n * one.step_s + one.once_s for n, (one, _) in zip(steps, pairs, strict=True)]
        epoch_steps = math.ceil(RECIPE_IMAGES / cell.batch_size)
        decided = time_ratio(records, cell, reference).direction
        texts = (
            spread_or_never(values, form, middle)
            for (middle, *values), form in (
                (steps, ",.0f"),
                ([n / epoch_steps for n in steps], ",.2f"),
                (seconds, ",.0f"),
            )
        )
        rows.append(
            (
                LABELS[cell.model],
                execution(cell),
                spread([cost.once_s for cost in ours], ".1f"),
                spread([1e3 * cost.step_s for cost in ours], ".2f"),
                *(text if decided else undecided(text) for text in texts),
            )
        )
    header = (
        "Model",
        "Execution",
        "Paid once, s",
        "Step, ms",
        "Break-even, steps",
        "Break-even, epochs",
        "Break-even, s",
    )
    against = "; ".join(f"{LABELS[model]}: {execution(cell)}" for model, cell in references.items() if cell)
    note = (
        f"Median (and range) over repeats, against PyTorch eager at its best ({against}). Paid once: compilation, "
        "cold, and what the first epoch took beyond a later one. Break-even: where the medians' cumulative times meet "
        f"(and those of each repeat); epochs of the recipe's {RECIPE_IMAGES:,} images; never: a step takes no less "
        "time; undecided: whether it does is, by the interval of the ratio."
    )
    alike = " ".join(interaction_sentences(records))
    notes = [alike, chance_note(3 * len(interactions(records))), note]
    return Table(header, rows, notes, "What compiling costs, and when it has paid")
