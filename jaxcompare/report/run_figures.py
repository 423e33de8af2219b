"""Training runs as figures: curves by epoch, accuracy by size and by seconds, the models beside each other."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter

from jaxcompare.analysis.comparison import timed_alike
from jaxcompare.analysis.data_efficiency import Efficiency
from jaxcompare.analysis.outcome import Metric, counted
from jaxcompare.analysis.statistics import Estimate, estimate, estimate_fraction
from jaxcompare.report.figure import COLOURS, HATCHES, LINES, add_title, log_ticks, panels, say_instead
from jaxcompare.report.text import LABELS, device_text, epochs_text, seconds_text
from jaxcompare.report.words import say
from jaxcompare.run_frame import per_run

ACCURACY: dict[Metric, str] = {
    "best": "test accuracy of the best epoch,\nchosen on the test images (%)",
    "final": "test accuracy after the last epoch (%)",
}


def training_curves(frame: pd.DataFrame) -> Figure:
    """Figure 1: training loss and test accuracy against epoch, and seconds per epoch. Of several seeds, the mean,
    its 95 % interval at each epoch (band), and each as a faint line."""
    figure, (loss, accuracy, seconds) = panels(3, 4.0, 3.8)
    runs = counted(per_run(frame))
    frame = frame[frame.run.isin(runs.index)].replace([np.inf, -np.inf], np.nan)
    for axes, column, of_seeds, unit, title, label in (
        (loss, "train_loss", estimate, 1, "Training loss", "cross-entropy (nats)"),
        (accuracy, "test_accuracy", estimate_fraction, 100, "Test accuracy", "accuracy (%)"),
    ):
        for model, rows in frame.groupby("model", sort=False):
            # As far as all seeds came.
            curves = rows.pivot(index="epoch", columns="run", values=column).dropna()
            if curves.shape[1] > 1:
                _, *ends = unit * _ends(of_seeds(values.tolist()) for _, values in curves.iterrows())
                axes.fill_between(curves.index, *ends, color=COLOURS[model], alpha=0.2, linewidth=0)
                axes.plot(unit * curves, color=COLOURS[model], alpha=0.35, linewidth=0.8)
            style = LINES[model] | {"color": COLOURS[model], "markersize": 3.5}
            axes.plot(curves.index, unit * curves.mean(axis=1), label=_label(per_run(rows), " "), **style)
        axes.set(title=title, xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    _time_bars(seconds, runs)
    add_title(figure, say("title_of_runs", runs))
    return figure


def data_efficiency(efficiency: Efficiency) -> Figure:
    """Figure 2: test accuracy against the number of training images, and against the seconds of training on them. Mean,
    95 % interval (band, bars) and every seed (faint)."""
    figure, (by_size, by_seconds) = panels(2, 6.0, 4.4)
    _accuracy_by_size(by_size, efficiency)
    _accuracy_by_seconds(by_seconds, efficiency)
    add_title(figure, say("title_of_sweep", efficiency.sweep.first, efficiency.sweep.seeds))
    return figure


def _accuracy_by_size(axes: Axes, efficiency: Efficiency) -> None:
    sweep = efficiency.sweep
    each = sweep.values(efficiency.metric)
    for model in sweep.models:
        means, lows, highs = 100 * _ends(efficiency.estimates[model])
        if len(sweep.seeds) > 1:
            style = {"color": COLOURS[model], "alpha": 0.35, "linewidth": 0.8}
            labels = [f"{LABELS[model]}, each seed", *[""] * (len(sweep.seeds) - 1)]
            axes.plot(sweep.sizes, 100 * each[model].T, label=labels, **style)
            axes.fill_between(sweep.sizes, lows, highs, color=COLOURS[model], alpha=0.2, linewidth=0)
        axes.plot(sweep.sizes, means, color=COLOURS[model], label=LABELS[model], **LINES[model])
    crossover = efficiency.crossover
    if crossover and crossover.size and crossover.interval:
        axes.axvspan(crossover.interval.low, crossover.interval.high, color="black", alpha=0.07, linewidth=0)
        label = f"crossover ≈ {crossover.size:,.0f}"
        axes.axvline(crossover.size, color="black", linestyle=":", linewidth=1, label=label)
    log_ticks(axes, sweep.sizes)
    label = ACCURACY[efficiency.metric]
    axes.set(title="Accuracy by training images", xlabel="training images (log scale)", ylabel=label)
    axes.grid(alpha=0.3)
    axes.legend()


def _accuracy_by_seconds(axes: Axes, efficiency: Efficiency) -> None:
    sweep = efficiency.sweep
    if sweep.seconds.empty:
        say_instead(axes, "Accuracy by training time", NO_TIMES)
        return
    timed = timed_alike(sweep.runs).iloc[0]
    for model, seconds in sweep.seconds.items():
        means, lows, highs = 100 * _ends(efficiency.estimates[model][seconds.index])
        reach = [means - lows, highs - means] if len(sweep.seeds) > 1 else None
        style = LINES[model] | {"color": COLOURS[model], "label": LABELS[model], "capsize": 3}
        axes.errorbar(seconds, means, yerr=reach, **style)
        for size, x, y in zip(seconds.index, seconds, means, strict=True):
            axes.annotate(f"{size:,}", (x, y), (5, -10), textcoords="offset points", fontsize=7)
    of_one = f" per seed ({timed.shared_by} in one program)" if timed.shared_by > 1 else ""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    label = f"seconds in epochs{of_one}, compilation excluded (log scale)"
    timed_sizes = (
        f" ({len(sweep.seconds)} of {len(sweep.sizes)} sizes)" if len(sweep.seconds) < len(sweep.sizes) else ""
    )
    title = f"Accuracy by training time\n{device_text(timed.environment)}{timed_sizes}"
    axes.set(title=title, xlabel=label, ylabel=ACCURACY[efficiency.metric])
    axes.margins(x=0.15)
    axes.grid(alpha=0.3, which="both")
    axes.legend(title="labels: training images", loc="lower right")


def _ends(estimates: Iterable[Estimate]) -> np.ndarray:
    """Means, and ends of the intervals; without an interval, the mean for both."""
    ends = [
        (one.mean, *((one.interval.low, one.interval.high) if one.interval else [one.mean] * 2)) for one in estimates
    ]
    return np.array(ends).reshape(-1, 3).T


def complete_comparison(frame: pd.DataFrame, efficiency: Efficiency | None = None) -> Figure:
    """Figure 3, two by two: parameters, best accuracy, time per epoch, and data efficiency where it was measured."""
    figure, (params, accuracy, seconds, by_size) = panels(2, 4.75, 3.8, rows=2)
    runs = counted(per_run(frame))
    _bars(params, runs, "Parameters", "millions", runs.params / 1e6, "{:.3f}".format)
    title = "Best test accuracy\n(epoch chosen on the test images)"
    _bars(accuracy, runs, title, "accuracy (%)", runs.best, "{:.1f}".format, estimate_fraction, 100)
    _time_bars(seconds, runs)
    if efficiency:
        _accuracy_by_size(by_size, efficiency)
        epochs, count = epochs_text(efficiency.sweep.first.config), len(efficiency.sweep.seeds)
        repeats = f"{count} seeds, 95 % interval" if count > 1 else "one seed"
        by_size.set_title(f"Data efficiency\n({epochs}, {repeats})")
    else:
        say_instead(by_size, "Data efficiency", "not measured with these runs:\nsee data_efficiency.py")
    add_title(figure, "Complete comparison: " + say("title_of_runs", runs))
    return figure


def _label(runs: pd.DataFrame, separator: str) -> str:
    """The model's name, and how far its runs came if they did not come to their end."""
    first, done = runs.iloc[0], runs.done.min()
    unfinished = f"{separator}({done} of {first.epochs} epochs)"
    return LABELS[first.model] + ("" if done == first.epochs else unfinished)


