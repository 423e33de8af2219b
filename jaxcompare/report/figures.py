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
from jaxcompare.report.tables import LABELS

COLOURS = {"cnn": "#4a90d9", "vit": "#e74c3c"}
LINES = {"cnn": {"linestyle": "-", "marker": "o"}, "vit": {"linestyle": "--", "marker": "s"}}
HATCHES = {"cnn": "", "vit": "///"}


def training_curves(records: Sequence[RunRecord]) -> Figure:
    """Figure 1: training loss and test accuracy against epoch, and mean seconds per epoch."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    loss, accuracy, seconds = figure.subplots(1, 3)
    for record in records:
        name, history = record.config.model, record.history
        epochs = np.arange(1, len(history.train_loss) + 1)
        style = {"color": COLOURS[name], "label": _label(record, " "), "markersize": 3.5, **LINES[name]}
        loss.plot(epochs, history.train_loss, **style)
        accuracy.plot(epochs, 100 * np.array(history.test_accuracy), **style)
    for axes, title, label in (
        (loss, "Training loss", "cross-entropy (nats)"),
        (accuracy, "Test accuracy", "accuracy (%)"),
    ):
        axes.set(title=title, xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    _bars(seconds, records, "Time per epoch", "mean seconds", lambda r: r.epoch_time_s, "{:.1f}")
    _caption(figure, records)
    return figure


def complete_comparison(records: Sequence[RunRecord]) -> Figure:
    """Figure 3, as far as it can be drawn from one run a model: parameters, best accuracy, time per epoch."""
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
    _bars(seconds, records, "Time per epoch", "mean seconds", lambda r: r.epoch_time_s, "{:.1f}")
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


def _label(record: RunRecord, separator: str) -> str:
    """The model's name, and how far its run came if it did not come to its end."""
    name, done, planned = LABELS[record.config.model], len(record.history.train_loss), record.config.training.epochs
    return name if done == planned else f"{name}{separator}({done} of {planned} epochs)"


def _bars(
    axes: Axes,
    records: Sequence[RunRecord],
    title: str,
    label: str,
    value: Callable[[RunRecord], float],
    number: str,
) -> None:
    names = [record.config.model for record in records]
    bars = axes.bar(
        [_label(record, "\n") for record in records],
        [value(record) for record in records],
        color=[COLOURS[name] for name in names],
        hatch=[HATCHES[name] for name in names],
        edgecolor="white",
        width=0.55,
    )
    axes.bar_label(bars, fmt=number, padding=2)
    axes.set(title=title, ylabel=label)
    axes.margins(x=0.25, y=0.12)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def _caption(figure: Figure, records: Sequence[RunRecord], lead: str = "") -> None:
    first = records[0]
    machine = first.environment
    device = machine["cpu"] if machine["backend"] == "cpu" else machine["device"]
    figure.suptitle(
        f"{lead}{first.dataset_title}, {first.train_images:,} training images, seed {first.config.training.seed}, "
        f"one run a model, {device}",
        fontsize=10,
    )
