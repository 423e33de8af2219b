"""Speed cells as tables: every execution beside PyTorch eager, where a speed-up comes from, when compiling has paid."""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Sequence

from jaxcompare.analysis.attribution import Attribution, attributions
from jaxcompare.analysis.comparison import LABELS
from jaxcompare.analysis.roofline import common_roofs, flops_per_s
from jaxcompare.analysis.speed import (
    RECIPE_IMAGES,
    Ratio,
    at_recipe_size,
    baseline,
    break_evens,
    by_repeat,
    cells_of,
    check_one_measurement,
    cold_compile_s,
    comparable,
    execution,
    groups,
    image_times,
    interactions,
    measured,
    recipe_size,
    time_ratio,
)
from jaxcompare.cells import Cell, CellRecord
from jaxcompare.config import ModelName, Precision
from jaxcompare.report.speed_text import known, model_label, ratio_text, share_text, spread, spread_or_never
from jaxcompare.report.tables import Table, machine


def speed_tables(records: Sequence[CellRecord]) -> list[Table]:
    """The three that answer: how fast, why, and when it has paid."""
    tables = [speed_table(records), attribution_table(records), break_even_table(records)]
    return [table for table in tables if table.rows]


def speed_table(records: Sequence[CellRecord]) -> Table:
    """A row per cell of the recipe's batch size, beside PyTorch eager of the same model; then the best JAX engine
    beside the best of PyTorch.

    Raises:
        InputError: the records are no one measurement: different data, machines or commits, or cells of which a repeat
            is missing.
    """
    check_one_measurement(measured(records))
    size, records = recipe_size(records), at_recipe_size(records)
    failed = {record.cell: record.message for record in records if record.message}
    timed = measured(records)
    rows = [
        (LABELS[cell.model], execution(cell), *(["-"] * 5 if cell in failed else _speed_cells(timed, cell)))
        for cell in cells_of(records)
    ]
    sentences = [
        f"{LABELS[cell.model]}, {execution(cell)}: not measured ({message})." for cell, message in failed.items()
    ]
    for model, precision in groups(timed):
        sentences += conclusions(timed, model, precision)
    header = (
        "Model",
        "Execution",
        "Time per image, µs",
        "Over PyTorch eager",
        "Share of ceiling, %",
        "Compile cold, s",
        "Compile warm, s",
    )
    notes = [" ".join(sentences), _speed_note(timed, size)]
    return Table(header, rows, notes, "Speed: every execution beside PyTorch eager")


def _speed_cells(records: Sequence[CellRecord], cell: Cell) -> tuple[str, ...]:
    runs, eager = by_repeat(records, cell), baseline(cells_of(records), cell)
    roof = common_roofs(records, cell.precision).flops_per_s
    return (
        spread((1e6 * run.image_time_s for run in runs), ",.0f"),
        "1" if eager == cell else ratio_text(time_ratio(records, cell, eager)) if eager else "-",
        spread((100 * flops_per_s(run) / roof for run in runs), ".0f"),
        spread(known(cold_compile_s(run) for run in runs), ".1f"),
        spread(known(run.warm_compile_time_s for run in runs), ".1f"),
    )


def _speed_note(records: Sequence[CellRecord], size: int) -> str:
    first, repeats = records[0], len({record.repeat for record in records})
    return (
        f"Time, share and compilation: median (and range) of {repeats} fresh processes, interleaved. "
        f"{interval_note(records)} {first.dataset_title}, {first.train_images:,} images, batches of {size}, "
        f"{', '.join(dict.fromkeys(record.cell.precision for record in records))}, dropout on; the first epoch, "
        "evaluation and compilation excluded; of several seeds, the time per image and seed. PyTorch's device batches "
        "are prepared before the clock starts; JAX's device input makes its batches inside the program, so JAX does "
        "more work. Ceiling: a large matrix product, the same for both frameworks: the faster one's median; "
        "floating-point operations a training image by formula. Compile: all programs ahead of time, of torch.compile "
        "the whole first step, which compiles; warm: a second process with the first one's cache. Best: by the "
        f"median, of these same repeats. {_gate_note(records)} {machine(first.environment)}"
    )


