"""Data efficiency: runs over sizes and seeds as curves, their differences, and where the ViT catches up."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, get_args

import numpy as np
from jaxtyping import Float

from jaxcompare.analysis.comparison import (
    METRICS,
    Metric,
    check_one_commit,
    check_one_recipe,
    executed_alike,
    finite,
    mean,
)
from jaxcompare.analysis.crossover import Crossover, crossover_size, extrapolated_crossover
from jaxcompare.analysis.statistics import Estimate, Interval, PowerLaw, estimate, fit_power_law
from jaxcompare.config import InputError, ModelName
from jaxcompare.records import RunRecord


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Complete runs of one recipe: every model, size and seed once."""

    models: tuple[ModelName, ...]
    sizes: tuple[int, ...]
    """Training images, ascending."""
    seeds: tuple[int, ...]
    runs: dict[tuple[ModelName, int, int], RunRecord]
    """By model, size and seed."""
    left_out: tuple[str, ...]
    """What the records hold beside these, in words: runs that are not complete, or that have no partner."""

    @property
    def first(self) -> RunRecord:
        """Any run, for what all share."""
        return self.runs[self.models[0], self.sizes[0], self.seeds[0]]

    @cached_property
    def analyses(self) -> "dict[Metric, Efficiency]":
        """In each metric, computed once."""
        return {metric: analyse(self, metric) for metric in METRICS}

    def of(self, model: ModelName, size: int) -> list[RunRecord]:
        """A model's runs on so many images, in the order of the seeds."""
        return [self.runs[model, size, seed] for seed in self.seeds]

    def values(self, model: ModelName, value: Callable[[RunRecord], float]) -> Float[np.ndarray, "seeds sizes"]:
        """A number of each of a model's runs."""
        return np.array([[value(self.runs[model, size, seed]) for size in self.sizes] for seed in self.seeds])


def build_sweep(records: Sequence[RunRecord]) -> Sweep:
    """The largest complete set of runs that the records hold: every seed kept has every model at every size kept.

    Raises:
        InputError: runs of different recipes, a run twice, or no seed complete for every model at some size.
    """
    check_one_recipe(records, "train_size")
    check_one_commit(records)
    runs: dict[tuple[ModelName, int, int], RunRecord] = {}
    left_out = []
    for record in records:
        config = record.config
        key = (config.model, record.train_images, config.training.seed)
        if record.status != "complete":
            left_out.append(
                f"{config.model}, {record.train_images:,} images, seed {config.training.seed}: {record.status}"
            )
        elif key in runs:
            raise InputError(f"{key[0]}, {key[1]:,} images: several runs from seed {key[2]}; give each seed once")
        else:
            runs[key] = record
    models = tuple(model for model in get_args(ModelName) if any(key[0] == model for key in runs))
    paired = {
        size: set.intersection(*({seed for m, s, seed in runs if (m, s) == (model, size)} for model in models))
        for size in sorted({size for _, size, _ in runs})
    }
    sizes, seeds = _largest_block(paired)
    if not seeds:
        raise InputError("data efficiency: no seed is complete for every model at any size; train the missing runs")
    kept = {key: record for key, record in runs.items() if key[1] in sizes and key[2] in seeds}
    left_out += [
        f"{model}, {size:,} images, seed {seed}: not at every size for every model"
        for model, size, seed in runs.keys() - kept.keys()
    ]
    return Sweep(models, sizes, seeds, kept, tuple(sorted(left_out)))


