"""What stands beside a speed study's ratios: what it was measured under, break-even, costs, batch sizes, pipelines."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from jaxcompare.analysis.contrast import measured
from jaxcompare.analysis.dispatch import several_sizes
from jaxcompare.analysis.roofline import common_roofs, roofs_by_framework
from jaxcompare.analysis.speed import cells_of, in_matrix
from jaxcompare.analysis.speed_study import SpeedStudy
from jaxcompare.analysis.statistics import spread
from jaxcompare.cells import Cell
from jaxcompare.config import InputError
from jaxcompare.records import BUSY

PADDED = ("model", "batch_size", "computed_batch_size", "devices")


def conditions(study: SpeedStudy) -> dict[str, Any]:
    """What the matrix was measured under: any process as `first`, the worst `gates` by precision, `turns` of a
    process, the most that `others` took of the cores, which models' batches were `padded`."""
    frame = measured(in_matrix(study.frame))
    turns = frame.groupby("cell", sort=False).turns.median()
    padded = frame[frame.computed_batch_size.fillna(0) > frame.batch_size]
    gates = frame.groupby("precision", sort=False)[["gate_logits", "gate_gradients", "gate_losses"]].max()
    return {
        "first": frame.iloc[0],
        "repeats": frame.repeat.nunique(),
        "gates": gates.to_dict("index"),
        "turns": spread(turns),
        "others": study.others_share(cells_of(frame)),
        "padded": padded[list(PADDED)].drop_duplicates().to_dict("records"),
    }


def ceilings(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """By precision: the `common` roofs, those of `each` framework, and how many `times` as fast JAX multiplies large
    matrices, None where one framework was not measured."""
    found = {}
    for precision in measured(frame).precision.unique():
        each = roofs_by_framework(frame, precision)
        times = each["jax"].flops_per_s / each["torch"].flops_per_s if len(each) > 1 else None
        found[precision] = {"common": common_roofs(frame, precision), "each": each, "times": times}
    return found


def break_even(study: SpeedStudy) -> pd.DataFrame:
    """A row a compiled way: what it pays once, seconds of a step, and when it has caught up with PyTorch eager at its
    best, in steps and seconds; Spreads over repeats."""
    rows = []
    for one in study.break_evens:
        paid, step = (spread([getattr(cost, name) for cost in one.costs[1:]]) for name in ("once_s", "step_s"))
        rows.append((one.cell, one.eager, paid, step, *map(one.reach, (one.steps, one.seconds))))
    return pd.DataFrame(rows, columns=["cell", "eager", "paid", "step", "steps", "seconds"])


def costs(lines: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """What an image costs `by_formula` and by XLA, and how far the one is from the other: MFLOP, MB, FLOP a byte."""
    rows = []
    for line in lines:
        of = {by: {name: line[f"{by}_{name}"] / 1e6 for name in COSTS} for by in ("formula", "xla")}
        for name in COSTS:
            rows.append((line["model"], name, of["formula"][name], of["xla"][name]))
        rows.append(
            (line["model"], "intensity", *(one["training_flops"] / one["training_bytes"] for one in of.values()))
        )
    found = pd.DataFrame(rows, columns=["model", "name", "formula", "xla"])
    return found.assign(change=found.xla / found.formula - 1)


COSTS = ("forward_flops", "training_flops", "training_bytes")


def batch_sizes(study: SpeedStudy) -> pd.DataFrame:
    """A row a way that was asked for at several batch sizes: `cell`; its `fit` and that one's parts, None of too few
    sizes; and by size what a step takes and an image, seconds."""
    ways = several_sizes(cells_of(study.frame))
    found = study.cells[study.cells.measured].itertuples()
    medians = {one.cell: (one.step_time_s.middle, one.image_time_s.middle) for one in found}
    rows: list[dict[Any, Any]] = []
    for way, cells in ways.items():
        fit = study.fits.get(way)
        parts = (fit.fixed_s, fit.image_s, fit.half_size, fit.max_residual) if fit else [None] * 4
        rows.append(
            {"cell": cells[0], "fit": fit, **dict(zip(("fixed", "image", "half", "residual"), parts, strict=True))}
            | {cell.batch_size: medians[cell] for cell in cells if cell in medians}
        )
    sizes = sorted({cell.batch_size for cells in ways.values() for cell in cells})
    return pd.DataFrame(rows, columns=["cell", "fit", "fixed", "image", "half", "residual", *sizes], dtype=object)


def candidates(lines: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A row a candidate of a search, the one that went farthest first: `cell`, how many `rounds` it was in, seconds an
    `image` in the last one, NaN where it failed, and the `message` then."""
    rows = {}
    for line in sorted(lines, key=lambda line: line["round"]):
        cell = Cell(**line["cell"])
        rows[cell] = (cell, line["round"] + 1, line["image_time_s"] or math.nan, line["message"])
    found = pd.DataFrame(rows.values(), columns=["cell", "rounds", "image", "message"])
    found["of"] = [(cell.group, cell.framework) for cell in found.cell]
    found["first"] = found.of.map({of: place for place, of in enumerate(dict.fromkeys(found.of))})
    return found.sort_values(["first", "rounds", "image"], ascending=[True, False, True]).drop(columns=["of", "first"])


def work_beside(lines: Sequence[Mapping[str, Any]]) -> float:
    """The most that other work took of the cores while a search's candidate was timed; 0 below BUSY."""
    most = max((line.get("others_share") or 0.0 for line in lines), default=0.0)
    return most if most >= BUSY else 0.0


def pipelines(lines: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A row a number of workers (index): images a second of the host pipeline and of the recipe's, and their ratio in
    each repeat; Spreads over repeats.

    Raises:
        InputError: a pipeline lacks a repeat that another has.
    """
    if not lines:
        return pd.DataFrame()
    found = pd.DataFrame(lines).pivot(index=["workers", "repeat"], columns="pipeline", values="images_per_s")
    if found.isna().any(axis=None):
        raise InputError("inputs.jsonl: a measurement is missing; measure anew")
    found["ratio"] = found.jaxcompare / found.recipe
    return found.groupby("workers").agg(spread)
