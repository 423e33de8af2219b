"""Speed cells as figures: one colour, marker and dash an engine, so that grey print keeps them apart too."""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from jaxcompare.analysis.attribution import Attribution, attributions
from jaxcompare.analysis.comparison import LABELS
from jaxcompare.analysis.speed import (
    Ratio,
    best,
    best_eager,
    break_even_steps,
    by_repeat,
    cells_of,
    cold_compile_s,
    comparable,
    costs_of,
    execution,
    groups,
    image_times,
    in_matrix,
    measured,
    median_cost,
    ratio_of_medians,
    time_ratio,
)
from jaxcompare.cells import Cell, CellRecord
from jaxcompare.config import ModelName
from jaxcompare.report.speed_details import COMPILE_PHASES, phase_s
from jaxcompare.report.speed_text import engine_label, factor_text, known, model_label, ratio_text, share_text

STYLES: dict[str, dict[str, Any]] = {
    "eager": {"color": "#000000", "marker": "o", "linestyle": "-"},
    "compile": {"color": "#e69f00", "marker": "s", "linestyle": (0, (8, 2))},
    "cudagraphs": {"color": "#cc79a7", "marker": "D", "linestyle": (0, (5, 1, 1, 1, 1, 1))},
    "op": {"color": "#808080", "marker": "v", "linestyle": (0, (1, 3))},
    "traced": {"color": "#808080", "marker": "<", "linestyle": (0, (1, 1))},
    "jit": {"color": "#56b4e9", "marker": "d", "linestyle": (0, (5, 1))},
    "step": {"color": "#0072b2", "marker": "^", "linestyle": "--"},
    "chunk": {"color": "#009e73", "marker": "P", "linestyle": "-."},
    "epoch": {"color": "#d55e00", "marker": "X", "linestyle": ":"},
}
"""Colours that the colour-blind tell apart (Okabe and Ito)."""

MARKERS_UNDER_CONTROL = {"eager": "*", "compile": "p", "cudagraphs": "8"}


def style_of(cell: Cell) -> dict[str, Any]:
    """A cell's; under a control, its engine's with another marker and dash."""
    changed = {"marker": MARKERS_UNDER_CONTROL.get(cell.engine, "h"), "linestyle": (0, (3, 1, 1, 1))}
    return STYLES[cell.engine] | (changed if cell.control else {})


FASTER_SLOWER = colormaps["RdBu_r"]

PIECES = {
    "Trace": ("#56b4e9", ""),
    "Lower": ("#009e73", "////"),
    "Compile": ("#0072b2", ""),
    "First step, which compiles": ("#f0e442", "...."),
    "First run": ("#999999", "xxxx"),
}
"""Of a bar of the compile ledger: colour, hatch."""

STAGE_STYLES = {1: ("#0072b2", "", "faster"), -1: ("#d55e00", "////", "slower"), 0: ("#bbbbbb", "....", "undecided")}
"""By a factor's direction: colour, hatch, name."""


def break_even_curves(records: Sequence[CellRecord]) -> Figure:
    """Figure 4: cumulative seconds against optimiser steps of one run, what is paid once included, by execution.

    Medians over repeats; where a line crosses the lower of PyTorch eager's, compilation has paid for itself.
    """
    records = [record for record in comparable(records) if record.cell.compiled or record.cell.engine == "eager"]
    figure, axes_of = panels(len(groups(records)))
    for axes, (model, precision) in zip(axes_of, groups(records), strict=True):
        _cumulative_seconds(axes, [r for r in records if (r.cell.model, r.cell.precision) == (model, precision)])
        axes.set_title(model_label(model, precision))
    add_caption(figure, records, "cold cache, medians")
    return figure


