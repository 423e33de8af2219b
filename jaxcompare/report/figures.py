"""Records as figures. CNN blue and solid, ViT red and dashed (or hatched), so that grey print keeps them apart."""

import dataclasses
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter

from jaxcompare.analysis.comparison import LABELS, METRICS, Metric, by_model, executed_alike, mean, seconds_text
from jaxcompare.analysis.data_efficiency import Efficiency
from jaxcompare.analysis.statistics import Estimate
from jaxcompare.records import RunRecord, write_atomically
from jaxcompare.report.text import device_text

COLOURS = {"cnn": "#4a90d9", "vit": "#e74c3c"}
LINES: dict[str, dict[str, Any]] = {
    "cnn": {"linestyle": "-", "marker": "o"},
    "vit": {"linestyle": "--", "marker": "s", "markerfacecolor": "white"},
}
ACCURACY: dict[Metric, str] = {
    "best": "test accuracy of the best epoch,\nchosen on the test images (%)",
    "final": "test accuracy after the last epoch (%)",
}
HATCHES = {"cnn": "", "vit": "///"}


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure, and what it shows in words for who cannot see it."""

    name: str
    figure: Figure
    caption: str
    alternative: str


def training_curves(records: Sequence[RunRecord]) -> Figure:
    """Figure 1: training loss and test accuracy against epoch, and mean seconds per epoch. Of several seeds, the mean,
    and each as a faint line."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    loss, accuracy, seconds = figure.subplots(1, 3)
    for model, runs in by_model(records).items():
        length = min(len(r.history.train_loss) for r in runs)
        epochs = np.arange(1, length + 1)
        style = {"color": COLOURS[model], "label": _label(runs, " "), "markersize": 3.5, **LINES[model]}
        for axes, series in (
            (loss, [r.history.train_loss[:length] for r in runs]),
            (accuracy, [100 * np.array(r.history.test_accuracy[:length]) for r in runs]),
        ):
            if len(runs) > 1:
                axes.plot(epochs, np.transpose(series), color=COLOURS[model], alpha=0.3, linewidth=0.8)
            axes.plot(epochs, np.mean(series, axis=0), **style)
    for axes, title, label in (
        (loss, "Training loss", "cross-entropy (nats)"),
        (accuracy, "Test accuracy", "accuracy (%)"),
    ):
        axes.set(title=title, xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    _time_bars(seconds, records)
    _caption(figure, records)
    return figure


def data_efficiency(efficiency: Efficiency) -> Figure:
    """Figure 2: test accuracy against the number of training images, and against the seconds of training on them. Mean,
    95 % interval (band, bars) and every seed (faint)."""
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    by_size, by_seconds = figure.subplots(1, 2)
    _accuracy_by_size(by_size, efficiency)
    _accuracy_by_seconds(by_seconds, efficiency)
    sweep, first = efficiency.sweep, efficiency.sweep.first
    training, count = first.config.training, len(sweep.seeds)
    images = first.config.epoch_images
    shown = f" of {images:,} images, whatever the size" if images else ""
    repeats = f"mean, 95 % interval and each of {count} seeds" if count > 1 else f"seed {sweep.seeds[0]}, no interval"
    subsets = f"{first.config.data.subsets} subsets"
    figure.suptitle(
        f"Data efficiency: {first.dataset_title}, {training.epochs} epochs{shown}, {subsets}, {repeats}",
        fontsize=10,
        parse_math=False,
    )
    return figure


def _accuracy_by_size(axes: Axes, efficiency: Efficiency) -> None:
    sweep = efficiency.sweep
    for model in sweep.models:
        means, lows, highs = _per_cent(efficiency.accuracy[model])
        if len(sweep.seeds) > 1:
            each = 100 * sweep.values(model, METRICS[efficiency.metric]).T
            style = {"color": COLOURS[model], "alpha": 0.35, "linewidth": 0.8}
            axes.plot(sweep.sizes, each, label=[f"{LABELS[model]}, each seed", *[""] * (len(sweep.seeds) - 1)], **style)
            axes.fill_between(sweep.sizes, lows, highs, color=COLOURS[model], alpha=0.2, linewidth=0)
        axes.plot(sweep.sizes, means, color=COLOURS[model], label=LABELS[model], **LINES[model])
    crossover = efficiency.crossover
    if crossover and crossover.size and crossover.interval:
        axes.axvspan(crossover.interval.low, crossover.interval.high, color="black", alpha=0.07, linewidth=0)
        axes.axvline(
            crossover.size, color="black", linestyle=":", linewidth=1, label=f"crossover ≈ {crossover.size:,.0f}"
        )
    _log_axis(axes, sweep.sizes, "{:,}")
    axes.set(
        title="Accuracy by training images", xlabel="training images (log scale)", ylabel=ACCURACY[efficiency.metric]
    )
    axes.grid(alpha=0.3)
    axes.legend()


def _accuracy_by_seconds(axes: Axes, efficiency: Efficiency) -> None:
    sweep = efficiency.sweep
    axes.set_title("Accuracy by training time")
    if not executed_alike(list(sweep.runs.values())):
        axes.text(0.5, 0.5, "not shown: the runs\nwere executed differently", ha="center", va="center")
        axes.set_axis_off()
        return
    for model in sweep.models:
        means, lows, highs = _per_cent(efficiency.accuracy[model])
        seconds = [mean(sum(r.history.epoch_time_s) for r in sweep.of(model, size)) for size in sweep.sizes]
        style: dict[str, Any] = {"color": COLOURS[model], "label": LABELS[model], "capsize": 3, **LINES[model]}
        axes.errorbar(seconds, means, yerr=[means - lows, highs - means] if len(sweep.seeds) > 1 else None, **style)
        for size, x, y in zip(sweep.sizes, seconds, means, strict=True):
            axes.annotate(f"{size:,}", (x, y), (5, -10), textcoords="offset points", fontsize=7)
    seeds = sweep.first.execution.get("seeds", 1)
    share = f", share of {seeds} seeds" if seeds > 1 else ""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel=f"seconds in epochs, compilation excluded{share} (log scale)", ylabel=ACCURACY[efficiency.metric])
    axes.margins(x=0.15)
    axes.grid(alpha=0.3, which="both")
    axes.legend(title="labels: training images", loc="lower right")


