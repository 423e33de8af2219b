"""What the networks learned, layer by layer: similarity and linear probes."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcompare.analysis.representations import MEASURES, Representations
from jaxcompare.report.figure import COLOURS, LINES, add_title, panels
from jaxcompare.report.text import LABELS, layer_label
from jaxcompare.report.words import say_learned

TOKEN = "/class"
"""Behind a layer's name: of the ViT's class token alone."""


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
    add_title(figure, say_learned("title", study, ("similarity",), MEASURES["cka"] + ", mean over seeds"))
    return figure


def _matrix(axes: Axes, title: str, block: pd.DataFrame) -> None:
    axes.imshow(block, vmin=0, vmax=1, cmap="Greys")
    for (row, column), value in np.ndenumerate(block.to_numpy()):
        axes.text(
            column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color="white" if value > 0.6 else "black"
        )
    axes.set_xticks(range(block.shape[1]), [layer_label(name) for name in block.columns], rotation=45, ha="right")
    axes.set_yticks(range(block.shape[0]), [layer_label(name) for name in block.index])
    axes.set_title(title)


def probe_figure(study: Representations) -> Figure:
    """Figure 13: accuracy of a linear probe by layer, trained and untrained, and of its control."""
    figure, axes_of = panels(2, 5.5, 4.2)
    for axes, (model, probes) in zip(axes_of, study.frames["probes"].groupby("model"), strict=True):
        of_token = probes.layer.str.endswith(TOKEN)
        of, token = probes[~of_token], probes[of_token & probes.trained]
        layers = list(of.layer.unique())
        style = LINES[model] | {"color": COLOURS[model]}
        trained, untrained = of[of.trained], of[~of.trained]
        axes.plot(_by_layer(trained, "accuracy"), label="trained", **style)
        for _, rows in trained.groupby("seed"):
            axes.plot(100 * rows.accuracy.to_numpy(), color=COLOURS[model], alpha=0.35, linewidth=0.8)
        if len(token):
            places = [layers.index(name.removesuffix(TOKEN)) for name in token.layer.unique()]
            axes.plot(places, _by_layer(token, "accuracy"), "x", color=COLOURS[model], label="trained, class token")
        axes.plot(_by_layer(untrained, "accuracy"), color="black", linestyle=":", marker="^", label="untrained")
        axes.plot(_by_layer(trained, "control"), color="grey", linestyle="-.", label="control: shuffled labels")
        axes.set_xticks(range(len(layers)), [layer_label(name) for name in layers], rotation=30, ha="right")
        axes.set(title=LABELS[model], ylabel="probe accuracy (%)", ylim=(0, 109))
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left", ncols=2, fontsize=8)
    add_title(figure, say_learned("title", study, ("probes",), "linear probes, mean over seeds, and each"))
    return figure


def _by_layer(rows: pd.DataFrame, column: str) -> np.ndarray:
    return 100 * rows.groupby("layer", sort=False)[column].mean().to_numpy()
