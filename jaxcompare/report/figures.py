"""Records as figures. CNN blue and solid, ViT red and dashed (or hatched), so that grey print keeps them apart."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxcompare.config import InputError
from jaxcompare.records import RunRecord
from jaxcompare.report.tables import LABELS, by_model, executed_alike, mean

COLOURS = {"cnn": "#4a90d9", "vit": "#e74c3c"}
LINES = {"cnn": {"linestyle": "-", "marker": "o"}, "vit": {"linestyle": "--", "marker": "s"}}
HATCHES = {"cnn": "", "vit": "///"}


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


def complete_comparison(records: Sequence[RunRecord]) -> Figure:
    """Figure 3, as far as it can be drawn yet: parameters, best accuracy, time per epoch."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    params, accuracy, seconds = figure.subplots(1, 3)
    _bars(params, records, "Parameters", "millions", lambda r: r.params / 1e6, "{:.3f}")
    _bars(
        accuracy,
        records,
        "Best test accuracy\n(epoch chosen on the test images)",
        "accuracy (%)",
        lambda r: 100 * r.best_test_accuracy,
        "{:.1f}",
    )
    _time_bars(seconds, records)
    _caption(figure, records, "Complete comparison: ")
    return figure


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write a figure as PNG (150 dpi) and SVG."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Without a date and random ids, the same records make the same bytes.
        with matplotlib.rc_context({"svg.hashsalt": name}):
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
        figure.savefig(folder / f"{name}.png", dpi=150)
    except OSError as error:
        raise InputError(f"{folder}/{name}: cannot be written ({error.strerror}); the records are kept") from error


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
    number: str,
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
        axes.annotate(lead + number.format(mean(of_model)), top, (0, 4), textcoords="offset points", ha="center")
    axes.set(title=title, ylabel=label)
    axes.margins(x=0.25, y=0.12)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def _time_bars(axes: Axes, records: Sequence[RunRecord]) -> None:
    if executed_alike(records):
        seeds = records[0].execution.get("seeds", 1)
        label = f"mean seconds, share of {seeds} seeds" if seeds > 1 else "mean seconds"
        _bars(axes, records, "Time per epoch", label, lambda r: r.epoch_time_s, "{:.1f}")
    else:
        axes.set_title("Time per epoch")
        axes.text(0.5, 0.5, "not shown: the runs\nwere executed differently", ha="center", va="center")
        axes.set_axis_off()


def _caption(figure: Figure, records: Sequence[RunRecord], lead: str = "") -> None:
    first = records[0]
    machine, seeds = first.environment, sorted({r.config.training.seed for r in records})
    device = machine["cpu"] if machine["backend"] == "cpu" else machine["device"]
    runs = f"seed {seeds[0]}, one run a model" if len(seeds) == 1 else f"{len(seeds)} seeds: mean, and each"
    figure.suptitle(
        f"{lead}{first.dataset_title}, {first.train_images:,} training images, {runs}, {device}", fontsize=10
    )
