"""What was predicted before training, held against what was measured."""

import dataclasses
from typing import Any

import pandas as pd

from jaxcompare.analysis.outcome import find_outcome
from jaxcompare.config import ModelName
from jaxcompare.records import Prediction


@dataclasses.dataclass(frozen=True)
class Score:
    """A prediction, scored by the runs that it was made for. None: the measurement does not answer it."""

    prediction: Prediction
    measured_more_accurate: ModelName | None
    measured_faster: ModelName | None
    measured_gap_points: float | None

    @property
    def more_accurate_is_right(self) -> bool | None:
        return _equal(self.prediction.more_accurate, self.measured_more_accurate)

    @property
    def faster_is_right(self) -> bool | None:
        return _equal(self.prediction.faster, self.measured_faster)

    @property
    def gap_error_points(self) -> float | None:
        """How far the predicted gap is from the measured one; its sign is that of "predicted too much"."""
        return None if self.measured_gap_points is None else self.prediction.gap_points - self.measured_gap_points

    def summary(self) -> dict[str, Any]:
        """As `summary.json` has it."""
        derived = ("more_accurate_is_right", "faster_is_right", "gap_error_points")
        return dataclasses.asdict(self) | {name: getattr(self, name) for name in derived}


def score_predictions(runs: pd.DataFrame) -> list[Score]:
    """Score every prediction that the runs of a full comparison were made with, each by all complete runs.

    By the rules of the verdict: best test accuracies, as the question has it; ahead is who the interval shows ahead or,
    of one seed, who came out ahead; times are compared only if the runs were executed alike.
    """
    outcome, measured = find_outcome(runs), (None, None, None)
    if outcome:
        gap = abs(100 * outcome.difference().mean)
        measured = outcome.leader(), outcome.faster[0] if outcome.faster else None, gap
    return [Score(prediction, *measured) for prediction in dict.fromkeys(runs.prediction.dropna())]


def _equal(predicted: ModelName, measured: ModelName | None) -> bool | None:
    return None if measured is None else predicted == measured
