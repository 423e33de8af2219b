"""How long training takes to come to an accuracy."""

from typing import NamedTuple

import pandas as pd

from jaxcompare.analysis.comparison import timed_alike
from jaxcompare.analysis.outcome import counted
from jaxcompare.run_frame import per_run

TARGETS = (0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9, 0.95)
"""Test accuracies whose times are looked for."""


class Reached(NamedTuple):
    """Means over the runs that reached an accuracy."""

    seconds: float
    """In epochs, evaluation excluded."""
    total: float
    """The same, and compilation."""
    runs: int
    of: int
    """Runs in all."""


def timed_throughout(frame: pd.DataFrame) -> pd.DataFrame:
    """Of a row a run and epoch, a row a run: the runs that count, of `timed_alike`, each epoch with a time."""
    return timed_alike(counted(per_run(frame)), "time_s")


def times_as_trained(frame: pd.DataFrame) -> pd.DataFrame:
    """A `Reached` by target (index) and model (columns), None where no run got so far: of the runs that are
    `timed_throughout`; empty without them.

    Args:
        frame: a row a run and epoch.
    """
    frame = frame[frame.run.isin(timed_throughout(frame).index)]
    frame = frame.assign(seconds=frame.groupby("run").epoch_time_s.cumsum())
    times: dict[str, dict[float, Reached]] = {}
    for model, rows in frame.groupby("model", sort=False):
        times[model] = {}
        for target in TARGETS:
            found = rows[rows.test_accuracy >= target].drop_duplicates("run")
            if len(found):
                total = (found.seconds + found.compile_time_s).mean()
                times[model][target] = Reached(found.seconds.mean(), total, len(found), rows.run.nunique())
    return pd.DataFrame(times, dtype=object).sort_index()