def _per_cent(estimates: Sequence[Estimate]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, and ends of the intervals; without an interval, the mean for both."""
    means = [e.mean for e in estimates]
    lows, highs = ([getattr(e.interval, end, e.mean) for e in estimates] for end in ("low", "high"))
    return tuple(100 * np.array(values) for values in (means, lows, highs))  # type: ignore[return-value]


def _log_axis(axes: Axes, ticks: Sequence[int], form: str) -> None:
    axes.set_xscale("log")
    axes.set_xticks(ticks, [form.format(tick) for tick in ticks])
    axes.minorticks_off()


def complete_comparison(records: Sequence[RunRecord], efficiency: Efficiency | None = None) -> Figure:
    """Figure 3, two by two: parameters, best accuracy, time per epoch, and data efficiency where it was measured."""
    figure = Figure(figsize=(9.5, 7.6), layout="constrained")
    (params, accuracy), (seconds, by_size) = figure.subplots(2, 2)
    _bars(params, records, "Parameters", "millions", lambda r: r.params / 1e6, "{:.3f}".format)
    title = "Best test accuracy\n(epoch chosen on the test images)"
    _bars(accuracy, records, title, "accuracy (%)", lambda r: 100 * r.best_test_accuracy, "{:.1f}".format)
    _time_bars(seconds, records)
    if efficiency:
        _accuracy_by_size(by_size, efficiency)
        training, count = efficiency.sweep.first.config.training, len(efficiency.sweep.seeds)
        repeats = f"{count} seeds, 95 % interval" if count > 1 else "one seed"
        by_size.set_title(f"Data efficiency\n({training.epochs} epochs, {repeats})")
    else:
        by_size.set_title("Data efficiency")
        by_size.text(0.5, 0.5, "not measured with these runs:\nsee data_efficiency.py", ha="center", va="center")
        by_size.set_axis_off()
    _caption(figure, records, "Complete comparison: ")
    return figure


def figure_svg(figure: Figure, name: str) -> str:
    """A figure as SVG. Without a date and random ids, the same records make the same text."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    # Laid out once: matplotlib would move the axes a little every time it draws, and the formats would differ.
    figure.set_layout_engine("none")
    return text.getvalue()


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write a figure as PNG (150 dpi) and SVG."""
    # The SVG first, as on the page: a layout is not quite the same after another kind of drawing.
    write_atomically(folder / f"{name}.svg", figure_svg(figure, name))
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=150)
    write_atomically(folder / f"{name}.png", png.getvalue())


def _label(runs: Sequence[RunRecord], separator: str) -> str:
    """The model's name, and how far its runs came if they did not come to their end."""
    name, planned = LABELS[runs[0].config.model], runs[0].config.training.epochs
    done = min(len(r.history.train_loss) for r in runs)
    return name if done == planned else f"{name}{separator}({done} of {planned} epochs)"


def _bars(
    axes: Axes,
    records: Sequence[RunRecord],
    title: str,
    label: str,
    value: Callable[[RunRecord], float],
    number: Callable[[float], str],
) -> None:
    """A bar a model: the mean over its seeds, and a dot for each where there are several."""
    models = by_model(records)
    values = [[value(r) for r in runs] for runs in models.values()]
    bars = axes.bar(
        [_label(runs, "\n") for runs in models.values()],
        [mean(of_model) for of_model in values],
        color=[COLOURS[model] for model in models],
        hatch=[HATCHES[model] for model in models],
        edgecolor="white",
        width=0.55,
    )
    for bar, of_model in zip(bars, values, strict=True):
        if len(set(of_model)) > 1:
            places = bar.get_x() + bar.get_width() * np.linspace(0.3, 0.7, len(of_model))
            axes.plot(places, of_model, "o", color="black", markersize=3)
        top = (bar.get_x() + bar.get_width() / 2, max(of_model))
        lead = "mean " if len(set(of_model)) > 1 else ""
        axes.annotate(lead + number(mean(of_model)), top, (0, 4), textcoords="offset points", ha="center")
    axes.set(title=title, ylabel=label)
    axes.margins(x=0.25, y=0.12)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def _time_bars(axes: Axes, records: Sequence[RunRecord]) -> None:
    if executed_alike(records):
        seeds = records[0].execution.get("seeds", 1)
        label = f"mean seconds, share of {seeds} seeds" if seeds > 1 else "mean seconds"
        _bars(axes, records, "Time per epoch", label, lambda r: r.epoch_time_s, seconds_text)
    else:
        axes.set_title("Time per epoch")
        axes.text(0.5, 0.5, "not shown: the runs\nwere executed differently", ha="center", va="center")
        axes.set_axis_off()


def _caption(figure: Figure, records: Sequence[RunRecord], lead: str = "") -> None:
    first = records[0]
    seeds = sorted({r.config.training.seed for r in records})
    runs = f"seed {seeds[0]}, one run a model" if len(seeds) == 1 else f"{len(seeds)} seeds: mean, and each"
    device = device_text(first.environment)
    title = f"{lead}{first.dataset_title}, {first.train_images:,} training images, {runs}, {device}"
    figure.suptitle(title, fontsize=10, parse_math=False)