def _cumulative_seconds(axes: Axes, records: Sequence[CellRecord]) -> None:
    """One model's lines, until half as far again as the last crossing."""
    costs = {cell: median_cost(costs_of(records, cell)) for cell in cells_of(records)}
    eager = best_eager(records, records[0].cell)
    meet = {cell: break_even_steps(cost, costs[eager]) for cell, cost in costs.items() if eager}
    crossings = {cell: steps for cell, steps in meet.items() if cell.compiled and 0 < steps < math.inf}
    last = 1.5 * max(crossings.values(), default=200.0)
    steps = np.array([0.0, last])
    for cell, (once, step) in costs.items():
        style = style_of(cell) | {"marker": None, "linewidth": 2}
        axes.plot(steps, once + steps * step, label=engine_label(cell), **style)
    axes.set(xlabel="optimiser steps", ylabel="cumulative seconds, compilation included", xlim=(0, last))
    axes.set_ylim(0)
    low, top = 0, axes.get_ylim()[1]
    for place, (cell, crossing) in enumerate(sorted(crossings.items(), key=lambda item: -item[1])):
        point = (crossing, costs[cell].once_s + crossing * costs[cell].step_s)
        style = {name: style_of(cell)[name] for name in ("color", "marker")}
        axes.scatter(*point, s=36, zorder=3, edgecolor="black", linewidth=0.6, **style)
        decided = time_ratio(records, cell, eager).direction if eager else 1
        # From the last crossing to the first each number is lower, so that none covers another; near the axis, to the
        # right.
        near = point[1] < (0.1 + 0.06 * place) * top
        offset = (40 + 90 * low, 2) if near else (14, -20 - 17 * place)
        low += near
        _number(axes, f"{crossing:,.0f}{'' if decided else ', undecided'}", point, offset, style["color"])
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _number(axes: Axes, text: str, point: tuple[float, float], offset: tuple[float, float], colour: str) -> None:
    """Beside a point, `offset` in typographic points, joined to it by a line."""
    axes.annotate(
        text,
        point,
        offset,
        textcoords="offset points",
        fontsize=8,
        arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "relpos": (0, 0.5)},
        bbox={"facecolor": "white", "edgecolor": colour, "linewidth": 0.8, "pad": 1.5},
    )


def speed_matrix(records: Sequence[CellRecord]) -> Figure:
    """Figure 5: every execution's time over the best of PyTorch's, by model; without PyTorch, the times themselves."""
    records = in_matrix(records)
    timed, cells = measured(records), cells_of(records)
    models = [model for model in LABELS if any(cell.model == model for cell in cells)]
    ways = list(dict.fromkeys(dataclasses.replace(cell, model=models[0]) for cell in cells))
    quickest = {cell: best(timed, cell, "torch") for cell in cells_of(timed)}
    ratios = {cell: time_ratio(timed, cell, other) for cell, other in quickest.items() if other}
    limit = max([1.0, *(abs(math.log2(ratio.value)) for ratio in ratios.values())])
    figure = Figure(figsize=(4.5 + 2.2 * len(models), max(3.4, 1.6 + 0.45 * len(ways))), layout=_layout())
    axes = figure.subplots()
    for x, model in enumerate(models):
        for y, way in enumerate(ways):
            cell = dataclasses.replace(way, model=model)
            text = "1" if quickest.get(cell) == cell else ratio_text(ratios[cell]) if cell in ratios else ""
            _matrix_cell(axes, (x, y), by_repeat(records, cell), ratios.get(cell), text, limit)
    axes.set(xlim=(-0.5, len(models) - 0.5), ylim=(len(ways) - 0.5, -0.5))
    axes.set_xticks(range(len(models)), [LABELS[model] for model in models])
    axes.set_yticks(range(len(ways)), [execution(way) for way in ways])
    axes.tick_params(length=0)
    if ratios:
        _ratio_bar(figure, axes, limit)
    add_caption(figure, timed, "medians and 95 % intervals")
    return figure


