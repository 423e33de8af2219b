"""What was predicted before training, held against what was measured."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from jaxcompare.analysis.comparison import by_model, executed_alike, mean
from jaxcompare.config import ModelName
from jaxcompare.records import Prediction, RunRecord


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
        return dataclasses.asdict(self) | {
            "more_accurate_is_right": self.more_accurate_is_right,
            "faster_is_right": self.faster_is_right,
            "gap_error_points": self.gap_error_points,
        }


def score_predictions(records: Sequence[RunRecord]) -> list[Score]:
    """Score every prediction that the records of a full comparison hold, each by all runs of the comparison.

    Accuracies are best test accuracies, as the question has it, means over seeds; an exact tie names no winner. Times
    are compared only if the runs were executed alike.
    """
    predictions = list(dict.fromkeys(r.prediction for r in records if r.prediction))
    runs = by_model([r for r in records if r.history.test_accuracy])
    if set(runs) != {"cnn", "vit"}:
        return [Score(prediction, None, None, None) for prediction in predictions]
    accuracy = {model: 100 * mean(r.best_test_accuracy for r in of_model) for model, of_model in runs.items()}
    times = {model: mean(r.epoch_time_s for r in of_model) for model, of_model in runs.items()}
    faster = _least(times) if executed_alike([r for of_model in runs.values() for r in of_model]) else None
    more_accurate = _least({model: -value for model, value in accuracy.items()})
    gap = abs(accuracy["cnn"] - accuracy["vit"])
    return [Score(prediction, more_accurate, faster, gap) for prediction in predictions]


def _least(values: dict[ModelName, float]) -> ModelName | None:
    low, high = sorted(values, key=values.__getitem__)
    return None if values[low] == values[high] or math.isnan(values[low] + values[high]) else low


def _equal(predicted: ModelName, measured: ModelName | None) -> bool | None:
    return None if measured is None else predicted == measured
