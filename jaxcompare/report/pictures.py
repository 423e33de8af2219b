"""Every figure: its name, how it is drawn, and what it needs. Captions are in words.jinja, by name."""

from collections.abc import Callable
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from jaxcompare.analysis.dispatch import swept
from jaxcompare.analysis.speed import cells_of, comparable
from jaxcompare.report.figure import Picture
from jaxcompare.report.learned import learned_pictures
from jaxcompare.report.results import Results
from jaxcompare.report.run_figures import complete_comparison, data_efficiency, training_curves
from jaxcompare.report.run_tables import METRIC_TITLES
from jaxcompare.report.speed_curves import batch_sweep, roofline
from jaxcompare.report.speed_figures import attribution_waterfall, break_even_curves, speed_matrix
from jaxcompare.report.words import say


class Design(NamedTuple):
    """A figure that may be drawn."""

    name: str
    table: str
    """That has its numbers, by title."""
    draw: Callable[[Any], Figure]
    """Of Results or, `of_speed`, of the speed study in it."""
    has_records: Callable[[Any], object] = lambda _: True
    of_speed: bool = True


SPEED, COMPARISON = "Speed: every execution beside PyTorch eager", "The full comparison"

DESIGNS = (
    Design(
        "figure1_training",
        COMPARISON,
        lambda results: training_curves(results.comparison),
        lambda results: len(results.comparison),
        of_speed=False,
    ),
    Design(
        "figure2_data_efficiency",
        METRIC_TITLES["best"],
        lambda results: data_efficiency(results.efficiency),
        lambda results: results.efficiency,
        of_speed=False,
    ),
    Design(
        "figure3_comparison",
        COMPARISON,
        lambda results: complete_comparison(results.comparison, results.efficiency),
        lambda results: len(results.comparison),
        of_speed=False,
    ),
    Design(
        "figure4_break_even", "What compiling costs, and when it has paid", break_even_curves, lambda s: s.break_evens
    ),
    Design("figure5_matrix", SPEED, speed_matrix),
    Design("figure7_roofline", SPEED, roofline, lambda s: cells_of(comparable(s.frame))),
    Design("figure9_batch", "Batch sizes, and the fixed cost of a step", batch_sweep, lambda s: swept(s.frame)),
    Design("figure10_attribution", "Where the speed-up comes from", attribution_waterfall, lambda s: s.of("whole")),
)


def draw_pictures(results: Results) -> list[Picture]:
    """The figures that there are records for."""
    pictures, timed = [], results.speed if results.speed and len(results.speed.times) else None
    for name, table, draw, has_records, of_speed in DESIGNS:
        source = timed if of_speed else results
        if source and has_records(source):
            caption = say(f"{name}_caption")
            pictures.append(Picture(name, draw(source), caption, say("alternative", caption, table), of_speed))
    return pictures + (learned_pictures(results.learned) if results.learned else [])