def _bars(
    axes: Axes,
    runs: pd.DataFrame,
    title: str,
    label: str,
    values: pd.Series,
    number: Callable[[float], str],
    of_seeds: Callable[[Sequence[float]], Estimate] = estimate,
    unit: float = 1,
) -> None:
    """A bar a model: the mean over its seeds with its 95 % interval, and a dot for each where they differ."""
    for place, (model, rows) in enumerate(runs.groupby("model", sort=False)):
        of_model = values[rows.index].dropna()
        if of_model.empty:
            axes.annotate("-", (place, 0), (0, 5), textcoords="offset points", ha="center")
            continue
        several = of_model.nunique() > 1
        mean, low, high = unit * _ends([of_seeds(of_model.tolist())]).ravel()
        axes.bar(place, mean, color=COLOURS[model], hatch=HATCHES[model], edgecolor="white", width=0.55)
        if several:
            axes.errorbar(place - 0.14, mean, [[mean - low], [high - mean]], color="black", capsize=5, linewidth=1)
            places = place + np.linspace(-0.02, 0.2, len(of_model))
            axes.plot(places, unit * of_model, "o", color="black", markersize=3)
        text = ("mean " if several else "") + number(mean)
        axes.annotate(text, (place, max(high, unit * of_model.max())), (0, 5), textcoords="offset points", ha="center")
    labels = [_label(rows, "\n") for _, rows in runs.groupby("model", sort=False)]
    axes.set_xticks(range(len(labels)), labels)
    axes.set(title=title, ylabel=label)
    axes.margins(x=0.25, y=0.12)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


NO_TIMES = "not shown: the runs were executed\ndifferently, or beside other work"


def _time_bars(axes: Axes, runs: pd.DataFrame) -> None:
    timed = timed_alike(runs)
    if timed.model.nunique() < runs.model.nunique():
        say_instead(axes, "Time per epoch", NO_TIMES)
        return
    seeds = timed.shared_by.iloc[0]
    label = f"seconds per seed ({seeds} in one program)" if seeds > 1 else "seconds"
    some = (
        f", {timed.seed.nunique()} of {runs.seed.nunique()} seeds" if timed.seed.nunique() < runs.seed.nunique() else ""
    )
    title = f"Time per epoch (median)\n{device_text(timed.environment.iloc[0])}{some}"
    _bars(axes, timed, title, label, timed.epoch_time_s, seconds_text)
