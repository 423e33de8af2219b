"""Speed cells as tables: every execution beside PyTorch eager, where a speed-up comes from, when compiling has paid."""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Sequence
from datetime import datetime

from jaxcompare.analysis.attribution import Attribution, attributions
from jaxcompare.analysis.comparison import LABELS
from jaxcompare.analysis.repeated_study import Repetition
from jaxcompare.analysis.roofline import common_roofs, flops_per_s
from jaxcompare.analysis.speed import (
    RECIPE_IMAGES,
    Ratio,
    baseline,
    break_even_steps,
    by_repeat,
    cells_of,
    check_one_measurement,
    cold_compile_s,
    comparable,
    costs_of,
    execution,
    groups,
    image_times,
    in_matrix,
    interactions,
    measured,
    median_cost,
    time_ratio,
)
from jaxcompare.analysis.statistics import interval_method
from jaxcompare.cells import Cell, CellRecord
from jaxcompare.config import ModelName, Precision
from jaxcompare.report.speed_checks import allocator_table, repeated_table
from jaxcompare.report.speed_controls import control_table
from jaxcompare.report.speed_costs import matrix_library_sentences
from jaxcompare.report.speed_text import (
    factor_text,
    known,
    model_label,
    ratio_text,
    share_text,
    spread,
    spread_or_never,
)
from jaxcompare.report.tables import Table, machine

BUSY = 2
"""Processes a core, from which on a load average is more than a measurement's own: its threads, a compiler's, and what
has just ended."""


def speed_tables(
    records: Sequence[CellRecord], again: Sequence[CellRecord] = (), other_malloc: Sequence[CellRecord] = ()
) -> list[Table]:
    """Those that answer: how fast, why, when it has paid, what the ratios owe to something else, whether a second study
    found the same, and what the allocator's settings change."""
    tables = [
        speed_table(records),
        attribution_table(records, again),
        break_even_table(records),
        control_table(records),
        repeated_table(records, again),
        allocator_table(records, other_malloc),
    ]
    return [table for table in tables if table.rows]


def speed_table(records: Sequence[CellRecord]) -> Table:
    """A row per cell of the main batch size, beside PyTorch eager of the same model; then the best JAX engine
    beside the best of PyTorch.

    Raises:
        InputError: the records are no one measurement: different data, machines or commits, or cells of which a repeat
            is missing.
    """
    check_one_measurement(measured(records))
    at_size = in_matrix(records)
    failed = {record.cell: record.message for record in at_size if record.message}
    rows = [
        (LABELS[cell.model], execution(cell), *(["-"] * 5 if cell in failed else _speed_cells(records, cell)))
        for cell in cells_of(at_size)
    ]
    timed = measured(at_size)
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
    notes = [" ".join(sentences), _speed_note(timed)]
    return Table(header, rows, notes, "Speed: every execution beside PyTorch eager")


def _speed_cells(records: Sequence[CellRecord], cell: Cell) -> tuple[str, ...]:
    runs, eager = by_repeat(records, cell), baseline(cells_of(measured(records)), cell)
    roof = common_roofs(records, cell.precision).flops_per_s
    return (
        spread((1e6 * run.image_time_s for run in runs), ",.0f"),
        "1" if eager == cell else ratio_text(time_ratio(records, cell, eager)) if eager else "-",
        spread((100 * flops_per_s(run) / roof for run in runs), ".0f"),
        spread(known(cold_compile_s(run) for run in runs), ".1f"),
        spread(known(run.warm_compile_time_s for run in runs), ".1f"),
    )