def interval_note(records: Sequence[CellRecord]) -> str:
    """How ratios and their intervals are made."""
    if len({record.repeat for record in records}) == 1:
        return "One repeat: ratios have no interval, and what they show may be chance."
    interval = time_ratio(records, records[0].cell, records[0].cell).interval
    method = interval.method if interval else ""
    return (
        "Ratios are taken repeat by repeat: geometric mean and 95 % interval of the mean logarithm "
        f"({method}); each interval has its 95 % for itself, not all together."
    )


def _gate_note(records: Sequence[CellRecord]) -> str:
    """How near the sides were to float64 before they were timed: the farthest of all, in each precision."""
    found = []
    for precision in dict.fromkeys(record.cell.precision for record in records):
        parities = [record.parity for record in records if record.cell.precision == precision]
        worst = ", ".join(f"{name} {max(parity[name] for parity in parities):.0e}" for name in parities[0])
        found.append(f"{worst} in {precision}")
    return (
        "Parity gate: from shared weights and batches, dropout off, each side came within "
        f"{'; '.join(found)} of PyTorch in float64 before it was timed (share of the largest logit; relative norm of "
        "the worst parameter; nats over 10 AdamW steps)."
    )


def conclusions(records: Sequence[CellRecord], model: ModelName, precision: Precision) -> list[str]:
    """The best JAX engine over the best of PyTorch and over the recipe's loop; seeds over single runs."""
    records = measured(at_recipe_size(records))
    cells = [cell for cell in cells_of(records) if (cell.model, cell.precision) == (model, precision)]

    def best(some: Iterable[Cell]) -> Cell:
        return min(some, key=lambda cell: statistics.median(image_times(records, cell)))

    jax_cells = [cell for cell in cells if cell.framework == "jax" and cell.seeds == 1]
    torch_cells = [cell for cell in cells if cell.framework == "torch" and cell.input == "device"]
    if not jax_cells or not torch_cells:
        return []
    ours, theirs = best(jax_cells), best(torch_cells)
    over = time_ratio(records, ours, theirs)
    faster = _verdict(over, "JAX is slower", "JAX is faster", "undecided which is faster")
    sentences = [
        f"{LABELS[model]}: the best JAX engine ({execution(ours)}) takes {ratio_text(over)} of the time of the best of "
        f"PyTorch ({execution(theirs)}): {faster}."
    ]
    recipe = Cell(model, "eager", "recipe", precision, ours.batch_size)
    if recipe in cells:
        sentences.append(
            f"The recipe's own loop takes {ratio_text(time_ratio(records, recipe, ours))} times as long as it."
        )
    for several in (cell for cell in cells if cell.seeds > 1):
        single = dataclasses.replace(several, seeds=1)
        if single in cells:
            per_seed = time_ratio(records, several, single)
            sentences.append(
                f"{several.seeds} seeds in one program ({execution(several)}) take {ratio_text(per_seed)} of the time "
                f"of {several.seeds} single runs: {_verdict(per_seed, 'more', 'less', 'undecided which is less')}."
            )
    return sentences


def _verdict(ratio: Ratio, above: str, below: str, undecided: str) -> str:
    """What a ratio shows; of one repeat, no more than what it happened to be."""
    found = {1: above, -1: below, 0: undecided}[ratio.direction]
    return found if ratio.interval else f"{found} in the one repeat, no interval"


