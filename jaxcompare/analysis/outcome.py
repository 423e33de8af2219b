"""What a full comparison comes to, in numbers and categories; nothing is decided that an interval does not show."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

from jaxcompare.analysis.comparison import LABELS, METRICS, Metric, Pair, difference, faster, leader, mean, pair_up
from jaxcompare.analysis.data_efficiency import Efficiency
from jaxcompare.analysis.statistics import Estimate, estimate
from jaxcompare.config import ModelName
from jaxcompare.records import RunRecord

Why = Literal[
    "no difference", "both", "both or dropout", "test alone", "generalises less", "generalises less or dropout"
]
"""Where what separates the models after the last epoch arises: in no place that is shown; on the training images too;
in the test alone; the one that is behind in the test is ahead in training. Or dropout: which lowers the ViT's figure in
training alone, and could be the reason."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Complete runs of both models, paired by seed."""

    pair: Pair

    @property
    def first(self) -> RunRecord:
        """Any run, for what all share."""
        return self.pair["cnn"][0]

    @property
    def seeds(self) -> int:
        """Runs of each model."""
        return len(self.pair["cnn"])

    @property
    def faster(self) -> tuple[ModelName, float] | None:
        """See `comparison.faster`."""
        return faster(self.pair)

    def difference(self, metric: Metric = "best") -> Estimate:
        """CNN minus ViT."""
        return difference(self.pair, metric)

    def leader(self, metric: Metric = "best") -> ModelName | None:
        """Who is ahead; None: not shown."""
        return leader(self.difference(metric))

    def mean(self, value: Callable[[RunRecord], float]) -> dict[ModelName, float]:
        """By model, over seeds."""
        return {model: mean(map(value, runs)) for model, runs in self.pair.items()}

    def accuracy(self, metric: Metric = "best") -> dict[ModelName, float]:
        """Mean test accuracy by model, a fraction."""
        return self.mean(METRICS[metric])

    @property
    def in_training(self) -> Estimate:
        """CNN minus ViT on the training images as they were seen in the last epoch."""
        trained = {model: [r.history.train_accuracy[-1] for r in runs] for model, runs in self.pair.items()}
        return estimate([cnn - vit for cnn, vit in zip(trained["cnn"], trained["vit"], strict=True)])

    @property
    def why(self) -> Why:
        """Where the difference after the last epoch arises."""
        ahead, in_training = self.leader("final"), leader(self.in_training)
        if ahead is None:
            return "no difference"
        if in_training is None:
            return "test alone"
        if in_training == ahead:
            return "both or dropout" if ahead == "cnn" else "both"
        return "generalises less" if ahead == "cnn" else "generalises less or dropout"


def find_outcome(records: Sequence[RunRecord]) -> Outcome | None:
    """Of a full comparison; None without a seed of which both models' runs are complete."""
    pair = pair_up(records)
    return Outcome(pair) if pair else None


def change_over_sizes(efficiency: Efficiency) -> Estimate:
    """How much CNN minus ViT changes from the smallest to the largest size."""
    cnn, vit = (efficiency.sweep.values(model, METRICS[efficiency.metric]) for model in LABELS)
    differences = cnn - vit
    return estimate((differences[:, -1] - differences[:, 0]).tolist())


def leader_at(efficiency: Efficiency, place: int) -> ModelName | None:
    """Who is ahead at a size: beside other sizes only if it is shown for all of them together."""
    found = efficiency.difference[place]
    if efficiency.crossover is None or found.interval is None:
        return leader(found)
    return efficiency.crossover.leads[place]


def unfinished(records: Sequence[RunRecord]) -> list[tuple[ModelName, RunRecord | None]]:
    """The runs of a full comparison that do not count; None: the model has none at all."""
    models = {record.config.model for record in records}
    absent: list[tuple[ModelName, RunRecord | None]] = [(model, None) for model in LABELS if model not in models]
    return absent + [(r.config.model, r) for r in records if r.status != "complete"]
