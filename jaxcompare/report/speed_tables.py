"""The speed study's answers as tables: how fast, why, when compiling has paid, what else, and found again."""

import math
import statistics
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import pandas as pd

from jaxcompare.analysis.comparison import LABELS
from jaxcompare.analysis.contrast import Contrast, Ratio, measured
from jaxcompare.analysis.roofline import common_roofs, flops_per_s, roofs_by_framework
from jaxcompare.analysis.speed import KINDS, at_main_size, baseline, best, cells_of, in_matrix
from jaxcompare.analysis.speed_study import SpeedStudy
from jaxcompare.analysis.statistics import interval_method
from jaxcompare.cell_frame import environment_of
from jaxcompare.cells import Cell
from jaxcompare.report.tables import Table, chance_note, machine
from jaxcompare.report.text import (
    FRAMEWORKS,
    factor_text,
    model_label,
    ratio_text,
    share_text,
    spread,
    spread_or_never,
    undecided,
)
from jaxcompare.report.words import say

RECIPE_IMAGES = 50_000
"""Of an epoch of the recipe."""

BUSY = 1.5
"""Processes a core, from which on other work is taken to have run beside."""


def speed_tables(study: SpeedStudy) -> list[Table]:
    """Those that there are records for."""
    tables = [
        speed_table(study),
        contrast_table(
            study, "Where the speed-up comes from", say("stages", steps=_steps(study)), "stage", "whole", "beside"
        ),
        break_even_table(study),
        contrast_table(
            study, "What else the ratios say", say("other_ratios"), "best", "recipe", "seeds", "control", "interaction"
        ),
        repeated_table(study),
        allocator_table(study),
    ]
    return [table for table in tables if table.rows]


def _steps(study: SpeedStudy) -> int:
    found = measured(study.frame)
    return int(found.steps.iloc[0]) if len(found) else 0


def speed_table(study: SpeedStudy) -> Table:
    """A row per cell of the main batch size, controls included, beside PyTorch eager and beside the best of PyTorch."""
    frame, rows, ratios = at_main_size(study.frame), [], []
    cells = cells_of(frame)
    for cell in cells:
        label = (model_label(cell.model, cell.precision), cell.title)
        if cell in study.failures:
            rows.append((*label, *["-"] * 6))
            continue
        runs = frame[frame.cell == cell]
        over = [study.ratio_of(kind, cell) for kind in ("over eager", "over the best")]
        ratios += [ratio for ratio in over if ratio]
        roof = common_roofs(study.frame, cell.precision).flops_per_s
        rows.append(
            (
                *label,
                spread(1e6 * runs.image_time_s, ",.0f"),
                *(
                    ratio_text(ratio) if ratio else "1" if cell == other else "-"
                    for ratio, other in zip(over, (baseline(cells, cell), best(frame, cell, "torch")), strict=True)
                ),
                spread(100 * flops_per_s(runs) / roof, ".0f"),
                spread(runs.cold_compile_s, ".1f"),
                spread(runs.warm_compile_s, ".1f"),
            )
        )
    header = (
        *("Model", "Execution", "Time per image, µs", "Over PyTorch eager", "Over the best of PyTorch"),
        *("Share of ceiling, %", "Compile cold, s", "Compile warm, s"),
    )
    lost = [
        f"{LABELS[cell.model]}, {cell.execution}: not measured ({message})."
        for cell, message in study.failures.items()
        if cell in cells
    ]
    notes = [" ".join(lost), " ".join(verdict_lines(study)), _count(ratios), *_notes(measured(in_matrix(study.frame)))]
    return Table(header, rows, notes, "Speed: every execution beside PyTorch eager")


def verdict_lines(study: SpeedStudy) -> list[str]:
    """A line for each model and precision: the best of JAX over the best of PyTorch."""
    when = study.when if len(study.again) else ""
    return [say("best", one=one, again=again, when=when) for one, again in study.verdicts]