def _speed_note(records: Sequence[CellRecord]) -> str:
    first, repeats = records[0], len({record.repeat for record in records})
    processes = f"median (and range) of {repeats} fresh processes, interleaved" if repeats > 1 else "one fresh process"
    return (
        f"Time, share and compilation: {processes}. "
        f"{interval_note(records)} {first.dataset_title}, {first.train_images:,} images, batches of "
        f"{first.cell.batch_size}, {', '.join(dict.fromkeys(record.cell.precision for record in records))}, dropout "
        f"on; {_timed_steps(records)} timed steps a process; the first epoch, evaluation and compilation excluded; of "
        "several seeds, the time per image and seed. PyTorch's device batches are prepared before the clock starts; "
        "JAX's device input makes its batches inside the program, so JAX does more work. Ceiling: a large matrix "
        "product, the same for both frameworks: the faster one's median over all its processes of a precision; "
        "floating-point operations a training image by formula. Compile: every program that training needs, ahead of "
        "time, of torch.compile the whole first step, which compiles; warm: a second process with the first one's "
        "cache, in the first repeat alone. Best: by the median, of these same repeats, on device input on both sides. "
        f"{_malloc_note(first)}"
        f"{_padding_note(records)}{_noise_note(records)}"
        f"{_gate_note(records)} {machine(first.environment)}"
    )


def _malloc_note(record: CellRecord) -> str:
    """What the allocator was told, which is not what a user has by default."""
    told = record.manifest["malloc"]
    if not told:
        return ""
    return (
        f"Allocator: {told}, in every process; not the default, with which PyTorch eager may take longer (see "
        "jaxcompare/measure/malloc.py). "
    )


def _padding_note(records: Sequence[CellRecord]) -> str:
    """Where JAX computes more than PyTorch: whole slices for each of its devices."""
    padded = {
        (record.cell.batch_size, LABELS[record.cell.model], computed, record.manifest["devices"]): None
        for record in records
        if (computed := record.manifest.get("computed_batch_size", 0)) > record.cell.batch_size
    }
    return "".join(
        f"JAX pads the {model}'s batches of {size} to {computed}, whole slices for each of {devices} devices, and its "
        "times hold that work. "
        for size, model, computed, devices in padded
    )


def _noise_note(records: Sequence[CellRecord]) -> str:
    """What may have disturbed the measurement, as far as it was seen."""
    apart = max(_minutes_apart([r for r in records if r.repeat == repeat]) for repeat in {r.repeat for r in records})
    loads = [(load, r.environment["cpu_cores"]) for r in records if (load := r.environment.get("load_average"))]
    most, cores = max(loads, default=(0.0, 1))
    busy = f" Other work ran beside: {most:.1f} processes wanted one of {cores} cores." if most > BUSY * cores else ""
    return f"The processes of a repeat began within {apart:,.0f} minutes of each other.{busy} "


def _minutes_apart(records: Sequence[CellRecord]) -> float:
    started = [datetime.fromisoformat(record.started_at) for record in records]
    return (max(started) - min(started)).total_seconds() / 60


def _timed_steps(records: Sequence[CellRecord]) -> str:
    """From the cell with the fewest to the one with the most: fast cells are timed for more epochs."""
    of_cells = [
        statistics.median(len(run.epoch_time_s) * run.steps for run in by_repeat(records, cell))
        for cell in cells_of(records)
    ]
    low, high = (f"{of(of_cells):,.0f}" for of in (min, max))
    return low if low == high else f"{low} to {high}"


