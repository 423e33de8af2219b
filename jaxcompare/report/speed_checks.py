"""What a speed study's numbers rest on, as tables: a second study of the same cells, and another allocator's."""

import statistics
from collections.abc import Sequence

from jaxcompare.analysis.comparison import LABELS
from jaxcompare.analysis.repeated_study import CLOSE, Repetition, change, check_alike, repeat_ratios, when
from jaxcompare.analysis.speed import (
    Ratio,
    baseline,
    by_repeat,
    cells_of,
    execution,
    in_matrix,
    measured,
    time_ratio,
)
from jaxcompare.cells import Cell, CellRecord
from jaxcompare.report.speed_text import VERDICTS, counted, model_label, ratio_text, spread
from jaxcompare.report.tables import Table, chance_note

STATED = "as stated"
"""The allocator's settings of the study that the other tables are of."""


def repeated_table(records: Sequence[CellRecord], again: Sequence[CellRecord]) -> Table:
    """How many ratios between cells another study confirms; without rows if there is none."""
    if not again:
        return Table((), [], [], "")
    found, rows = repeat_ratios(records, again), []
    for model, precision in dict.fromkeys((one.cell.model, one.cell.precision) for one in found):
        of_model = [one for one in found if (one.cell.model, one.cell.precision) == (model, precision)]
        most = max(of_model, key=lambda one: one.change)
        rows.append(
            (
                model_label(model, precision),
                f"{len(of_model):,}",
                f"{sum(one.confirmed for one in of_model):,}",
                f"{sum(one.confirmed_backwards for one in of_model):,}",
                f"{sum(one.same_verdict for one in of_model):,}",
                f"{sum(one.contradicted for one in of_model):,}",
                f"{statistics.median(one.change for one in of_model):.2f}",
                _twice_text(most),
            )
        )
    twice = dict.fromkeys(cell for one in found for cell in (one.cell, one.other))
    header = (
        "Model",
        "Ratios",
        "Confirmed",
        "Confirmed backwards",
        "Same verdict",
        "Contradicted",
        "Median change, factor",
        "Largest change",
    )
    other = when(records, again)
    note = (
        f"Every ratio between two cells of a model among the {len(twice)} of {len(cells_of(records))} cells that the "
        f"{other} study measured too; ratios to one cell are not independent. Confirmed: the {other} study's is within "
        f"this one's 95 % interval or a factor of {CLOSE:g}, whichever is wider; backwards: this one's within the "
        f"{other} one's. Same verdict: both show the same side of 1, or neither shows one. Contradicted: each shows "
        "its own. A study's intervals are of its own processes alone: of a ratio that did not change, the other's "
        f"value is outside in more than 5 %. Begun: this study {_begun(records)}, the {other} one {_begun(again)}."
    )
    missed = [f"{LABELS[one.cell.model]}, {_twice_text(one)}" for one in found if not one.confirmed]
    notes = [f"Not confirmed: {'; '.join(missed)}."] if missed else []
    once = [f"{LABELS[one.cell.model]}, {_twice_text(one)}" for one in found if not one.same_verdict]
    notes += [f"Decided in one study alone: {'; '.join(once)}."] if once else []
    return Table(header, rows, [*notes, chance_note(2 * len(rows)), note], "Measured again")


def _begun(records: Sequence[CellRecord]) -> str:
    return min(record.started_at for record in records)[:16].replace("T", " ") + " UTC"


def _twice_text(one: Repetition) -> str:
    ratios = f"{ratio_text(one.first)}, in the other study {ratio_text(one.again)}"
    return f"{execution(one.cell)} over {execution(one.other)}: {ratios}"


def allocator_table(records: Sequence[CellRecord], others: Sequence[CellRecord]) -> Table:
    """Every cell that was measured under another allocator's settings too, under both; without rows if none was.

    Raises:
        InputError: the studies differ in more than that.
    """
    if not others:
        return Table((), [], [], "")
    records, others = measured(in_matrix(records)), measured(others)
    both = check_alike(records, others, but="malloc")
    told, theirs = (_told(study) for study in (records, others))
    rows = [
        (LABELS[cell.model], execution(cell), *_under_allocator(study, cell, title), changed)
        for cell in both
        for study, title, changed in ((records, STATED, ""), (others, theirs, _change_text(records, others, cell)))
    ]
    repeats = " and ".join(str(len({record.repeat for record in study})) for study in (records, others))
    note = (
        f"{STATED.capitalize()}: {told}. The same cells under two settings, in two studies, one after the other: what "
        f"pairs in a repeat is within one. Median (and range) over {repeats} repeats. Its change: the factor from the "
        "one ratio to the other, with Welch's 95 % interval. Page faults: see the page's table of memory."
    )
    header = (
        "Model",
        "Execution",
        "Allocator",
        "Page faults an epoch",
        "Time per image, µs",
        "Over PyTorch eager",
        "Its change",
    )
    notes = [allocator_sentence(records, others), counted(rows, 5, 6), note]
    return Table(header, rows, notes, "What the allocator's settings change")


def allocator_sentence(records: Sequence[CellRecord], others: Sequence[CellRecord]) -> str:
    """Which verdicts over PyTorch eager turn on the allocator's settings: not those that differ by chance alone."""
    stated, theirs = measured(records), measured(others)
    turning, chance, compared = [], [], 0
    for cell in cells_of(stated):
        over = {title: _over_eager(study, cell) for title, study in ((STATED, stated), (_told(others), theirs))}
        eager = baseline(cells_of(stated), cell)
        if eager and all(over.values()):
            compared += 1
            verdicts = "; ".join(f"{title}: {VERDICTS[ratio.direction]}" for title, ratio in over.items() if ratio)
            if len({ratio.direction for ratio in over.values() if ratio}) > 1:
                shown = change(stated, theirs, cell, eager)
                group = turning if shown.interval and shown.direction else chance
                group.append(f"{LABELS[cell.model]}, {execution(cell)} ({verdicts})")
    if not compared:
        return "No execution was measured beside PyTorch eager under both of the allocator's settings."
    sentences = []
    if turning:
        told = f"Whether it is faster than PyTorch eager turns on what the allocator is told: {', '.join(turning)}."
        sentences.append(told)
    if chance:
        sentences.append(f"Verdicts that differ, though a change of the ratio is not shown: {', '.join(chance)}.")
    return " ".join(sentences) or "No execution's verdict over PyTorch eager turns on what the allocator is told."


def _told(records: Sequence[CellRecord]) -> str:
    return measured(records)[0].manifest["malloc"] or "default"


def _over_eager(records: Sequence[CellRecord], cell: Cell) -> Ratio | None:
    """None: one of the two was not measured, or it is PyTorch eager itself."""
    eager = baseline(cells_of(records), cell)
    return time_ratio(records, cell, eager) if eager and eager != cell and cell in cells_of(records) else None


def _change_text(records: Sequence[CellRecord], others: Sequence[CellRecord], cell: Cell) -> str:
    eager = baseline(cells_of(records), cell)
    if not eager or not _over_eager(records, cell) or not _over_eager(others, cell):
        return ""
    return ratio_text(change(records, others, cell, eager))


def _under_allocator(records: Sequence[CellRecord], cell: Cell, title: str) -> tuple[str, ...]:
    runs, over = by_repeat(records, cell), _over_eager(records, cell)
    return (
        title,
        spread((statistics.median(run.page_faults) for run in runs), ",.0f"),
        spread((1e6 * run.image_time_s for run in runs), ",.0f"),
        ratio_text(over) if over else "1" if baseline([cell], cell) else "-",
    )
