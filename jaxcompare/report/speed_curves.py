"""The speed study as curves in log-log: under the machine's roofs, over batch sizes."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcompare.analysis.contrast import measured, points_and_reach
from jaxcompare.analysis.dispatch import Way, swept
from jaxcompare.analysis.roofline import common_roofs, flops_per_s, intensity
from jaxcompare.analysis.speed import cells_of, leading
from jaxcompare.analysis.speed_study import SpeedStudy
from jaxcompare.cells import Cell
from jaxcompare.report.figure import COLOURS, add_title, log_scale, log_ticks, panels
from jaxcompare.report.speed_figures import STYLES, style_of
from jaxcompare.report.text import LABELS, engine_label, half_size_text, model_label
from jaxcompare.report.words import say

SPREAD = 1.4
"""From the first of a model's points to the last."""


def roofline(study: SpeedStudy) -> Figure:
    """Figure 7: what each execution makes of the machine, under the roofs of its memory and its arithmetic."""
    frame = leading(study.frame)
    precisions = frame.precision.unique()
    figure, axes_of = panels(len(precisions), width=7.5)
    for axes, precision in zip(axes_of, precisions, strict=True):
        _roof(axes, study.frame, frame[frame.precision == precision])
        axes.set_title(precision)
    add_title(figure, say("title_of_speed", frame, "medians and 95 % intervals"))
    return figure


def _roof(axes: Axes, whole_study: pd.DataFrame, frame: pd.DataFrame) -> None:
    roofs = common_roofs(whole_study, frame.precision.iloc[0])
    reached = [intensity(frame[frame.cell == cell]) for cell in cells_of(frame)]
    ends = np.array([min(*reached, roofs.ridge) / 2, max(*reached, roofs.ridge) * 2])
    line = np.array([ends[0], roofs.ridge, ends[1]])
    axes.plot(line, np.minimum(line * roofs.bytes_per_s, roofs.flops_per_s) / 1e9, color="black", linewidth=1.5)
    copy = f"copy: {roofs.bytes_per_s / 1e9:,.0f} GB/s"
    product = f"matrix product: {roofs.flops_per_s / 1e9:,.0f} GFLOP/s"
    axes.annotate(copy, (ends[0], ends[0] * roofs.bytes_per_s / 1e9), (8, -6), textcoords="offset points", fontsize=8)
    top = (ends[1], roofs.flops_per_s / 1e9)
    axes.annotate(product, top, (-4, 5), textcoords="offset points", ha="right", fontsize=8)
    for model in frame.model.unique():
        cells = [cell for cell in cells_of(frame) if cell.model == model]
        for i, cell in enumerate(cells):
            runs = frame[frame.cell == cell]
            # Side by side, since all of a model's stand at one place.
            x = intensity(runs) * SPREAD ** (i / max(1, len(cells) - 1) - 0.5)
            y, errors = points_and_reach([list(flops_per_s(runs) / 1e9)])
            style = {"marker": style_of(cell)["marker"], "color": COLOURS[model], "linestyle": "none"}
            fill = COLOURS[model] if model == "cnn" else "white"
            label = f"{LABELS[model]}, {engine_label(dataclasses.replace(cell, precision='float32'))}"
            axes.errorbar(x, y, yerr=errors, markersize=7, capsize=2, label=label, markerfacecolor=fill, **style)
    log_scale(axes, "xy")
    axes.set(
        xlabel="FLOP per byte, by formula (log scale; a model's points side by side)",
        ylabel="GFLOP/s, by formula (log scale)",
        xlim=ends,
    )
    axes.set_ylim(top=1.5 * axes.get_ylim()[1])  # room for the roof's name
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))


def batch_sweep(study: SpeedStudy) -> Figure:
    """Figure 9: time of a step against batch size, the fitted law, and where half of it is fixed cost."""
    ways = swept(study.frame)
    of_panel = list(dict.fromkeys((model, precision) for model, _, precision, _ in ways))
    figure, axes_of = panels(len(of_panel))
    for axes, group in zip(axes_of, of_panel, strict=True):
        of_group = {way: cells for way, cells in ways.items() if (way[0], way[2]) == group}
        for way, cells in of_group.items():
            _swept_engine(axes, study, way, cells)
        sizes = sorted({cell.batch_size for cells in of_group.values() for cell in cells})
        log_scale(axes, "y")
        log_ticks(axes, sizes)
        axes.set(title=model_label(*group), xlabel="batch size (log scale)", ylabel="ms a step (log scale)")
        axes.legend(fontsize=8)
    add_title(figure, say("title_of_speed", measured(study.frame), "medians and 95 % intervals"))
    return figure


def _swept_engine(axes: Axes, study: SpeedStudy, way: Way, cells: Sequence[Cell]) -> None:
    sizes, style = [cell.batch_size for cell in cells], STYLES[cells[0].engine]
    frame = study.frame
    times, errors = points_and_reach([list(1e3 * frame[frame.cell == cell].step_time_s) for cell in cells])
    fit, label = study.fits.get(way), engine_label(cells[0])
    if fit:
        label += f", half fixed: {half_size_text(fit)}"
        line = np.geomspace(sizes[0], sizes[-1], 50)
        law = 1e3 * (fit.fixed_s.mean + fit.image_s.mean * line)
        axes.plot(line, law, color=style["color"], linestyle=style["linestyle"], linewidth=1)
        if sizes[0] <= fit.half_size.mean <= sizes[-1]:
            axes.axvline(fit.half_size.mean, color=style["color"], linestyle=style["linestyle"], alpha=0.5)
    points = {"color": style["color"], "marker": style["marker"], "linestyle": "none", "capsize": 3}
    axes.errorbar(sizes, times, yerr=errors, label=label, **points)
