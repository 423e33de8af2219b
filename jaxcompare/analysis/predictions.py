"""What was predicted before training, held against what was measured."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from jaxcompare.analysis.comparison import difference, faster, leader, pair_up
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
    """Score every prediction that the records of a full comparison hold, each by all its complete runs.

    By the rules of the verdict: best test accuracies, as the question has it; ahead is who the interval shows ahead or,
    of one seed, who came out ahead; times are compared only if the runs were executed alike.
    """
    predictions = list(dict.fromkeys(r.prediction for r in records if r.prediction))
    pair = pair_up(records)
    if pair is None:
        return [Score(prediction, None, None, None) for prediction in predictions]
    gap, quicker = difference(pair), faster(pair)
    measured = leader(gap), quicker[0] if quicker else None, abs(100 * gap.mean)
    return [Score(prediction, *measured) for prediction in predictions]


def _equal(predicted: ModelName, measured: ModelName | None) -> bool | None:
    return None if measured is None else predicted == measured
