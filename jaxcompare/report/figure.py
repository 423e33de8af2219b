"""What all figures share: panels, scales, captions, and how they are written."""

import dataclasses
import functools
import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from jaxcompare.lines import write_atomically

COLOURS = {"cnn": "#4a90d9", "vit": "#e74c3c"}
"""CNN blue and solid, ViT red and dashed (or hatched), so that grey print keeps them apart."""
LINES: dict[str, dict[str, Any]] = {
    "cnn": {"linestyle": "-", "marker": "o"},
    "vit": {"linestyle": "--", "marker": "s", "markerfacecolor": "white"},
}
HATCHES = {"cnn": "", "vit": "///"}
LETTER = 0.08
"""Width of a title's letter, in inches."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure, and what it shows in words for who cannot see it."""

    name: str
    figure: Figure
    caption: str
    alternative: str
    of_speed: bool


def panels(count: int, width: float = 6.0, height: float = 4.4, *, rows: int = 1) -> tuple[Figure, Sequence[Axes]]:
    """A figure of panels side by side, each of a size in inches."""
    # Laid out for the SVG; in the PNG letters are a little wider, and long labels would be cut off.
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(width * max(count, 1.3), height * rows), layout=layout)
    return figure, list(np.ravel(figure.subplots(rows, count)))


def log_scale(axes: Axes, which: str) -> None:
    """Logarithmic axes with numbers that are read without powers."""
    for name in which:
        axes.set(**{f"{name}scale": "log"})
        axis = axes.xaxis if name == "x" else axes.yaxis
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)


def log_ticks(axes: Axes, ticks: Sequence[int]) -> None:
    """A logarithmic horizontal axis with these numbers."""
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()


def say_instead(axes: Axes, title: str, text: str) -> None:
    """In a panel that nothing can be drawn in."""
    axes.set_title(title)
    axes.text(0.5, 0.5, text, ha="center", va="center")
    axes.set_axis_off()


def add_title(figure: Figure, text: str) -> None:
    """What a figure's numbers are of, on as many lines as its width asks for; nothing in it is markup."""
    lines = textwrap.fill(text, round(figure.get_figwidth() / LETTER))
    figure.suptitle(lines, fontsize=10, parse_math=False)


@functools.lru_cache(maxsize=16)
def figure_svg(figure: Figure, name: str) -> str:
    """A figure as SVG, drawn once. Without a date and random ids, the same records make the same text."""
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