def interval_note(records: Sequence[CellRecord]) -> str:
    """How ratios and their intervals are made."""
    repeats = len({record.repeat for record in records})
    if repeats == 1:
        return "One repeat: ratios have no interval, and what they show may be chance."
    return (
        f"Ratios are of medians over repeats; their 95 % intervals ({interval_method(repeats, 'repeats')}, of the "
        "logarithm) pair what ran in one repeat, and each has its 95 % for itself, not all together; of fewer than "
        "five repeats they are of the mean, widened to hold the ratio."
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
    """The best JAX engine over the best of PyTorch, both on device input, and over the recipe's loop; seeds over single
    runs."""
    records = measured(in_matrix(records))
    cells = [cell for cell in cells_of(records) if (cell.model, cell.precision) == (model, precision)]

    def best(some: Iterable[Cell]) -> Cell:
        return min(some, key=lambda cell: statistics.median(image_times(records, cell)))

    on_device = [cell for cell in cells if (cell.input, cell.seeds) == ("device", 1)]
    jax_cells, torch_cells = ([cell for cell in on_device if cell.framework == name] for name in ("jax", "torch"))
    if not jax_cells or not torch_cells:
        return []
    ours, theirs = best(jax_cells), best(torch_cells)
    over = time_ratio(records, ours, theirs)
    faster = _verdict(over, "JAX is slower", "JAX is faster", "undecided which is faster")
    sentences = [
        f"{model_label(model, precision)}: the best JAX engine ({execution(ours)}) takes {ratio_text(over)} of the "
        f"time of the best of PyTorch ({execution(theirs)}): {faster}."
    ]
    recipe = dataclasses.replace(theirs, engine="eager", input="recipe")
    if recipe in cells:
        longer = ratio_text(time_ratio(records, recipe, ours))
        sentences.append(f"The recipe's own loop takes {longer} times as long as that JAX engine.")
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


def attribution_table(records: Sequence[CellRecord], again: Sequence[CellRecord] = ()) -> Table:
    """Where the way from the recipe's loop to JAX's program of an epoch saves its time; without rows if no model was
    measured on all of that way. With a second study, what that one found of each factor."""
    found, rows = attributions(records), []
    for one in found:
        label = model_label(one.model, one.precision)
        for stage in one.stages:
            share = share_text(stage.share) if stage.share else "not stated"
            found_again = _found_again(again, stage.before, stage.after, stage.factor)
            way = (execution(stage.before), execution(stage.after))
            rows.append((label, stage.name, *way, factor_text(stage.factor), *found_again, share))
        whole = "100 %" if one.stated else "not stated"
        first, last = one.stages[0].before, one.stages[-1].after
        found_again = _found_again(again, first, last, one.total)
        rows.append((label, "all", execution(first), execution(last), factor_text(one.total), *found_again, whole))
    steps = in_matrix(measured(records))[0].steps if found else 0
    note = (
        "Times as fast: time before over time after; undecided: the interval includes 1. Shares are of the logarithm "
        "of the whole, in which factors add: negative where a stage goes against the whole, above 100 % where others "
        "do; where the interval of the whole includes 1, none are stated. Input pipeline: batches prepared on the "
        "device before the clock, in place of the recipe's DataLoader. Library: JAX's operations one by one in place "
        "of PyTorch's one by one; kernels and dropout generator differ. Compilation: one compiled program a step in "
        "place of JAX's operations one by one; it holds all that a program makes possible here (fusion, slices that "
        "stay in a core's cache, a core for each slice, convolutions as matrix products), and it makes its batches "
        "itself. What compiling does within PyTorch is in torch.compile's row above. Dispatch: one call an epoch, of "
        f"{steps} steps with these images, in place of one a step. Factors and shares belong to this path: another "
        "between the same ends may give others."
    )
    note = " ".join([note, *matrix_library_sentences(records)])
    if again:
        note += " Second study: see the table of what was measured again."
    second = ("Second study",) if again else ()
    header = ("Model", "Stage", "From", "To", "Times as fast", *second, "Share")
    return Table(header, rows, [*map(attribution_sentence, found), note], "Where the speed-up comes from")


def _found_again(again: Sequence[CellRecord], before: Cell, after: Cell, first: Ratio) -> tuple[str, ...]:
    """A factor as a second study has it, if there is one, and whether that confirms the first."""
    if not again:
        return ()
    if not {before, after} <= set(cells_of(measured(again))):
        return ("-",)
    twice = Repetition(before, after, first, time_ratio(again, before, after))
    return (factor_text(twice.again) + ("" if twice.confirmed else ": not confirmed"),)


def attribution_sentence(one: Attribution) -> str:
    """A speed-up, its factors and their shares in words, undecided where the records do not decide."""
    slower = "slower" if one.total.direction == -1 else "faster"
    lead = (
        f"{model_label(one.model, one.precision)}: the recipe's own loop in PyTorch eager takes "
        f"{ratio_text(one.total)} times as long as JAX's whole-epoch program"
    )
    factors = ", ".join(f"{stage.name} {factor_text(stage.factor)}" for stage in one.stages)
    by_stage = f"Times as fast, stage by stage: {factors}"
    if not one.stated:
        return f"{lead}: undecided which is faster. {by_stage}; of the whole no shares are stated."
    shares = ", ".join(f"{stage.name} {share_text(stage.share)}" for stage in one.stages if stage.share)
    alone = " One repeat, no interval." if one.total.interval is None else ""
    return f"{lead}, which is {slower}. {by_stage}; of the whole, in logarithms: {shares}.{alone}"


def break_even_table(records: Sequence[CellRecord]) -> Table:
    """What each compiled way of one run costs once, and after how many steps it has caught up with PyTorch eager; then
    whether compiling does as much for the one model as for the other."""
    records = comparable(records)
    cells, rows = cells_of(records), []
    for cell in (cell for cell in cells if cell.compiled):
        reference = baseline(cells, cell)
        if reference is None:
            continue
        ours, theirs = (costs_of(records, one) for one in (cell, reference))
        # Where the medians' lines cross, as the figure draws them; then each repeat's own.
        pairs = [(median_cost(ours), median_cost(theirs)), *zip(ours, theirs, strict=True)]
        steps = [break_even_steps(*pair) for pair in pairs]
        seconds = [n * one.step_s + one.once_s for n, (one, _) in zip(steps, pairs, strict=True)]
        epoch_steps = math.ceil(RECIPE_IMAGES / cell.batch_size)
        undecided = "" if time_ratio(records, cell, reference).direction else ": undecided"
        rows.append(
            (
                LABELS[cell.model],
                execution(cell),
                spread([cost.once_s for cost in ours], ".1f"),
                spread([1e3 * cost.step_s for cost in ours], ".2f"),
                *(
                    spread_or_never(values, form, middle) + undecided
                    for (middle, *values), form in (
                        (steps, ",.0f"),
                        ([n / epoch_steps for n in steps], ",.2f"),
                        (seconds, ",.0f"),
                    )
                ),
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
        "Median (and range) over repeats, against PyTorch eager of the same model; device input on both sides. Paid "
        "once: compilation, cold, and what the first epoch took beyond a later one. Break-even: where the medians' "
        "cumulative times meet (and those of each repeat); epochs of the recipe's "
        f"{RECIPE_IMAGES:,} images; never: a step takes no less time; undecided: whether it does is, by the interval "
        "of its ratio above."
    )
    alike = " ".join(interaction_sentences(records))
    return Table(header, rows, [*([alike] if alike else []), note], "What compiling costs, and when it has paid")


def interaction_sentences(records: Sequence[CellRecord]) -> list[str]:
    """Whether compiling does as much for the one model as for the other, in words."""
    sentences = []
    for cnn, ratio in interactions(records).items():
        both = (cnn, dataclasses.replace(cnn, model="vit"))
        cnn_text, vit_text = (_times_as_fast(records, cell) for cell in both)
        verdict = _verdict(ratio, "the ViT fares better", "the CNN fares better", "undecided which fares better")
        sentences.append(
            f"Beside PyTorch eager, {execution(cnn)} is {cnn_text} times as fast for the CNN and {vit_text} for the "
            f"ViT; ratio {ratio_text(ratio)}: {verdict}."
        )
    return sentences


def _times_as_fast(records: Sequence[CellRecord], cell: Cell) -> str:
    """As PyTorch eager, which was measured."""
    eager = dataclasses.replace(cell, engine="eager")
    return ratio_text(time_ratio(records, eager, cell))
