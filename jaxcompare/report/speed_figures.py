"""Speed cells as figures: one colour, marker and dash an engine, so that grey print keeps them apart too."""

import dataclasses
import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import LogLocator

from jaxcompare.analysis.contrast import Contrast, measured
from jaxcompare.analysis.speed import cells_of, in_matrix, leading
from jaxcompare.analysis.speed_study import SpeedStudy
from jaxcompare.cells import Cell
from jaxcompare.report.figure import add_title, log_scale, panels
from jaxcompare.report.text import (
    LABELS,
    engine_label,
    factor_text,
    model_label,
    model_of,
    number,
    ratio_text,
    share_text,
)
from jaxcompare.report.words import say

STYLES: dict[str, dict[str, Any]] = {
    "eager": {"color": "#000000", "marker": "o", "linestyle": "-"},
    "compile": {"color": "#e69f00", "marker": "s", "linestyle": (0, (8, 2))},
    "op": {"color": "#808080", "marker": "v", "linestyle": (0, (1, 3))},
    "traced": {"color": "#808080", "marker": "<", "linestyle": (0, (1, 1))},
    "jit": {"color": "#56b4e9", "marker": "d", "linestyle": (0, (6, 2, 1, 2, 1, 2))},
    "step": {"color": "#0072b2", "marker": "^", "linestyle": "--"},
    "chunk": {"color": "#009e73", "marker": "P", "linestyle": "-."},
    "epoch": {"color": "#d55e00", "marker": "X", "linestyle": ":"},
}
"""Colours that the colour-blind tell apart (Okabe and Ito)."""

CHANGED_MARKERS = {"eager": "*", "compile": "p"}


def style_of(cell: Cell) -> dict[str, Any]:
    """A cell's; where something is changed of it, its engine's with another marker and dash."""
    changed = {"marker": CHANGED_MARKERS.get(cell.engine, "h"), "linestyle": (0, (5, 1))}
    return STYLES[cell.engine] | (changed if cell.changes else {})


FASTER_SLOWER = colormaps["RdBu_r"]

STAGE_STYLES = {1: ("#0072b2", "", "faster"), -1: ("#d55e00", "////", "slower"), 0: ("#bbbbbb", "....", "undecided")}
"""By a factor's direction: colour, hatch, name."""


def break_even_curves(study: SpeedStudy) -> Figure:
    """Figure 4: cumulative seconds against optimiser steps of one run, what is paid once included, by execution.

    Medians over repeats; where a line crosses the lower of PyTorch eager's, compilation has paid for itself.
    """
    frame = leading(study.frame)
    cells = [cell for cell in cells_of(frame) if cell.compiled or cell.engine == "eager"]
    of_panel = list(dict.fromkeys(cell.group for cell in cells))
    figure, axes_of = panels(len(of_panel), height=6.4)  # room for legends
    for axes, group in zip(axes_of, of_panel, strict=True):
        _cumulative_seconds(axes, study, [cell for cell in cells if cell.group == group])
        axes.set_title(model_label(*group))
    add_title(figure, say("title_of_speed", frame, "cold cache, medians"))
    return figure


def _cumulative_seconds(axes: Axes, study: SpeedStudy, cells: Sequence[Cell]) -> None:
    """One model's lines, until half as far again as the last crossing; the legend says where each crosses."""
    paid = {one.cell: one for one in study.break_evens if one.cell in cells}
    crossings = [one.steps[0] for one in paid.values() if 0 < one.steps[0] < math.inf]
    steps = np.geomspace(1, 1.5 * max(crossings, default=200.0), 100)
    for row in _rows(study, cells):
        once, step, style = row.one_time_s.middle, row.step_time_s.middle, style_of(row.cell)
        label = engine_label(row.cell)
        if one := paid.get(row.cell):
            crossing = one.steps[0]
            label += f": {number(',.0f')(one.reach(one.steps))}"
            if crossing in crossings:
                dot = {"color": style["color"], "marker": style["marker"], "edgecolor": "black", "linewidth": 0.6}
                axes.scatter(crossing, once + crossing * step, s=36, zorder=3, **dot)
        axes.plot(steps, once + steps * step, label=label, **style | {"marker": None, "linewidth": 2})
    log_scale(axes, "xy")
    axes.xaxis.set_major_locator(LogLocator())
    axes.set(
        xlabel="optimiser steps (log scale)",
        ylabel="cumulative seconds, with compilation (log scale)",
        xlim=(steps[0], steps[-1]),
    )
    axes.legend(
        fontsize=8,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        handlelength=4,
        title="Break-even, steps",
        title_fontsize=8,
    )


def speed_matrix(study: SpeedStudy) -> Figure:
    """Figure 5: every execution's time over the best of PyTorch's, by model; without PyTorch, the times themselves."""
    rows = {one.cell: one for one in study.cells[study.cells.matrix].itertuples()}
    models = [model for model in LABELS if any(cell.model == model for cell in rows)]
    ways = list(dict.fromkeys(dataclasses.replace(cell, model=models[0]) for cell in rows))
    ratios = study.ratios["over_best"]
    limit = max([1.0, *(abs(math.log2(ratios[cell].value)) for cell in rows if cell in ratios)])
    figure, (axes,) = panels(1, (4.5 + 2.2 * len(models)) / 1.3, max(3.4, 1.6 + 0.45 * len(ways)))
    for x, model in enumerate(models):
        for y, way in enumerate(ways):
            _matrix_cell(axes, (x, y), rows.get(dataclasses.replace(way, model=model)), limit)
    axes.set(xlim=(-0.5, len(models) - 0.5), ylim=(len(ways) - 0.5, -0.5))
    axes.set_xticks(range(len(models)), [LABELS[model] for model in models])
    axes.set_yticks(range(len(ways)), [textwrap.fill(way.execution, 40) for way in ways])
    axes.tick_params(length=0)
    if ratios:
        _ratio_bar(figure, axes, limit)
    add_title(figure, say("title_of_speed", measured(in_matrix(study.frame)), "medians and 95 % intervals"))
    return figure