def _largest_block(paired: dict[int, set[int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The sizes, and the seeds that all of them have, of which there are most runs; of equals, that of more sizes."""
    best: tuple[tuple[int, ...], tuple[int, ...]] = (), ()
    for count in range(len(paired), 0, -1):
        for sizes in itertools.combinations(paired, count):
            seeds = tuple(sorted(set.intersection(*(paired[size] for size in sizes))))
            if len(sizes) * len(seeds) > len(best[0]) * len(best[1]):
                best = sizes, seeds
    return best


@dataclasses.dataclass(frozen=True)
class Efficiency:
    """What a sweep comes to, in one metric. Accuracies are fractions."""

    sweep: Sweep
    metric: Metric
    accuracy: dict[ModelName, list[Estimate]]
    """By model, at each size."""
    difference: list[Estimate]
    """CNN minus ViT at each size, paired by seed; empty with one model."""
    crossover: Crossover | None
    """None with one model or one size."""
    power_law: dict[ModelName, PowerLaw]
    """Of the test error; empty below three sizes, or where a model makes no error."""
    extrapolated: Crossover | None
    """Which power law is lower beyond the largest size: an extrapolation. None without power laws or a difference."""


def _fraction(estimate: Estimate) -> Estimate:
    """Without the part of the interval that no accuracy can have."""
    if estimate.interval is None:
        return estimate
    low, high = max(0.0, estimate.interval.low), min(1.0, estimate.interval.high)
    return dataclasses.replace(estimate, interval=dataclasses.replace(estimate.interval, low=low, high=high))


def analyse(sweep: Sweep, metric: Metric = "best") -> Efficiency:
    """Means, paired differences, crossover and power laws."""
    values = {model: sweep.values(model, METRICS[metric]) for model in sweep.models}
    accuracy = {model: [_fraction(estimate(column.tolist())) for column in table.T] for model, table in values.items()}
    errors = {model: 1 - table for model, table in values.items()}
    fitted = len(sweep.sizes) >= 3 and all((table > 0).all() for table in errors.values())
    laws = {model: fit_power_law(sweep.sizes, table) for model, table in errors.items()} if fitted else {}
    if len(values) < 2:
        return Efficiency(sweep, metric, accuracy, [], None, laws, None)
    differences = values["cnn"] - values["vit"]
    # Half a wrong image more in one image more: an error of 0 has no logarithm.
    images = sweep.first.test_images
    counted = {model: (images * table + 0.5) / (images + 1) for model, table in errors.items()}
    return Efficiency(
        sweep,
        metric,
        accuracy,
        [estimate(column.tolist()) for column in differences.T],
        crossover_size(sweep.sizes, counted["cnn"], counted["vit"]) if len(sweep.sizes) > 1 else None,
        laws,
        extrapolated_crossover(sweep.sizes, errors["cnn"], errors["vit"]) if fitted else None,
    )


def summarise_sweep(sweep: Sweep) -> dict[str, Any]:
    """The numbers of a sweep: `summary.json`. Accuracies and differences are fractions, times seconds, None what was
    not measured or has no bound."""
    first, alike = sweep.first, executed_alike(list(sweep.runs.values()))

    def times(model: ModelName, size: int) -> float | None:
        """Seconds in the epochs of a run."""
        return mean(math.fsum(r.history.epoch_time_s) for r in sweep.of(model, size)) if alike else None

    return {
        "dataset": first.dataset_title,
        "epochs": first.config.training.epochs,
        "epoch_images": first.config.epoch_images,
        "subsets": first.config.data.subsets,
        "sizes": list(sweep.sizes),
        "seeds": list(sweep.seeds),
        "left_out": list(sweep.left_out),
        "training_time_s": {model: {str(size): times(model, size) for size in sweep.sizes} for model in sweep.models},
        **{metric: _summarise_metric(efficiency) for metric, efficiency in sweep.analyses.items()},
    }


def _summarise_metric(efficiency: Efficiency) -> dict[str, Any]:
    sizes = efficiency.sweep.sizes

    def by_size(estimates: list[Estimate]) -> dict[str, Any]:
        return {str(size): _plain(estimate) for size, estimate in zip(sizes, estimates, strict=False)}

    laws = {
        model: {"a": law.a, "b": law.b, "b_interval": _ends(law.b_interval), "max_residual": law.max_residual}
        for model, law in efficiency.power_law.items()
    }
    return {
        "accuracy": {model: by_size(estimates) for model, estimates in efficiency.accuracy.items()},
        "difference": by_size(efficiency.difference),
        "crossover": _crossover(efficiency.crossover),
        "power_law": laws,
        "extrapolated_crossover": _crossover(efficiency.extrapolated),
    }


def _plain(estimate: Estimate) -> dict[str, Any]:
    return {"mean": estimate.mean, "interval": _ends(estimate.interval)}


def _ends(interval: Interval | None) -> list[float | None] | None:
    return None if interval is None else [finite(interval.low), finite(interval.high)]


def _crossover(crossover: Crossover | None) -> dict[str, Any] | None:
    """Leads in the order of the sizes looked at; a change is the two sizes that it lies between, and the new leader."""
    if crossover is None:
        return None
    return {
        "leads": list(crossover.leads),
        "changes": [list(change) for change in crossover.changes],
        "size": crossover.size,
        "interval": _ends(crossover.interval),
    }
