"""Whether the processes of a speed study, or of two, may be compared at all."""

import itertools

import pandas as pd

from jaxcompare.analysis.contrast import Pair, measured
from jaxcompare.analysis.speed import cells_of
from jaxcompare.cell_frame import SAME_STUDY
from jaxcompare.cell_records import MUST_AGREE
from jaxcompare.config import InputError
from jaxcompare.measure.parity import Deviation


def check_one_measurement(frame: pd.DataFrame) -> None:
    """Raise InputError, naming what differs or has passed no gate, unless ratios between the processes mean something.

    Precision and batch size are part of a cell and may differ; manifests are compared within a precision.
    """
    frame = measured(frame)
    if frame.empty:
        raise InputError("cells.jsonl: holds no measurement; measure anew")
    for row in frame.itertuples():
        gate = Deviation(logits=row.gate_logits, gradients=row.gate_gradients, losses=row.gate_losses)
        if fault := gate.exceeds(row.model, row.precision):
            raise InputError(f"{row.model} {row.cell.execution}: did not pass the parity gate: {fault[0]}")
    _check_agree(frame, "cells of different measurements: {} is {} in one, {} in another{}")
    repeats = {cell: sorted(rows.repeat) for cell, rows in frame.groupby("cell", sort=False)}
    whole = max(repeats.values(), key=lambda of_cell: len(set(of_cell)))
    for cell, of_cell in repeats.items():
        if len(set(of_cell)) < len(of_cell):
            raise InputError(f"{cell.model} {cell.execution}: a repeat is there twice, of {of_cell}")
        if of_cell != whole:
            raise InputError(
                f"{cell.model} {cell.execution}: repeats {of_cell} only; the measurement did not come to its end"
            )


def check_alike(frame: pd.DataFrame, again: pd.DataFrame, *but: str) -> None:
    """Raise InputError unless two studies share a cell and all that decides a time, but for columns named in `but`."""
    first, second = measured(frame), measured(again)
    check_one_measurement(first)
    check_one_measurement(second)
    both = pd.concat([first, second]).drop(columns=list(but))
    _check_agree(both, "two speed studies that differ: {} is {} in the first, {} in the second{}")
    if not set(cells_of(first)) & set(cells_of(second)):
        raise InputError("two speed studies without a cell in common; leave the second out")


def repeated_pairs(frame: pd.DataFrame, again: pd.DataFrame) -> list[Pair]:
    """Every two cells of one model and precision that both studies measured."""
    there = set(cells_of(measured(again)))
    both = [cell for cell in cells_of(measured(frame)) if cell in there]
    return [
        Pair("repeated", "", (cell,), (other,))
        for cell, other in itertools.combinations(both, 2)
        if cell.group == other.group
    ]


def _check_agree(frame: pd.DataFrame, message: str) -> None:
    groups = [("", frame, SAME_STUDY), *((p, rows, MUST_AGREE) for p, rows in frame.groupby("precision", sort=False))]
    for precision, rows, columns in groups:
        for name in (column for column in columns if column in rows):
            values = rows[name].astype(str).unique()
            if len(values) > 1:
                within = f", both {precision}" if precision else ""
                raise InputError(message.format(name.removeprefix("git_"), *values[:2], within))