def attribution_table(records: Sequence[CellRecord]) -> Table:
    """Where the way from the recipe's loop to JAX's program of an epoch saves its time; without rows if no model was
    measured on all of that way."""
    found, rows = attributions(records), []
    for one in found:
        label = model_label(one.model, one.precision)
        for stage in one.stages:
            share = share_text(stage.share) if stage.share else "not stated"
            way = (execution(stage.before), execution(stage.after))
            rows.append((label, stage.name, *way, ratio_text(stage.factor), share))
        whole = "100 %" if one.stated else "not stated"
        ends = (execution(one.stages[0].before), execution(one.stages[-1].after))
        rows.append((label, "all", *ends, ratio_text(one.total), whole))
    note = (
        "Times as fast: time before over time after. Shares are of the logarithm of the whole, in which factors add; "
        "a negative share: that stage slows down. Input pipeline: batches prepared on the device before the clock, in "
        "place of the recipe's DataLoader. Compilation: one compiled program a step in place of PyTorch's operations; "
        "it makes its batches itself, which costs this stage something, and it holds all else in which the frameworks "
        "differ (kernels, layouts); what compiling does within PyTorch is in torch.compile's row above. Dispatch: one "
        "call an epoch in place of one a step. The shares belong to this path: another between the same ends may give "
        "others. Where the interval of the whole includes 1, no shares are stated."
    )
    header = ("Model", "Stage", "From", "To", "Times as fast", "Share")
    return Table(header, rows, [*map(attribution_sentence, found), note], "Where the speed-up comes from")


def attribution_sentence(one: Attribution) -> str:
    """A speed-up and its shares in words, undecided where the records do not decide."""
    slower = "JAX is the slower" if one.total.direction == -1 else "JAX is the faster"
    lead = (
        f"{model_label(one.model, one.precision)}: the recipe's own loop in PyTorch eager takes "
        f"{ratio_text(one.total)} times as long as JAX's whole-epoch program"
    )
    if not one.stated:
        return f"{lead}: undecided which is faster, so no shares are stated."
    shares = [f"{stage.name} {share_text(stage.share)}" for stage in one.stages if stage.share]
    alone = " One repeat, no interval." if one.total.interval is None else ""
    return f"{lead}: {slower}. Of that, in logarithms: {', '.join(shares)}.{alone}"


def break_even_table(records: Sequence[CellRecord]) -> Table:
    """What each compiled way of one run costs once, and after how many steps it has caught up with PyTorch eager; then
    whether compiling speeds up the two models alike."""
    records = comparable(records)
    cells, rows = cells_of(records), []
    for cell in (cell for cell in cells if cell.compiled):
        reference = baseline(cells, cell)
        if reference is None:
            continue
        runs, steps = by_repeat(records, cell), break_evens(records, cell, reference)
        epoch_steps = math.ceil(RECIPE_IMAGES / cell.batch_size)
        seconds = [n * run.step_time_s + run.one_time_s for n, run in zip(steps, runs, strict=True)]
        rows.append(
            (
                LABELS[cell.model],
                execution(cell),
                spread([run.one_time_s for run in runs], ".1f"),
                spread([1e3 * run.step_time_s for run in runs], ".2f"),
                spread_or_never(steps, ",.0f"),
                spread_or_never([n / epoch_steps for n in steps], ",.2f"),
                spread_or_never(seconds, ",.0f"),
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
    note = (
        "Median (and range) over repeats, against PyTorch eager of the same model and repeat; device input on both "
        "sides. Paid once: compilation, cold, and what the first epoch took beyond a later one. Break-even: where the "
        f"two cumulative times meet; epochs of the recipe's {RECIPE_IMAGES:,} images; never: a step takes no less time."
    )
    alike = " ".join(interaction_sentences(records))
    return Table(header, rows, [*([alike] if alike else []), note], "What compiling costs, and when it has paid")


def interaction_sentences(records: Sequence[CellRecord]) -> list[str]:
    """Whether compiling speeds up the two models alike, in words."""
    return [
        f"Over PyTorch eager, {execution(cnn)} speeds up the ViT {ratio_text(ratio)} times as much as the CNN: "
        f"{_verdict(ratio, 'more', 'less', 'undecided which more')}."
        for cnn, ratio in interactions(records).items()
    ]
