"""The speed study's figures with their captions."""

from collections.abc import Callable
from typing import NamedTuple

from matplotlib.figure import Figure

from jaxcompare.analysis.contrast import measured
from jaxcompare.analysis.dispatch import swept
from jaxcompare.analysis.speed import cells_of, comparable
from jaxcompare.analysis.speed_study import SpeedStudy
from jaxcompare.report.figures import Picture
from jaxcompare.report.speed_curves import batch_sweep, input_times, roofline
from jaxcompare.report.speed_details import cells_by_input
from jaxcompare.report.speed_figures import attribution_waterfall, break_even_curves, compile_bars, speed_matrix


class Design(NamedTuple):
    """A figure, how it is made, and whether there are records for it."""

    name: str
    draw: Callable[[SpeedStudy], Figure]
    has_records: Callable[[SpeedStudy], bool]
    table: str
    """That has its numbers, by title."""
    caption: str


def draw_speed_pictures(study: SpeedStudy) -> list[Picture]:
    """The figures that there are records for."""
    if measured(study.frame).empty:
        return []
    return [
        Picture(d.name, d.draw(study), d.caption, f"{d.caption} The numbers are in the table “{d.table}”.")
        for d in DESIGNS
        if d.has_records(study)
    ]


DESIGNS = (
    Design(
        "figure4_break_even",
        break_even_curves,
        lambda study: bool(study.break_evens),
        "What compiling costs, and when it has paid",
        "Figure 4. Cumulative time of one run by optimiser steps. Where a line crosses the lowest of PyTorch eager's "
        "(black) compilation has paid for itself: a marker and the step's number.",
    ),
    Design(
        "figure5_matrix",
        speed_matrix,
        lambda study: True,
        "Speed: every execution beside PyTorch eager",
        "Figure 5. Time per image over that of the best of PyTorch (1), by execution and model: below 1 (blue) is "
        "faster. Hatched, n/a: could not be measured, the table says why. Empty: was not asked for.",
    ),
    Design(
        "figure6_compilation",
        compile_bars,
        lambda study: any(cell.compiled for cell in cells_of(comparable(study.frame))),
        "What compiling is made of",
        "Figure 6. What each compiled way pays before its steps are steady: cold, and below it in a second process "
        "(in the first repeat alone) that finds the programs in the first one's cache; the first run is measured cold "
        "only. torch.compile traces and compiles in its first step: the pieces cannot be told apart.",
    ),
    Design(
        "figure7_roofline",
        roofline,
        lambda study: len(comparable(study.frame)) > 0,
        "Speed: every execution beside PyTorch eager",
        "Figure 7. What each execution reaches of the formulas' operations, under the roofs of a large copy and of a "
        "large matrix product, the same for both frameworks. Executions of a model have one arithmetic intensity and "
        "stand side by side to be told apart. Bytes are by the formula for float32, in other precisions too.",
    ),
    Design(
        "figure8_input",
        input_times,
        lambda study: bool(cells_by_input(study.frame)),
        "Time by input",
        "Figure 8. Time per image by where the batches come from, of PyTorch eager in its default layout and of JAX's "
        "compiled step; a line joins neighbours only.",
    ),
    Design(
        "figure9_batch",
        batch_sweep,
        lambda study: bool(swept(study.frame)),
        "Batch sizes, and the fixed cost of a step",
        "Figure 9. Time of a step by batch size, the law fixed + batch · each image (thin lines), and the batch size "
        "at which half of a step is its fixed cost: dispatch, the optimiser's update, all that does not grow with the "
        "batch (upright lines, where it is among the sizes measured). PyTorch is in its default layout.",
    ),
    Design(
        "figure10_attribution",
        attribution_waterfall,
        lambda study: bool(study.of("whole")),
        "Where the speed-up comes from",
        "Figure 10. From the recipe's own loop to JAX's program of an epoch: each stage's bar goes from the time "
        "before it to the time after it, to the left where that is less; thin lines: the 95 % interval of the stage's "
        "factor; diamonds: the two ends. Equal lengths are equal factors within a panel. The bars belong to this path.",
    ),
)
