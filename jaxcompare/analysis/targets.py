"""How long training takes to come to an accuracy: as it was trained, and by each execution of a speed study."""

from typing import NamedTuple

import pandas as pd

from jaxcompare.analysis.comparison import executed_alike

TARGETS = (0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9, 0.95)
"""Test accuracies whose times are looked for."""


class Reached(NamedTuple):
    """Means over the runs that reached an accuracy."""

    seconds: float
    """In epochs, evaluation excluded."""
    total: float
    """The same, and compilation, cold."""
    runs: int
    of: int
    """Runs in all."""


def first_epochs(frame: pd.DataFrame) -> pd.DataFrame:
    """Of a row a run and epoch: that in which a run's test accuracy was first at least a `target`, for each that it
    came to; `seconds` in epochs until then."""
    frame = frame.assign(seconds=frame.groupby("run").epoch_time_s.cumsum())
    reached = [frame[frame.test_accuracy >= target].drop_duplicates("run").assign(target=target) for target in TARGETS]
    return pd.concat(reached)


def times_as_trained(frame: pd.DataFrame) -> pd.DataFrame:
    """A `Reached` by target (index) and model (columns), None where no run got so far. Empty if the runs were executed
    differently or an epoch has no time, so that they cannot stand beside each other."""
    runs, found = frame.groupby("model", sort=False).run.nunique(), first_epochs(frame)
    if not executed_alike(frame) or frame.epoch_time_s.isna().any():
        return pd.DataFrame()
    found = found.assign(total=found.seconds + found.compile_time_s)
    return pd.DataFrame(
        {
            model: {target: _reached(rows, runs[model]) for target, rows in of_model.groupby("target")}
            for model, of_model in ((model, found[found.model == model]) for model in runs.index)
        },
        dtype=object,
    )


def times_by_execution(cells: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """A row a single run of the matrix (`cell`), a `Reached` by target: epochs from runs of its model, precision and
    batch size, their length from the cell. Rows without such runs are left out.

    Args:
        cells: see `SpeedStudy.cells`.
        frame: a full comparison, a row a run and epoch.
    """
    rows, found = [], first_epochs(frame)
    for one in cells[cells.matrix & cells.measured].itertuples():
        cell = one.cell
        alike = ["model", "precision", "batch_size"]
        fits = [(of[alike] == [cell.model, cell.precision, cell.batch_size]).all(axis=1) for of in (frame, found)]
        runs = frame[fits[0]].run.nunique()
        if runs and cell.seeds == 1:
            reached = found[fits[1]]
            seconds = reached.epoch * reached.shown_images * one.image_time_s.middle
            reached = reached.assign(seconds=seconds, total=seconds + one.one_time_s.middle)
            rows.append({"cell": cell, **{target: _reached(of, runs) for target, of in reached.groupby("target")}})
    return pd.DataFrame(rows).reindex(columns=["cell", *sorted(found.target.unique())])


def _reached(rows: pd.DataFrame, of: int) -> Reached:
    return Reached(rows.seconds.mean(), rows.total.mean(), len(rows), of)
