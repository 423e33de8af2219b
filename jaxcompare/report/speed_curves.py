"""Speed cells as curves in log-log: under the machine's roofs, from rung to rung of the input, over batch sizes."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcompare.analysis.comparison import LABELS
from jaxcompare.analysis.dispatch import fixed_cost, swept
from jaxcompare.analysis.roofline import common_roofs, flops_per_s, intensity
from jaxcompare.analysis.speed import by_repeat, cells_of, comparable, image_times, in_matrix, measured
from jaxcompare.cells import INPUTS, Cell, CellRecord
from jaxcompare.report.figures import COLOURS
from jaxcompare.report.speed_details import ladders
from jaxcompare.report.speed_figures import STYLES, add_caption, log_scale, panels, style_of, with_errors
from jaxcompare.report.speed_text import engine_label, half_size_text, model_label


def roofline(records: Sequence[CellRecord]) -> Figure:
    """Figure 7: what each execution makes of the machine, under the roofs of its memory and its arithmetic."""
    all_records, records = records, comparable(records)
    precisions = list(dict.fromkeys(record.cell.precision for record in records))
    figure, axes_of = panels(len(precisions), width=7.5)
    for axes, precision in zip(axes_of, precisions, strict=True):
        _roof(axes, all_records, [record for record in records if record.cell.precision == precision])
        axes.set_title(precision)
    add_caption(figure, records, "medians and 95 % intervals")
    return figure


def _roof(axes: Axes, all_records: Sequence[CellRecord], records: Sequence[CellRecord]) -> None:
    roofs = common_roofs(all_records, records[0].cell.precision)
    reached = [intensity(record) for record in records]
    ends = np.array([min(*reached, roofs.ridge) / 4, max(*reached, roofs.ridge) * 4])
    line = np.array([ends[0], roofs.ridge, ends[1]])
    axes.plot(line, np.minimum(line * roofs.bytes_per_s, roofs.flops_per_s) / 1e9, color="black", linewidth=1.5)
    copy = f"copy: {roofs.bytes_per_s / 1e9:,.0f} GB/s"
    product = f"matrix product: {roofs.flops_per_s / 1e9:,.0f} GFLOP/s"
    axes.annotate(copy, (ends[0], ends[0] * roofs.bytes_per_s / 1e9), (8, -6), textcoords="offset points", fontsize=8)
    top = (ends[1], roofs.flops_per_s / 1e9)
    axes.annotate(product, top, (-4, 5), textcoords="offset points", ha="right", fontsize=8)
    for model in dict.fromkeys(record.cell.model for record in records):
        cells = [cell for cell in cells_of(records) if cell.model == model]
        for i, cell in enumerate(cells):
            runs = by_repeat(records, cell)
            # Side by side, since all of a model's stand at one place.
            x = intensity(runs[0]) * 1.09 ** (i - (len(cells) - 1) / 2)
            y, errors = with_errors([[flops_per_s(run) / 1e9 for run in runs]])
            style = {"marker": style_of(cell)["marker"], "color": COLOURS[model], "linestyle": "none"}
            fill = COLOURS[model] if model == "cnn" else "white"
            label = f"{LABELS[model]}, {engine_label(dataclasses.replace(cell, precision='float32'))}"
            axes.errorbar(x, y, yerr=errors, markersize=7, capsize=2, label=label, markerfacecolor=fill, **style)
    log_scale(axes, "xy")
    axes.set(
        xlabel="FLOP a byte, by formula (log scale; a model's points side by side)",
        ylabel="GFLOP/s, by formula (log scale)",
        xlim=ends,
    )
    axes.set_ylim(top=1.5 * axes.get_ylim()[1])  # room for the roof's name
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))


def input_ladder(records: Sequence[CellRecord]) -> Figure:
    """Figure 8: time per image from the recipe's input to input on the device, of PyTorch eager and JAX's step."""
    rungs = ladders(records)
    of_panel = list(dict.fromkeys((cell.model, cell.precision) for ladder in rungs for cell in ladder.values()))
    places = [place for place in INPUTS if any(place in ladder for ladder in rungs)]
    figure, axes_of = panels(len(of_panel))
    for axes, (model, precision) in zip(axes_of, of_panel, strict=True):
        for ladder in rungs:
            first = next(iter(ladder.values()))
            if (first.model, first.precision) != (model, precision):
                continue
            times, errors = with_errors([[1e6 * t for t in image_times(records, cell)] for cell in ladder.values()])
            x = [places.index(place) for place in ladder]
            # Nothing joins two places across one that was not measured.
            joined = np.full(len(places), np.nan)
            joined[x] = times
            fill = "white" if first.engine == "step" else None
            style = STYLES[first.engine] | {"label": engine_label(first), "capsize": 3, "markerfacecolor": fill}
            axes.plot(joined, color=style["color"], linestyle=style["linestyle"])
            axes.errorbar(x, times, yerr=errors, **(style | {"linestyle": "none"}))
        axes.set_xticks(range(len(places)), places)
        log_scale(axes, "y")
        axes.set(title=model_label(model, precision), xlabel="input", ylabel="µs per training image (log scale)")
        axes.margins(x=0.12)
        axes.legend()
    add_caption(figure, measured(in_matrix(records)), "medians and 95 % intervals")
    return figure


def batch_sweep(records: Sequence[CellRecord]) -> Figure:
    """Figure 9: time of a step against batch size, the fitted law, and where half of it is fixed cost."""
    ways = swept(records)
    of_panel = list(dict.fromkeys((model, precision) for model, _, precision in ways))
    figure, axes_of = panels(len(of_panel))
    for axes, group in zip(axes_of, of_panel, strict=True):
        of_group = [cells for (model, _, precision), cells in ways.items() if (model, precision) == group]
        for cells in of_group:
            _swept_engine(axes, records, cells)
        sizes = sorted({cell.batch_size for cells in of_group for cell in cells})
        log_scale(axes, "xy")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.set_xticks([], minor=True)
        axes.set(title=model_label(*group), xlabel="batch size (log scale)", ylabel="ms a step (log scale)")
        axes.legend(fontsize=8)
    add_caption(figure, measured(records), "medians and 95 % intervals")
    return figure


def _swept_engine(axes: Axes, records: Sequence[CellRecord], cells: Sequence[Cell]) -> None:
    sizes, style = [cell.batch_size for cell in cells], STYLES[cells[0].engine]
    times, errors = with_errors([[1e3 * run.step_time_s for run in by_repeat(records, cell)] for cell in cells])
    fit, label = fixed_cost(records, cells), engine_label(cells[0])
    if fit:
        label += f", half fixed: {half_size_text(fit)}"
        line = np.geomspace(sizes[0], sizes[-1], 50)
        law = 1e3 * (fit.fixed_s.mean + fit.image_s.mean * line)
        axes.plot(line, law, color=style["color"], linestyle=style["linestyle"], linewidth=1)
        if sizes[0] <= fit.half_size.mean <= sizes[-1]:
            axes.axvline(fit.half_size.mean, color=style["color"], linestyle=style["linestyle"], alpha=0.5)
    points = {"color": style["color"], "marker": style["marker"], "linestyle": "none", "capsize": 3}
    axes.errorbar(sizes, times, yerr=errors, label=label, **points)
