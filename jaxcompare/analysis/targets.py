"""How long training takes to come to an accuracy."""

from typing import NamedTuple

import pandas as pd

from jaxcompare.analysis.outcome import counted
from jaxcompare.run_frame import per_run

TARGETS = (0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9, 0.95)
"""Test accuracies whose epochs are looked for."""


class Reached(NamedTuple):
    """The runs that reached an accuracy."""

    epochs: float
    """Mean of the first epochs that have it."""
    runs: int
    of: int
    """Runs in all."""


def epochs_to_accuracy(frame: pd.DataFrame) -> pd.DataFrame:
    """A `Reached` by target (index) and model (columns), of the runs that count; None where none got so far.

    Args:
        frame: a row a run and epoch.
    """
    frame = frame[frame.run.isin(counted(per_run(frame)).index)]
    found: dict[str, dict[float, Reached]] = {}
    for model, rows in frame.groupby("model", sort=False):
        found[model] = {}
        for target in TARGETS:
            first = rows[rows.test_accuracy >= target].drop_duplicates("run")
            if len(first):
                found[model][target] = Reached(first.epoch.mean(), len(first), rows.run.nunique())
    return pd.DataFrame(found, dtype=object).sort_index()