def _matrix_cell(
    axes: Axes, place: tuple[int, int], of_cell: Sequence[CellRecord], ratio: Ratio | None, text: str, limit: float
) -> None:
    """A square with its number: blue is faster than the best of PyTorch, red slower, hatched could not be measured."""
    face: Any = "white"
    hatch, ink = "", "black"
    if any(record.message for record in of_cell):
        hatch, text = "////", "n/a"
    elif ratio:
        level = math.log2(ratio.value)
        face = FASTER_SLOWER((level / limit + 1) / 2)
        ink = "white" if abs(level) > 0.6 * limit else "black"
    elif of_cell:
        text = f"{ratio_text(ratio_of_medians([[1e6 * record.image_time_s for record in of_cell]]))} µs"
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


def compile_ledger(records: Sequence[CellRecord]) -> Figure:
    """Figure 6: what each compiled way pays before its steps are steady, cold, and beside it from a cache. Medians."""
    records = [record for record in comparable(records) if record.cell.compiled]
    rows = max(sum(cell.model == model for cell in cells_of(records)) for model, _ in groups(records))
    models: list[ModelName] = list(dict.fromkeys(record.cell.model for record in records))
    figure, axes_of = panels(len(models), height=1.8 + 0.75 * rows)
    for axes, model in zip(axes_of, models, strict=True):
        cells = [cell for cell in cells_of(records) if cell.model == model]
        for place, cell in enumerate(cells):
            runs = by_repeat(records, cell)
            _stack(axes, place - 0.19, _pieces(runs, warm=False))
            _stack(axes, place + 0.19, _pieces(runs, warm=True))
        axes.set_yticks(range(len(cells)), [f"{engine_label(cell)}\ncold / warm" for cell in cells])
        axes.set(title=LABELS[model], xlabel="seconds, upper bar cold, lower bar warm", ylim=(len(cells) - 0.5, -0.5))
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
        axes.margins(x=0.12)
    handles = [Patch(facecolor=c, hatch=h, edgecolor="white", label=name) for name, (c, h) in PIECES.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8)
    add_caption(figure, records, "medians")
    return figure


def _pieces(runs: Sequence[CellRecord], *, warm: bool) -> dict[str, float]:
    """Median seconds of what a bar is made of."""
    if runs[0].cell.framework == "torch":
        first = [run.warm_compile_time_s if warm else cold_compile_s(run) for run in runs]
        return {"First step, which compiles": statistics.median(known(first))} if known(first) else {}
    programs = [run.warm_compile_times if warm else run.compile_times for run in runs]
    phases = {title: known(phase_s(of_run, name) for of_run in programs) for name, title in COMPILE_PHASES.items()}
    found = {title: statistics.median(values) for title, values in phases.items() if values}
    return found if warm else found | {"First run": statistics.median(run.first_run_s for run in runs)}


def _stack(axes: Axes, place: float, pieces: dict[str, float]) -> None:
    left = 0.0
    for name, seconds in pieces.items():
        face, hatch = PIECES[name]
        axes.barh(place, seconds, 0.34, left, color=face, hatch=hatch, edgecolor="white", linewidth=0.5)
        left += seconds
    text = f"{left:.1f} s" if pieces else "not measured"
    axes.annotate(text, (left, place), (3, 0), textcoords="offset points", va="center", fontsize=8)


def attribution_waterfall(records: Sequence[CellRecord]) -> Figure:
    """Figure 10: the time of an image from the recipe's loop to JAX's program of an epoch, stage by stage."""
    found = attributions(records)
    figure = Figure(figsize=(11, 1.4 + 2.7 * len(found)), layout=_layout())
    for axes, one in zip(np.ravel(figure.subplots(len(found), 1)), found, strict=True):
        _waterfall(axes, one, ratio_of_medians([image_times(records, one.stages[0].before)]).value)
    styles = STAGE_STYLES.values()
    handles = [Patch(facecolor=face, hatch=hatch, edgecolor="white", label=name) for face, hatch, name in styles]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    add_caption(figure, measured(in_matrix(records)), "medians and 95 % intervals")
    return figure


