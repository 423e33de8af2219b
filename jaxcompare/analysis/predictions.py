"""What was predicted before training, beside what was measured."""

import dataclasses

import pandas as pd

from jaxcompare.analysis.outcome import find_outcome
from jaxcompare.config import ModelName
from jaxcompare.records import Prediction


@dataclasses.dataclass(frozen=True)
class Score:
    """A prediction, and what the runs that it was made for say to it; None: they do not answer it."""

    prediction: Prediction
    measured_more_accurate: ModelName | None
    measured_faster: ModelName | None
    measured_gap_points: float | None


def score_predictions(runs: pd.DataFrame) -> list[Score]:
    """Every prediction that the runs of a full comparison were made with, beside all complete runs.

    By the rules of the verdict: best test accuracies; ahead is who the interval shows ahead or, of one seed, who came
    out ahead; times are compared of the runs that `timed_alike` has.
    """
    outcome, measured = find_outcome(runs), (None, None, None)
    if outcome:
        gap = abs(100 * outcome.difference().mean)
        measured = outcome.leader(), outcome.faster[0] if outcome.faster else None, gap
    return [Score(prediction, *measured) for prediction in dict.fromkeys(runs.prediction.dropna())]