def _notes(frame: pd.DataFrame) -> list[str]:
    """What the numbers are of, and what disturbed them."""
    if frame.empty:
        return []
    first, repeats = frame.iloc[0], frame.repeat.nunique()
    steps = frame.groupby("cell", sort=False).timed_steps.median()
    low, high = f"{steps.min():,.0f}", f"{steps.max():,.0f}"
    notes = [
        say(
            "speed",
            repeats=repeats,
            first=first,
            precisions=list(frame.precision.unique()),
            steps=low if low == high else f"{low} to {high}",
            method=interval_method(repeats, "repeats"),
        ),
        *(gate_note(frame[frame.precision == precision]) for precision in frame.precision.unique()),
    ]
    padded = frame[frame.computed_batch_size.fillna(0) > frame.batch_size]
    shown = padded[["model", "batch_size", "computed_batch_size", "devices"]].drop_duplicates()
    notes += [
        say(
            "padded",
            model=LABELS[row.model],
            size=row.batch_size,
            computed=row.computed_batch_size,
            devices=row.devices,
        )
        for row in shown.itertuples()
    ]
    begun = pd.to_datetime(frame.started_at).groupby(frame.repeat)
    load = frame[frame.load_average > BUSY * frame.cpu_cores].load_average.max()
    minutes = (begun.max() - begun.min()).max().total_seconds() / 60
    disturbed = say("disturbed", minutes=minutes, load=0 if math.isnan(load) else load, cores=first.cpu_cores)
    return [*notes, disturbed, machine(environment_of(first))]


def gate_note(frame: pd.DataFrame) -> str:
    """How far the worst side of a precision was from PyTorch in float64."""
    worst = {name: frame[f"gate_{name}"].max() for name in ("logits", "gradients", "losses")}
    return say("gate", worst=worst, precision=frame.precision.iloc[0])


def contrast_table(study: SpeedStudy, title: str, note: str, *kinds: str) -> Table:
    """A row per contrast of some kinds: what is compared, the ratio, what the other study found, its share."""
    found = study.of(*kinds)
    columns: dict[str, Callable[[Contrast], str]] = {
        "Model": lambda one: model_label(one.cell.model, one.cell.precision) if len(one.pair.above) == 1 else "both",
        "What": lambda one: one.pair.name or KINDS[one.pair.kind],
        "Time of": lambda one: _way(one.pair.above),
        "Over that of": lambda one: _way(one.pair.below),
        "Ratio": lambda one: factor_text(one.ratio),
    }
    if len(study.again):
        columns[f"{study.when.capitalize()} study"] = _again_text
    if any(one.share for one in found):
        columns["Share"] = _share
    rows = [tuple(text(one) for text in columns.values()) for one in found]
    ratios = [ratio for one in found for ratio in (one.ratio, one.again, one.share) if ratio]
    precisions = dict.fromkeys(one.cell.precision for one in found)
    libraries = [matrix_library_sentence(study.frame, p) for p in precisions] if "stage" in kinds else []
    return Table(tuple(columns), rows, [_count(ratios), note, *libraries], title)


def _way(cells: Sequence[Cell]) -> str:
    """An interaction's times are of one way in both models: that way alone is named."""
    return (
        cells[0].execution
        if len(cells) == 1
        else cells[-1].execution
        if cells[-1].engine != "eager"
        else cells[0].execution
    )


def _again_text(one: Contrast) -> str:
    return factor_text(one.again) + ("" if one.confirmed else ": not confirmed") if one.again else "-"


def _share(one: Contrast) -> str:
    """Of the whole, which has all of it; of what is no part of it, or where it is undecided, a dash."""
    if one.share:
        return share_text(one.share)
    return "100 %" if one.pair.kind == "whole" and one.ratio.direction else "-"


def _count(ratios: Sequence[Ratio]) -> str:
    return chance_note(sum(ratio.interval is not None for ratio in ratios))


def matrix_library_sentence(frame: pd.DataFrame, precision: Any) -> str:
    """How much faster one framework multiplies large matrices: a factor in every ratio of the two, compiled or not;
    empty where one was not measured."""
    of = roofs_by_framework(frame, precision)
    if set(of) != set(FRAMEWORKS):
        return ""
    jax, torch = of["jax"].flops_per_s, of["torch"].flops_per_s
    return say("matrix_library", precision=precision, ratio=jax / torch, jax=jax / 1e9, torch=torch / 1e9)


