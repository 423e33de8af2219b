"""The speed study's figures with their captions and their numbers in words, and what it found in sentences."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from jaxcompare.analysis.attribution import attributions
from jaxcompare.analysis.comparison import LABELS
from jaxcompare.analysis.dispatch import fixed_cost, swept
from jaxcompare.analysis.roofline import common_roofs, flops_per_s, intensity
from jaxcompare.analysis.speed import (
    by_repeat,
    cells_of,
    comparable,
    execution,
    groups,
    measured,
)
from jaxcompare.cells import CellRecord
from jaxcompare.report.figures import Picture
from jaxcompare.report.speed import break_even_table, speed_table
from jaxcompare.report.speed_controls import control_sentences
from jaxcompare.report.speed_curves import batch_sweep, input_ladder, roofline
from jaxcompare.report.speed_details import batch_table, ladder_table, ledger_table
from jaxcompare.report.speed_figures import attribution_waterfall, break_even_curves, compile_ledger, speed_matrix
from jaxcompare.report.speed_sentences import attribution_sentence, conclusions, interaction_sentences
from jaxcompare.report.speed_text import engine_label, half_size_text, spread
from jaxcompare.report.tables import Table


class Design(NamedTuple):
    """A figure, how it is made, and how its numbers are put into words."""

    name: str
    draw: Callable[[Sequence[CellRecord]], Figure]
    caption: str
    say: Callable[[Sequence[CellRecord]], str]
    """Empty: there are no records for it."""


def draw_speed_pictures(records: Sequence[CellRecord]) -> list[Picture]:
    """The figures that there are records for."""
    said = [(design, design.say(records)) for design in DESIGNS] if measured(records) else []
    return [Picture(d.name, d.draw(records), d.caption, text) for d, text in said if text]


def find_speed_sentences(records: Sequence[CellRecord], again: Sequence[CellRecord] = ()) -> list[str]:
    """What the study found, a paragraph each: where the speed-up comes from, which way is best and what another study
    makes of that, when it has paid."""
    return [
        *map(attribution_sentence, attributions(records)),
        *(" ".join(conclusions(records, *group, again)) for group in groups(measured(records))),
        _say_break_even(records),
        " ".join(interaction_sentences(records)),
        " ".join(control_sentences(records)),
        _say_fits(records),
    ]


def _say_rows(table: Table, columns: Iterable[int]) -> str:
    """Rows in words: model, execution, and some columns by their titles."""
    return " ".join(
        f"{row[0]}, {row[1]}: {', '.join(f'{table.header[i]} {row[i]}' for i in columns)}." for row in table.rows
    )


def _say_break_even(records: Sequence[CellRecord]) -> str:
    by_model = itertools.groupby(break_even_table(records).rows, lambda row: row[0])
    return " ".join(
        f"{model}: optimiser steps until compiling has paid for itself, against PyTorch eager at its best: "
        f"{'; '.join(f'{row[1]}: {row[4]}' for row in rows)}."
        for model, rows in by_model
    )


def _say_ledger(records: Sequence[CellRecord]) -> str:
    compiled = [record for record in comparable(records) if record.cell.compiled]
    return _say_rows(ledger_table(compiled), range(3, 9)) if compiled else ""


def _say_roofs(records: Sequence[CellRecord]) -> str:
    all_records, records = records, comparable(records)
    parts = [
        f"Roofs in {precision}: {roofs.flops_per_s / 1e9:,.0f} GFLOP/s and {roofs.bytes_per_s / 1e9:,.0f} GB/s."
        for precision in dict.fromkeys(record.cell.precision for record in records)
        for roofs in [common_roofs(all_records, precision)]
    ]
    for cell in cells_of(records):
        runs = by_repeat(records, cell)
        reached = spread((flops_per_s(run) / 1e9 for run in runs), ",.0f")
        parts.append(
            f"{LABELS[cell.model]}, {execution(cell)}: {reached} GFLOP/s at {intensity(runs[0]):.1f} FLOP a byte."
        )
    return " ".join(parts)


def _say_fits(records: Sequence[CellRecord]) -> str:
    fits = [(cells[0], fixed_cost(records, cells)) for cells in swept(records).values()]
    found = [f"{LABELS[cell.model]}, {engine_label(cell)}: {half_size_text(fit)}" for cell, fit in fits if fit]
    lead = (
        "Batch size at which half of a step is its fixed cost (dispatch, the optimiser's update, all that does not "
        "grow with the batch): "
    )
    return f"{lead}{'; '.join(found)}." if found else ""


def _say_sweep(records: Sequence[CellRecord]) -> str:
    table = batch_table(records)
    return " ".join([_say_rows(table, range(2, len(table.header) - 4)), _say_fits(records)]).strip()


def _say_ladder(records: Sequence[CellRecord]) -> str:
    table = ladder_table(records)
    return _say_rows(table, range(2, len(table.header)))


DESIGNS = (
    Design(
        "figure4_break_even",
        break_even_curves,
        "Figure 4. Cumulative time of one run by optimiser steps. Where a line crosses the lowest of PyTorch eager's "
        "(black) compilation has paid for itself: a marker and the step's number.",
        _say_break_even,
    ),
    Design(
        "figure5_matrix",
        speed_matrix,
        "Figure 5. Time per image over that of the best of PyTorch (1), by execution and model: below 1 (blue) is "
        "faster. Hatched, n/a: could not be measured, the table says why. Empty: was not asked for.",
        lambda records: _say_rows(speed_table(records), (4,)),
    ),
    Design(
        "figure6_ledger",
        compile_ledger,
        "Figure 6. What each compiled way pays before its steps are steady: cold, and below it in a second process "
        "(in the first repeat alone) that finds the programs in the first one's cache; the first run is measured cold "
        "only. torch.compile traces and compiles in its first step: the pieces cannot be told apart.",
        _say_ledger,
    ),
    Design(
        "figure7_roofline",
        roofline,
        "Figure 7. What each execution reaches of the formulas' operations, under the roofs of a large copy and of a "
        "large matrix product, the same for both frameworks. Executions of a model have one arithmetic intensity and "
        "stand side by side to be told apart. Bytes are by the formula for float32, in "
        "other precisions too.",
        _say_roofs,
    ),
    Design(
        "figure8_input",
        input_ladder,
        "Figure 8. Time per image by where the batches come from, of PyTorch eager in its default layout and of JAX's "
        "compiled step; a line joins neighbours only.",
        _say_ladder,
    ),
    Design(
        "figure9_batch",
        batch_sweep,
        "Figure 9. Time of a step by batch size, the law fixed + batch · each image (thin lines), and the batch size "
        "at which half of a step is its fixed cost: dispatch, the optimiser's update, all that does not grow with the "
        "batch (upright lines, where it is among the sizes measured). PyTorch is in its default layout.",
        _say_sweep,
    ),
    Design(
        "figure10_attribution",
        attribution_waterfall,
        "Figure 10. From the recipe's own loop to JAX's program of an epoch: each stage's bar goes from the time "
        "before it to the time after it, to the left where that is less; thin lines: the 95 % interval of the stage's "
        "factor; diamonds: the two ends. Equal lengths are equal factors within a panel. The bars belong to this path.",
        lambda records: " ".join(map(attribution_sentence, attributions(records))),
    ),
)