def _matrix_cell(axes: Axes, place: tuple[int, int], row: Any, limit: float) -> None:
    """A square with its number: blue is faster than the best of PyTorch, red slower, hatched could not be measured.
    None: the cell was not asked for."""
    face: Any = "white"
    hatch, ink, text = "", "black", ""
    if row and not row.measured:
        hatch, text = "////", "n/a"
    elif row and row.over_best:
        level = math.log2(row.over_best.value)
        face = FASTER_SLOWER((level / limit + 1) / 2)
        ink = "white" if abs(level) > 0.6 * limit else "black"
        text = ratio_text(row.over_best)
    elif row:
        text = f"{number(',.0f', 1e6)(row.image_time_s)} µs"
    corner = (place[0] - 0.5, place[1] - 0.5)
    axes.add_patch(Rectangle(corner, 1, 1, facecolor=face, hatch=hatch, edgecolor="#aaaaaa", linewidth=0.8))
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5} if hatch else None
    axes.text(*place, text, ha="center", va="center", fontsize=9, color=ink, bbox=box)


def _ratio_bar(figure: Figure, axes: Axes, limit: float) -> None:
    colour = ScalarMappable(Normalize(-limit, limit), FASTER_SLOWER)
    bar = figure.colorbar(colour, ax=axes, label="time over the best of PyTorch's (log scale)", aspect=30)
    # As shapes: a picture in the SVG would be a thing that the page loads.
    bar.solids.set_rasterized(False)  # type: ignore[union-attr]
    powers = range(-math.floor(limit), math.floor(limit) + 1)
    bar.set_ticks(list(powers), labels=[f"1/{2**-power}" if power < 0 else f"{2**power}" for power in powers])


def _rows(study: SpeedStudy, cells: Sequence[Cell]) -> list[Any]:
    """Of the cells' frame."""
    return list(study.cells[study.cells.cell.isin(cells)].itertuples())


def attribution_waterfall(study: SpeedStudy) -> Figure:
    """Figure 10: the time of an image from the recipe's loop to JAX's program of an epoch, stage by stage."""
    wholes = study.of("whole")
    figure, axes_of = panels(1, 11 / 1.3, 1.4 / len(wholes) + 2.7, rows=len(wholes))
    for axes, whole in zip(axes_of, wholes, strict=True):
        stages = [one for one in study.of("stage") if one.cell.group == whole.cell.group]
        _waterfall(axes, whole, stages, study.times[whole.cell].median())
    styles = STAGE_STYLES.values()
    handles = [Patch(facecolor=face, hatch=hatch, edgecolor="white", label=name) for face, hatch, name in styles]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    add_title(figure, say("title_of_speed", measured(in_matrix(study.frame)), "medians and 95 % intervals"))
    return figure


def _waterfall(axes: Axes, whole: Contrast, stages: Sequence[Contrast], start: float) -> None:
    """A bar a stage, from the time before it to the time after it; its factor and share beside it. Start: seconds an
    image of the recipe's loop."""
    names, numbers, times = [whole.cell.execution], ["stage: times as fast; share of the whole"], [1e6 * start]
    for place, stage in enumerate(stages, 1):
        before, after = times[-1], times[-1] / stage.ratio.value
        face, hatch, _ = STAGE_STYLES[stage.ratio.direction]
        axes.barh(place, after - before, 0.6, before, color=face, hatch=hatch, edgecolor="white")
        if stage.ratio.interval:
            ends = (before / stage.ratio.interval.high, before / stage.ratio.interval.low)
            axes.plot(ends, (place, place), color="black", linewidth=1, marker="|")
        names.append(stage.other.execution)
        share = f"; {share_text(stage.share)}" if stage.share else ""
        numbers.append(f"{stage.pair.name}: {factor_text(stage.ratio)}{share}")
        times.append(after)
    for place, time in enumerate(times):
        axes.plot((time, time), (place - 0.3, min(place + 1.3, len(times) - 0.7)), color="black", linewidth=0.8)
    for place in (0, len(times) - 1):
        axes.plot(times[place], place, color="black", marker="D")
    axes.set_yticks(range(len(times)), names)
    log_scale(axes, "x")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.set(xlabel="µs an image (log scale)", ylim=(len(times) - 0.5, -0.5))
    axes.set_title(
        f"{model_of(whole.cell)}: {factor_text(whole.ratio)} times as fast in all",
        fontsize=10,
    )
    axes.set_axisbelow(True)
    axes.use_sticky_edges = False
    axes.margins(x=0.08)
    beside = axes.twinx()
    beside.set_ylim(axes.get_ylim())
    beside.set_yticks(range(len(times)), numbers, fontsize=8)
    beside.tick_params(length=0)