def _waterfall(axes: Axes, one: Attribution, start: float) -> None:
    """A bar a stage, from the time before it to the time after it; its factor and share beside it. Start: seconds an
    image of the recipe's loop."""
    names, numbers, times = [execution(one.stages[0].before)], ["recipe's loop"], [1e6 * start]
    for place, stage in enumerate(one.stages, 1):
        before, after = times[-1], times[-1] / stage.factor.value
        face, hatch, _ = STAGE_STYLES[stage.factor.direction]
        axes.barh(place, after - before, 0.6, before, color=face, hatch=hatch, edgecolor="white")
        if stage.factor.interval:
            ends = (before / stage.factor.interval.high, before / stage.factor.interval.low)
            axes.plot(ends, (place, place), color="black", linewidth=1, marker="|")
        names.append(execution(stage.after))
        share = f"; {share_text(stage.share)} of the whole" if stage.share else ""
        numbers.append(f"{stage.name}: {factor_text(stage.factor)} times as fast{share}")
        times.append(after)
    for place, time in enumerate(times):
        axes.plot((time, time), (place - 0.3, min(place + 1.3, len(times) - 0.7)), color="black", linewidth=0.8)
    for place in (0, len(times) - 1):
        axes.plot(times[place], place, color="black", marker="D")
    axes.set_yticks(range(len(times)), names)
    log_scale(axes, "x")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axes.set(xlabel="µs an image (log scale)", ylim=(len(times) - 0.5, -0.5))
    axes.set_title(
        f"{model_label(one.model, one.precision)}: {factor_text(one.total)} times as fast in all", fontsize=10
    )
    axes.set_axisbelow(True)
    axes.use_sticky_edges = False
    axes.margins(x=0.08)
    beside = axes.twinx()
    beside.set_ylim(axes.get_ylim())
    beside.set_yticks(range(len(times)), numbers, fontsize=8)
    beside.tick_params(length=0)


def panels(count: int, width: float = 6.0, height: float = 4.4) -> tuple[Figure, Sequence[Axes]]:
    """A figure of panels side by side."""
    figure = Figure(figsize=(width * max(count, 1.3), height), layout=_layout())
    return figure, list(np.ravel(figure.subplots(1, count)))


def _layout() -> ConstrainedLayoutEngine:
    # Laid out for the SVG; in the PNG letters are a little wider, and long labels would be cut off.
    return ConstrainedLayoutEngine(w_pad=0.12)


def log_scale(axes: Axes, which: str) -> None:
    """Logarithmic axes with numbers that are read without powers."""
    for name in which:
        axes.set(**{f"{name}scale": "log"})
        axis = axes.xaxis if name == "x" else axes.yaxis
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)


def with_errors(values: Sequence[Sequence[float]]) -> tuple[list[float], np.ndarray | None]:
    """Of positive values over repeats, a list a point: medians, and (2, points) how far their intervals reach down and
    up; None with one repeat."""
    points = [ratio_of_medians([of_point]) for of_point in values]
    middles = [point.value for point in points]
    reach = [
        (point.value - point.interval.low, point.interval.high - point.value) for point in points if point.interval
    ]
    return middles, np.transpose(reach) if reach else None


def add_caption(figure: Figure, records: Sequence[CellRecord], numbers: str) -> None:
    """What the numbers are of: batch size and precision where they are the same throughout, repeats, device."""
    environment, repeats = records[0].environment, len({record.repeat for record in records})
    sizes, precisions = ({getattr(r.cell, name) for r in records} for name in ("batch_size", "precision"))
    parts = [f"Batches of {size}" for size in sizes] if len(sizes) == 1 else []
    parts += list(precisions) if len(precisions) == 1 else []
    parts.append(f"{numbers} of {repeats} processes" if repeats > 1 else "one process, no interval")
    on_cpu = environment["backend"] == "cpu"
    parts.append(f"{environment['cpu']}, {environment['cpu_cores']} cores" if on_cpu else environment["device"])
    figure.suptitle(", ".join(parts), fontsize=10, parse_math=False)
