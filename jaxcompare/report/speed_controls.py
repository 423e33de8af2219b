"""What a study's ratios owe to something else than compiling, as a table and in sentences."""

import dataclasses
from collections.abc import Sequence

from jaxcompare.analysis.speed import cells_of, execution, image_times, measured, time_ratio
from jaxcompare.cells import CONTROLS, Cell, CellRecord
from jaxcompare.report.speed_costs import FRAMEWORKS
from jaxcompare.report.speed_text import counted, model_label, ratio_text, spread, verdict_text
from jaxcompare.report.tables import Table


def control_table(records: Sequence[CellRecord]) -> Table:
    """Every cell that was measured with something changed that is no part of compiling, as stated and changed; without
    rows if none was."""
    records = measured(records)
    rows = [
        (
            model_label(changed.model, changed.precision),
            execution(stated),
            _title(changed),
            *(spread((1e6 * time for time in image_times(records, cell)), ",.0f") for cell in (stated, changed)),
            ratio_text(time_ratio(records, changed, stated)),
        )
        for stated, changed in _controlled(records)
    ]
    generators = " and ".join(
        f"{record.manifest['dropout_generator']} in {title}"
        for name, title in FRAMEWORKS.items()
        for record in [next((r for r in records if r.cell.framework == name), None)]
        if record
    )
    note = (
        "Median (and range) over repeats, per image; processes of the same study. No dropout: the ViT trains without "
        f"it; with it, masks are drawn by {generators}, which is no part of compiling. Without it PyTorch may also "
        "take a fused attention kernel, which dropout on the probabilities rules out on a CPU. Channels last: "
        "PyTorch's images and kernels lie in memory as JAX's do; the recipe leaves PyTorch's default. "
        f"{CONTROLS['long-epochs'].capitalize()}: the images are gone through again and again."
    )
    header = ("Model", "Execution", "Changed", "As stated, µs", "Changed, µs", "Changed over stated")
    notes = [" ".join(control_sentences(records)), counted(rows, 5), note]
    return Table(header, rows, notes, "What the ratios owe to something else")


def control_sentences(records: Sequence[CellRecord]) -> list[str]:
    """What JAX's step takes of PyTorch eager's time where what is trained is changed, beside what it takes as stated.
    What changes nothing of that is in the matrix."""
    records, sentences = measured(records), []
    cells = cells_of(records)
    for stated, changed in _controlled(records):
        ours, ours_stated = (dataclasses.replace(cell, engine="step") for cell in (changed, stated))
        if changed.same_step or changed.engine != "eager" or not {ours, ours_stated} <= set(cells):
            continue
        over, as_stated = time_ratio(records, ours, changed), time_ratio(records, ours_stated, stated)
        found, before = (verdict_text(ratio) for ratio in (over, as_stated))
        sentences.append(
            f"{model_label(stated.model, stated.precision)}, {_title(changed)} on both sides: JAX step takes {found} "
            f"of PyTorch eager's time; as the recipe has it {before}."
        )
    return sentences


def _controlled(records: Sequence[CellRecord]) -> list[tuple[Cell, Cell]]:
    """Cells as stated, each with the same under a control."""
    cells = cells_of(records)
    pairs = ((dataclasses.replace(cell, control=None), cell) for cell in cells if cell.control)
    return [pair for pair in pairs if pair[0] in cells]


def _title(cell: Cell) -> str:
    return CONTROLS[cell.control] if cell.control else "as stated"
