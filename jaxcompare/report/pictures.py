"""Every figure: its name, how it is drawn, and what it needs. Captions are in words.jinja, by name."""

from collections.abc import Callable
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from jaxcompare.analysis.contrast import measured
from jaxcompare.analysis.dispatch import swept
from jaxcompare.analysis.speed import cells_of, comparable
from jaxcompare.report.figure import Picture
from jaxcompare.report.results import Results
from jaxcompare.report.run_figures import complete_comparison, data_efficiency, training_curves
from jaxcompare.report.speed_curves import batch_sweep, input_times, roofline
from jaxcompare.report.speed_figures import attribution_waterfall, break_even_curves, compile_bars, speed_matrix
from jaxcompare.report.words import say


class Design(NamedTuple):
    """A figure that may be drawn."""

    name: str
    draw: Callable[[Any], Figure]
    """Of Results."""
    table: str
    """That has its numbers, by title."""
    has_records: Callable[[Results], object]
    of_speed: bool = False


def _speed(name: str, draw: Callable, table: str, has_records: Callable) -> Design:
    """Of a speed study in which something was measured."""

    def can_draw(results: Results) -> object:
        return results.speed and len(measured(results.speed.frame)) and has_records(results.speed)

    return Design(name, lambda results: draw(results.speed), table, can_draw, of_speed=True)


BESIDE_EAGER = "Speed: every execution beside PyTorch eager"

DESIGNS = (
    Design(
        "figure1_training",
        lambda results: training_curves(results.comparison),
        "The full comparison",
        lambda results: len(results.comparison),
    ),
    Design(
        "figure2_data_efficiency",
        lambda results: data_efficiency(results.sweep.analyses["best"]),
        "Test accuracy in per cent, best epoch, chosen on the test images",
        lambda results: results.sweep,
    ),
    Design(
        "figure3_comparison",
        lambda results: complete_comparison(results.comparison, results.efficiency),
        "The full comparison",
        lambda results: len(results.comparison),
    ),
    _speed(
        "figure4_break_even",
        break_even_curves,
        "What compiling costs, and when it has paid",
        lambda study: study.break_evens,
    ),
    _speed("figure5_matrix", speed_matrix, BESIDE_EAGER, lambda study: True),
    _speed(
        "figure6_compilation",
        compile_bars,
        "What compiling is made of",
        lambda study: any(cell.compiled for cell in cells_of(comparable(study.frame))),
    ),
    _speed("figure7_roofline", roofline, BESIDE_EAGER, lambda study: len(comparable(study.frame))),
    _speed("figure8_input", input_times, "Time by input", lambda study: study.by_input()),
    _speed(
        "figure9_batch",
        batch_sweep,
        "Batch sizes, and the fixed cost of a step",
        lambda study: swept(study.frame),
    ),
    _speed(
        "figure10_attribution",
        attribution_waterfall,
        "Where the speed-up comes from",
        lambda study: study.of("whole"),
    ),
)


def draw_pictures(results: Results) -> list[Picture]:
    """The figures that there are records for."""
    pictures = []
    for design in DESIGNS:
        if design.has_records(results):
            caption = say(f"{design.name}_caption")
            said = say("alternative", caption, design.table)
            pictures.append(Picture(design.name, design.draw(results), caption, said, design.of_speed))
    return pictures