def break_even_table(study: SpeedStudy) -> Table:
    """What each compiled way of one run costs once, and after how many steps it has caught up with PyTorch eager at its
    best."""
    rows = []
    for one in study.break_evens:
        epoch_steps = math.ceil(RECIPE_IMAGES / one.cell.batch_size)
        texts = [
            spread_or_never(values[1:], form, values[0])
            for values, form in (
                (one.steps, ",.0f"),
                ([n / epoch_steps for n in one.steps], ",.2f"),
                (one.seconds, ",.0f"),
            )
        ]
        rows.append(
            (
                model_label(one.cell.model, one.cell.precision),
                one.cell.title,
                one.eager.title,
                spread([cost.once_s for cost in one.costs[1:]], ".1f"),
                spread([1e3 * cost.step_s for cost in one.costs[1:]], ".2f"),
                *(text if one.over.direction else undecided(text) for text in texts),
            )
        )
    header = (
        *("Model", "Execution", "Against", "Paid once, s", "Step, ms"),
        *("Break-even, steps", "Break-even, epochs", "Break-even, s"),
    )
    note = say("break_even", images=RECIPE_IMAGES)
    return Table(header, rows, [note], "What compiling costs, and when it has paid")


def repeated_table(study: SpeedStudy) -> Table:
    """How many ratios between cells another study confirms; without rows if there is none."""
    rows = []
    for model, precision in dict.fromkeys((one.cell.model, one.cell.precision) for one in study.repeated):
        found = [one for one in study.repeated if (one.cell.model, one.cell.precision) == (model, precision)]
        most = max(found, key=lambda one: one.change)
        names = ("confirmed", "confirmed_backwards", "same_verdict", "contradicted")
        rows.append(
            (
                model_label(model, precision),
                f"{len(found):,}",
                *(f"{sum(getattr(one, name) for one in found):,}" for name in names),
                f"{statistics.median(one.change for one in found):.2f}",
                _twice(most),
            )
        )
    if not rows:
        return Table((), [], [])
    header = (
        *("Model", "Ratios", "Confirmed", "Confirmed backwards", "Same verdict", "Contradicted"),
        *("Median change, factor", "Largest change"),
    )
    missed = [f"{LABELS[one.cell.model]}, {_twice(one)}" for one in study.repeated if not one.confirmed]
    begun = [
        min(map(datetime.fromisoformat, frame.started_at)).strftime("%Y-%m-%d %H:%M UTC")
        for frame in (study.frame, study.again)
    ]
    notes = [
        f"Not confirmed: {'; '.join(missed)}." if missed else "",
        say("repeated", when=study.when, first=begun[0], second=begun[1]),
    ]
    return Table(header, rows, notes, "Measured again")


def _twice(one: Contrast) -> str:
    assert one.again
    found = f"{ratio_text(one.ratio)}, in the other study {ratio_text(one.again)}"
    return f"{one.cell.execution} over {one.other.execution}: {found}"


def allocator_table(study: SpeedStudy) -> Table:
    """Every cell that was measured under another allocator's settings too; without rows if none was."""
    rows, ratios = [], []
    for one in study.allocated:
        ratios += [ratio for ratio in (*one.over, one.change) if ratio]
        over = [ratio_text(ratio) if ratio else "1" for ratio in one.over]
        faults = [spread(of_cell, ",.0f") for of_cell in one.faults]
        changed = ratio_text(one.change) if one.change else "-"
        rows.append((model_label(one.cell.model, one.cell.precision), one.cell.title, *over, changed, *faults))
    if not rows:
        return Table((), [], [])
    here, there = (measured(frame).malloc.iloc[0] or "glibc's default" for frame in (study.frame, study.other_malloc))
    header = (
        *("Model", "Execution", "Over PyTorch eager", "With the second setting", "Change"),
        *("Page faults an epoch", "With the second setting"),
    )
    notes = [_count(ratios), say("allocator", here=here, there=there)]
    return Table(header, rows, notes, "What the allocator's settings change")
