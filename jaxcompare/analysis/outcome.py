"""What a full comparison comes to, in numbers and categories; nothing is decided that an interval does not show."""

import dataclasses
import math
from functools import cached_property
from typing import Any, Literal, get_args

import pandas as pd

from jaxcompare.analysis.comparison import timed_alike
from jaxcompare.analysis.statistics import Estimate, Interval, estimate, estimate_fraction
from jaxcompare.config import ModelName

Metric = Literal["best", "final"]
"""A column of `run_frame.per_run`."""

MODELS: tuple[ModelName, ...] = get_args(ModelName)

Why = Literal[
    "no difference", "both", "both or dropout", "test alone", "generalises less", "generalises less or dropout"
]
"""Where what separates the models after the last epoch arises: in no place that is shown; on the training images too;
in the test alone; the one that is behind in the test is ahead in training. Or dropout: which lowers the ViT's figure in
training alone, and could be the reason."""


def leader(difference: Estimate) -> ModelName | None:
    """Who is ahead by a difference CNN minus ViT: by its interval or, of one seed, by its sign; None: not shown."""
    sign = difference.sign if difference.interval else (difference.mean > 0) - (difference.mean < 0)
    return "cnn" if sign == 1 else "vit" if sign == -1 else None


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """Complete runs of both models, paired by seed."""

    runs: pd.DataFrame
    """A row a run, see `run_frame.per_run`."""

    @property
    def first(self) -> Any:
        """Any run, for what all share."""
        return self.runs.iloc[0]

    @property
    def seeds(self) -> int:
        """Runs of each model."""
        return self.runs.seed.nunique()

    def by_seed(self, column: str) -> pd.DataFrame:
        """A number of each run: (seeds, models)."""
        return self.runs.pivot(index="seed", columns="model", values=column)

    def difference(self, column: str = "best") -> Estimate:
        """CNN minus ViT, paired by seed."""
        values = self.by_seed(column)
        return estimate((values.cnn - values.vit).tolist())

    def leader(self, metric: Metric = "best") -> ModelName | None:
        """Who is ahead; None: not shown."""
        return leader(self.difference(metric))

    def mean(self, column: str = "best") -> dict[ModelName, float]:
        """By model, over seeds."""
        return self.by_seed(column).mean().to_dict()

    @cached_property
    def timed(self) -> pd.DataFrame:
        """The runs whose times are compared, see `timed_alike`."""
        return timed_alike(self.runs)

    @cached_property
    def seconds(self) -> pd.Series:
        """An epoch's, by model, mean over the runs that are `timed`; empty without them."""
        return self.timed.groupby("model").epoch_time_s.mean()

    @cached_property
    def faster(self) -> tuple[ModelName, float] | None:
        """The model with less time an epoch, and how many times as long the other takes. None: no times that can stand
        beside each other, or the same to within rounding (1 %)."""
        times = self.seconds.max() / self.seconds.min()
        return (self.seconds.idxmin(), times) if times >= 1.01 else None

    @cached_property
    def why(self) -> Why:
        """Where the difference after the last epoch arises."""
        ahead, in_training = self.leader("final"), leader(self.difference("in_training"))
        if ahead is None:
            return "no difference"
        if in_training is None:
            return "test alone"
        if in_training == ahead:
            return "both or dropout" if ahead == "cnn" else "both"
        return "generalises less" if ahead == "cnn" else "generalises less or dropout"


def find_outcome(runs: pd.DataFrame) -> Outcome | None:
    """Of a full comparison; None without a seed of which both models' runs are complete."""
    complete = runs[runs.status == "complete"]
    paired = complete[complete.groupby("seed").model.transform("nunique") == len(MODELS)]
    return Outcome(paired) if len(paired) else None


def counted(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that a comparison's numbers are of: of a model with complete ones, these."""
    of_model = runs.groupby("model").status
    return runs[of_model.transform(lambda status: (status == "complete") | (status != "complete").all()).astype(bool)]


def by_model(runs: pd.DataFrame) -> pd.DataFrame:
    """A row a model, in the order of the runs that are `counted`: what a full comparison comes to. Accuracies are an
    `Estimate`; times, with `environment` and `compiled`, means of the runs that `timed_alike` has; None where there is
    no such number. `lost` are the runs that did not end."""
    rows = []
    timed, compiled = (timed_alike(counted(runs), name) for name in ("epoch_time_s", "compile_time_s"))
    for model, of_model in counted(runs).groupby("model", sort=False):
        lost = runs[(runs.model == model) & (runs.status != "complete")]
        times, compile_times = timed[timed.model == model], compiled[compiled.model == model]
        rows.append(
            {
                "model": model,
                **of_model.iloc[0][["params", "epochs"]],
                "done": of_model.done.min(),
                "lost": dict(zip(lost.seed, lost.status, strict=True)),
                "seeds": dict(zip(of_model.seed, of_model.best, strict=True)),
                **{name: _accuracy(of_model[name]) for name in ("best", "final")},
                "epoch_time_s": times.epoch_time_s.mean(),
                "environment": next(iter(times.environment), None),
                "compile_time_s": compile_times.compile_time_s.mean(),
                "compiled": next(iter(compile_times.compiled), None),
            }
        )
    return pd.DataFrame(rows)


def _accuracy(values: pd.Series) -> Estimate | None:
    return None if values.isna().any() else estimate_fraction(values.tolist())


def summarise(runs: pd.DataFrame) -> dict[str, Any]:
    """What a full comparison comes to, by model: `summary.json`. Accuracies are fractions; None: nothing was
    measured."""
    outcome = find_outcome(runs)
    models = {
        one.model: {
            "params": int(one.params),
            "best_test_accuracy": one.best,
            "final_test_accuracy": one.final,
            "epoch_time_s": one.epoch_time_s,
            "compile_time_s": one.compile_time_s,
            "compiled": one.compiled,
            "epochs": int(one.done),
            "status": next(iter(one.lost.values()), "complete"),
            "seeds": one.seeds,
        }
        for one in by_model(runs).itertuples()
    }
    summary = {"models": models, "difference": outcome.difference() if outcome else None}
    return plain(summary | {"dataset": runs.dataset.iloc[0], "train_images": int(runs.train_images.iloc[0])})


def plain(value: Any) -> Any:
    """As JSON has it: an interval is its ends, an object its fields, and None what was not measured or has no bound."""
    match value:
        case Interval():
            return [plain(value.low), plain(value.high)]
        case dict():
            return {str(name): plain(one) for name, one in value.items()}
        case list() | tuple():
            return [plain(one) for one in value]
        case float():
            return float(value) if math.isfinite(value) else None
    return plain(vars(value)) if dataclasses.is_dataclass(value) else value
