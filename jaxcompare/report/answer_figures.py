"""What the networks learned, by their answers: to corrupted images, and where they disagree."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcompare.analysis.findings import kappas
from jaxcompare.analysis.representations import Representations
from jaxcompare.report.figure import COLOURS, HATCHES, LINES, add_title, panels
from jaxcompare.report.text import LABELS, number
from jaxcompare.report.words import say_learned


def robustness_figure(study: Representations) -> Figure:
    """Figure 14: accuracy by strength of each corruption, and what the ViT keeps more of its own than the CNN."""
    kinds = study.frames["robustness"].groupby("corruption", sort=False)
    figure, axes_of = panels(3, 4.3, 3.7, rows=2)
    for axes, (kind, rows) in zip(axes_of, kinds, strict=True):
        for model, of in rows.groupby("model", sort=False):
            curves = 100 * of.pivot(index="step", columns="seed", values="accuracy")
            axes.plot(curves, color=COLOURS[model], alpha=0.35, linewidth=0.8)
            axes.plot(curves.mean(axis=1), color=COLOURS[model], label=LABELS[model], **LINES[model])
        steps = rows.drop_duplicates("step").sort_values("step")
        axes.set_xticks(steps.step, ["none" if s != s else f"{s:g}" for s in steps.strength])
        known = study.kept_more.get(str(kind))
        area = number("+.2f")(known) if known else "not above chance"
        title = f"{str(kind).capitalize()}\naccuracy kept, ViT less CNN: {area}"
        axes.set(xlabel=rows.unit.iloc[0], ylabel="accuracy (%)", ylim=(0, 100))
        axes.set_title(title, fontsize=9)
        axes.grid(alpha=0.3)
        axes.legend()
    add_title(figure, say_learned("title", study, ("robustness",), "mean over seeds, and each"))
    return figure


def disagreement_figure(study: Representations) -> Figure:
    """Figure 17: confusions of the CNN less the ViT's, accuracy by class, and error consistency."""
    figure, (confusion, classes, kappa) = panels(3, 4.9, 5.6)
    names = study.study["class_names"]
    _confusions(confusion, study.frames["confusion"], names)
    of = study.frames["classes"]
    labels = sorted(of.label.unique())
    for index, (seed, rows) in enumerate(of.groupby("seed")):
        reach = 100 * np.array([rows.difference - rows.low, rows.high - rows.difference])
        places = np.searchsorted(labels, rows.label) + 0.7 * ((index + 0.5) / len(study.seeds) - 0.5)
        style = {"marker": "os^Dv"[index % 5], "color": f"{0.25 * (index % 3)}", "label": f"seed {seed}"}
        classes.errorbar(100 * rows.difference, places, xerr=reach.clip(0), ls="", capsize=2, markersize=4, **style)
    for place in range(0, len(labels), 2):
        classes.axhspan(place - 0.5, place + 0.5, color="0.93", zorder=0)
    classes.set_ylim(-0.5, len(labels) - 0.5)
    classes.legend(fontsize=8)
    classes.axvline(0, color="black", linestyle=":", linewidth=1)
    classes.set_yticks(range(len(labels)), [names[label] for label in labels], parse_math=False)
    classes.invert_yaxis()
    classes.set(title="Accuracy by class, CNN less ViT", xlabel="points (95 % over images, all classes together)")
    _kappas(kappa, kappas(study))
    for axes in (classes, kappa):
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
    add_title(figure, say_learned("title", study, ("predictions",), "mean over seeds, by class each"))
    return figure


def _confusions(axes: Axes, frame: pd.DataFrame, names: list[str]) -> None:
    mean = frame.groupby(["model", "label", "prediction"]).images.mean()
    totals = mean.groupby(["model", "label"]).transform("sum")
    share = 100 * (mean / totals.where(totals > 0, 1)).unstack("prediction")
    difference = (share.loc["cnn"] - share.loc["vit"]).to_numpy()
    limit = max(1.0, np.abs(difference).max())
    axes.imshow(difference, cmap="PuOr", vmin=-limit, vmax=limit)
    for (row, column), value in np.ndenumerate(difference):
        if abs(value) >= 0.5:
            colour = "white" if abs(value) > 0.6 * limit else "black"
            axes.text(column, row, f"{value:+.0f}", ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set(title="Confusions, CNN less ViT (points)", xlabel="prediction", ylabel="class")


def _kappas(axes: Axes, pairs: dict[str, pd.Series]) -> None:
    styles = {
        "cnn": ("CNN,\ntwo seeds", COLOURS["cnn"], HATCHES["cnn"]),
        "vit": ("ViT,\ntwo seeds", COLOURS["vit"], HATCHES["vit"]),
        "both": ("CNN\nand ViT", "grey", ".."),
    }
    for place, (name, values) in enumerate(pairs.items()):
        _, colour, hatch = styles[name]
        axes.bar(place, values.mean(), color=colour, hatch=hatch, edgecolor="white", width=0.55)
        places = place + 0.5 * ((np.arange(len(values)) + 0.5) / len(values) - 0.5)
        axes.plot(places, values, "o", color="black", markersize=3)
        axes.annotate(f"{values.mean():.2f}", (place, values.max()), (0, 5), textcoords="offset points", ha="center")
    axes.set_xticks(range(len(pairs)), [styles[name][0] for name in pairs])
    axes.margins(x=0.25, y=0.12)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(title="Error consistency (dots: pairs)", ylabel="Cohen's kappa")
