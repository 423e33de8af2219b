"""What the networks learned, in pixels: how far they look, maps of single images, first layers."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcompare.analysis.representations import Representations
from jaxcompare.config import ModelName
from jaxcompare.report.figure import COLOURS, LINES, add_title, panels
from jaxcompare.report.text import LABELS, layer_label
from jaxcompare.report.words import say_learned

OUTCOMES = ("both right", "CNN alone right", "ViT alone right", "both wrong")


def reach_figure(study: Representations) -> Figure:
    """Figure 12: mean attention distance by head, and width of the effective receptive field by layer, on one axis."""
    figure, (attention, fields) = panels(2, 5.8, 4.4)
    heads, widths = study.frames["attention"], study.frames["fields"]
    uniform = study.study["uniform_attention_pixels"]
    for trained in (False, True):
        of = heads[heads.trained == trained]
        # Heads of two seeds have no order in common: a seed's stand in a column.
        column = of.seed.rank(method="dense") / (of.seed.nunique() + 1)
        places = of.layer + 1 + 0.4 * column * (1 if trained else -1)
        attention.plot(places, of.pixels, **_style("vit", trained, "") | {"linestyle": ""})
    attention.axhline(uniform, color="black", linestyle=":", linewidth=1, label="uniform attention")
    attention.set_xticks(sorted(heads.layer.unique() + 1))
    attention.set(title="ViT: mean attention distance, a mark a head of a seed", xlabel="encoder layer")
    top, ticks = max(uniform, heads.pixels.max(), widths.width.max()), []
    for model in LABELS:
        of = widths[widths.model == model]
        layers = list(of.layer.unique())
        for trained, rows in of.groupby("trained"):
            style = _style(model, bool(trained), f"{LABELS[model]}, ")
            by_seed = rows.pivot(index="layer", columns="seed", values="width")
            # A layer with dead units has no field.
            places = [len(ticks) + layers.index(name) for name in by_seed.index]
            order = np.argsort(places)
            by_seed, places = by_seed.iloc[order], np.array(places)[order]
            fields.plot(places, by_seed, color=style["color"], alpha=0.35, linewidth=0.8)
            fields.plot(places, by_seed.mean(axis=1), **style)
        ticks += [f"{LABELS[model]}\n{layer_label(name)}" for name in layers]
    fields.set_xticks(range(len(ticks)), ticks, fontsize=7, rotation=45)
    fields.set(title="Effective receptive field: mean distance from its centre")
    for axes in (attention, fields):
        axes.set(ylabel="pixels", ylim=(0, 1.3 * top))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, ncols=2, loc="upper left")
    add_title(
        figure,
        say_learned("title", study, ("attention", "fields"), "heads of each seed, fields also in the mean"),
    )
    return figure


def _style(model: ModelName, trained: bool, lead: str) -> dict[str, Any]:
    if trained:
        return LINES[model] | {"color": COLOURS[model], "label": f"{lead}trained"}
    return {"color": "grey", "marker": "^", "linestyle": ":", "label": f"{lead}untrained"}


def map_figure(study: Representations) -> Figure:
    """Figure 15: four images with a map of each network's prediction, and deletion curves of all maps."""
    pictures, classes = study.pictures, study.study["class_names"]
    count = len(pictures["images"])
    # Placed by hand: the layout of nested figures differs from call to call.
    figure = Figure(figsize=(12.5, 6.4))
    maps = figure.add_gridspec(3, count, left=0.01, right=0.57, top=0.87, bottom=0.02, wspace=0.05, hspace=0.35)
    curves = figure.add_gridspec(2, 1, left=0.63, right=0.99, top=0.9, bottom=0.09, hspace=0.4)
    grid = maps.subplots(squeeze=False)
    for column in range(count):
        image = pictures["images"][column].astype(float)
        outcome = OUTCOMES[int(pictures["outcome"][column])]
        grid[0, column].imshow(image)
        grid[0, column].set_title(
            f"{outcome}\n{classes[int(pictures['labels'][column])]}", fontsize=8, parse_math=False
        )
        for row, (model, kind) in enumerate((("cnn", "Grad-CAM"), ("vit", "rollout")), 1):
            axes, said = grid[row, column], classes[int(pictures[f"{model}_predictions"][column])]
            axes.imshow(image.mean(axis=-1), cmap="Greys_r")
            axes.imshow(pictures[f"{model}_maps"][column].astype(float), cmap="inferno", alpha=0.6)
            axes.set_title(f"{LABELS[model]}, {kind}\nsays {said}", fontsize=8, parse_math=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    deletion = study.frames["deletion"]
    for axes, model in zip(curves.subplots(squeeze=False).flat, LABELS, strict=True):
        _deletion(axes, model, deletion[deletion.model == model])
    add_title(figure, say_learned("title", study, ("deletion",), "maps of the first seed, curves' mean over seeds"))
    return figure


def _deletion(axes: Axes, model: ModelName, of: pd.DataFrame) -> None:
    for line, (name, rows) in zip(("-", "--"), of.groupby("map", sort=False), strict=True):
        mean = rows.groupby("fraction").by_map.mean()
        axes.plot(100 * mean.index, mean, color=COLOURS[model], linestyle=line, label=f"{name}, its largest first")
        other = rows.groupby("fraction").by_other.mean()
        axes.plot(100 * other.index, other, color="black", linestyle=line, alpha=0.6, label=f"{name} of another image")
    # Every map of a network has the same random orders.
    random = of.groupby("fraction").at_random.mean()
    axes.plot(100 * random.index, random, color="grey", linestyle=":", label="random pixels")
    axes.set(title=f"{LABELS[model]}: deletion", xlabel="pixels replaced (%)", ylabel="probability", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def first_layer_figure(study: Representations) -> Figure:
    """Figure 16: the CNN's filters, the patch embedding's components, similarity of position embeddings."""
    pictures = study.pictures
    components = pictures["components"].astype(float)
    largest = np.abs(components).max(axis=(1, 2, 3), keepdims=True)
    figure, (filters, embedding, positions) = panels(3, 4.4, 4.4)
    filters.imshow(_mosaic(pictures["filters"].astype(float), 8))
    filters.set_title("CNN: 3×3 filters of the first layer")
    embedding.imshow(_mosaic(0.5 + 0.5 * components / np.where(largest > 0, largest, 1), 7))
    shown = 100 * pictures["explained"].astype(float).sum()
    embedding.set_title(
        f"ViT: components of the patch embedding\n({len(components)} with {shown:.0f} % of its variance)"
    )
    similarity = np.moveaxis(pictures["positions"].astype(float), 2, 1)
    rows, _, columns, _ = similarity.shape
    image = positions.imshow(similarity.reshape(rows * rows, columns * columns), vmin=-1, vmax=1, cmap="Greys")
    positions.set_xticks(np.arange(columns) * columns - 0.5, [""] * columns)
    positions.set_yticks(np.arange(rows) * rows - 0.5, [""] * rows)
    positions.grid(color=COLOURS["vit"], linewidth=0.6)
    positions.set_title("ViT: position embeddings")
    figure.colorbar(image, ax=positions, shrink=0.8, label="cosine similarity")
    for axes in (filters, embedding):
        axes.set_axis_off()
    add_title(figure, say_learned("title", study, (), f"seed {study.seeds[0]}"))
    return figure


def _mosaic(tiles: np.ndarray, columns: int) -> np.ndarray:
    """Colour tiles in rows, white between them."""
    count, side, _, colours = tiles.shape
    rows = -(-count // columns)
    sheet = np.ones((rows, side + 1, columns, side + 1, colours))
    for index, tile in enumerate(tiles):
        sheet[index // columns, :side, index % columns, :side] = tile
    return sheet.reshape(rows * (side + 1), columns * (side + 1), colours)
