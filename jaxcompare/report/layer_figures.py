"""What the networks learned, layer by layer: similarity and linear probes."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcompare.analysis.representations import MEASURES, Representations
from jaxcompare.report.figure import COLOURS, LINES, add_title, panels
from jaxcompare.report.text import LABELS, layer_label
from jaxcompare.report.words import say_learned


def similarity_figure(study: Representations) -> Figure:
    """Figure 11: debiased CKA of every layer with every other; above within networks and across models, below the
    baselines: another seed, and untrained networks."""
    figure, axes_of = panels(3, 4.6, 4.2, rows=2)
    for axes, (title, model, other, how) in zip(
        axes_of,
        (
            ("CNN, within a network", "cnn", "cnn", {"within": True}),
            ("ViT, within a network", "vit", "vit", {"within": True}),
            ("CNN and ViT", "cnn", "vit", {}),
            ("CNN, two seeds", "cnn", "cnn", {}),
            ("ViT, two seeds", "vit", "vit", {}),
            ("CNN and ViT, untrained", "cnn", "vit", {"trained": False}),
        ),
        strict=True,
    ):
        _matrix(axes, title, study.block("cka", model, other, **how))
    add_title(figure, say_learned("title", study, MEASURES["cka"] + ", mean over seeds"))
    return figure


def _matrix(axes: Axes, title: str, block: pd.DataFrame) -> None:
    axes.imshow(block, vmin=0, vmax=1, cmap="Greys")
    for (row, column), value in np.ndenumerate(block.to_numpy()):
        axes.text(
            column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color="white" if value > 0.5 else "black"
        )
    axes.set_xticks(range(block.shape[1]), [layer_label(name) for name in block.columns], rotation=45, ha="right")
    axes.set_yticks(range(block.shape[0]), [layer_label(name) for name in block.index])
    axes.set_title(title)


def probe_figure(study: Representations) -> Figure:
    """Figure 13: accuracy of a linear probe by layer, trained and untrained, and of its control."""
    figure, axes_of = panels(2, 5.5, 4.2)
    probes = study.frames["probes"]
    top = 100 * probes.accuracy.max()
    for axes, (model, of) in zip(axes_of, probes[~probes.layer.str.contains("/")].groupby("model"), strict=True):
        layers = of.layer.unique()
        style = LINES[model] | {"color": COLOURS[model]}
        trained, untrained = of[of.trained], of[~of.trained]
        axes.plot(_by_layer(trained, "accuracy"), label="trained", **style)
        for _, rows in trained.groupby("seed"):
            axes.plot(100 * rows.accuracy.to_numpy(), color=COLOURS[model], alpha=0.35, linewidth=0.8)
        axes.plot(_by_layer(untrained, "accuracy"), color="black", linestyle=":", marker="^", label="untrained")
        axes.plot(_by_layer(trained, "control"), color="grey", linestyle="-.", label="control: shuffled labels")
        axes.set_xticks(range(len(layers)), [layer_label(name) for name in layers], rotation=30, ha="right")
        axes.set(title=LABELS[model], ylabel="probe accuracy (%)", ylim=(0, 1.08 * top))
        axes.grid(alpha=0.3)
        axes.legend()
    add_title(figure, say_learned("title", study, "linear probes, mean over seeds, and each"))
    return figure


def _by_layer(rows: pd.DataFrame, column: str) -> np.ndarray:
    return 100 * rows.groupby("layer", sort=False)[column].mean().to_numpy()
