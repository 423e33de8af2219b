"""Data efficiency: runs over sizes and seeds as curves, their differences, and where the ViT catches up."""

import dataclasses
import itertools
from collections.abc import Sequence
from functools import cached_property
from typing import Any, get_args

import numpy as np
import pandas as pd

from jaxcompare.analysis.comparison import check_one_commit, check_one_recipe, timed_alike
from jaxcompare.analysis.crossover import Crossover, crossover_size
from jaxcompare.analysis.outcome import MODELS, Metric, leader, plain
from jaxcompare.analysis.power_law import PowerLaw, fit_power_law
from jaxcompare.analysis.statistics import Estimate, estimate, estimate_fraction
from jaxcompare.config import InputError, ModelName


@dataclasses.dataclass(frozen=True, eq=False)
class Sweep:
    """Complete runs of one recipe: every model, size and seed once."""

    runs: pd.DataFrame
    """A row a run, see `run_frame.per_run`; models, sizes and seeds in order."""
    left_out: pd.DataFrame
    """The runs that are not complete, or, of status complete, that have no partner: model, size, seed, status."""

    @property
    def first(self) -> Any:
        """Any run, for what all share."""
        return self.runs.iloc[0]

    @property
    def models(self) -> list[ModelName]:
        return list(self.runs.model.unique())

    @property
    def sizes(self) -> list[int]:
        """Training images, ascending."""
        return self.runs.train_images.unique().tolist()

    @property
    def seeds(self) -> list[int]:
        return self.runs.seed.unique().tolist()

    def values(self, column: str) -> dict[ModelName, np.ndarray]:
        """A number of each run, by model: (seeds, sizes)."""
        of_models = self.runs.groupby("model", sort=False)
        return {m: rows.pivot(index="seed", columns="train_images", values=column).to_numpy() for m, rows in of_models}

    @cached_property
    def seconds(self) -> pd.DataFrame:
        """In the epochs of a run, mean over seeds, by size (index) and model (columns): where every model has runs
        that `timed_alike` has; empty without them."""
        timed = timed_alike(self.runs)
        return timed.pivot_table("time_s", "train_images", "model").reindex(columns=self.models).dropna()

    @cached_property
    def analyses(self) -> "dict[Metric, Efficiency]":
        """In each metric, computed once."""
        return {metric: analyse(self, metric) for metric in get_args(Metric)}


def build_sweep(runs: pd.DataFrame) -> Sweep:
    """The largest complete set of runs that there is: every seed kept has every model at every size kept.

    Raises:
        InputError: runs of different recipes, a run twice, or no seed complete for every model at some size.
    """
    check_one_recipe(runs, "train_size")
    check_one_commit(runs)
    complete = runs[runs.status == "complete"]
    for twice in complete[complete.duplicated(["model", "train_images", "seed"])].itertuples():
        of_run = f"{twice.model}, {twice.train_images:,} images"
        raise InputError(f"{of_run}: several runs from seed {twice.seed}; give each seed once")
    counts = complete.groupby(["train_images", "seed"]).model.nunique()
    paired = counts[counts == complete.model.nunique()].reset_index().groupby("train_images").seed.agg(set)
    sizes, seeds = _largest_block(paired.to_dict())
    if not seeds:
        of = f"data efficiency, {runs.config.iloc[0].data.subsets} subsets"
        raise InputError(f"{of}: no seed is complete for every model at any size; train the missing runs")
    kept = complete[complete.train_images.isin(sizes) & complete.seed.isin(seeds)]
    left_out = runs.drop(kept.index)[["model", "train_images", "seed", "status"]]
    order = pd.Series(range(len(MODELS)), MODELS)
    kept = kept.sort_values(["model", "train_images", "seed"], key=lambda column: column.map(order).fillna(column))
    return Sweep(kept, left_out.sort_values(["model", "train_images", "seed"]))


def _largest_block(paired: dict[int, set[int]]) -> tuple[tuple[int, ...], set[int]]:
    """The sizes, and the seeds that all of them have, of which there are most runs; of equals, that of more sizes."""
    counts = range(len(paired), 0, -1)
    blocks = [
        (sizes, set.intersection(*(paired[size] for size in sizes)))
        for sizes in itertools.chain.from_iterable(itertools.combinations(paired, count) for count in counts)
    ]
    return max(blocks, key=lambda block: len(block[0]) * len(block[1]), default=((), set()))


@dataclasses.dataclass(frozen=True, eq=False)
class Efficiency:
    """What a sweep comes to, in one metric. Accuracies are fractions."""

    sweep: Sweep
    metric: Metric
    estimates: pd.DataFrame
    """An `Estimate` of each size (index) and model (columns); with both, of the `difference` CNN minus ViT, paired by
    seed, too."""
    crossover: Crossover | None
    """None with one model or one size."""
    power_law: dict[ModelName, PowerLaw]
    """Of the test error; empty below three sizes, or where a model makes no error."""

    @property
    def difference(self) -> list[Estimate]:
        """CNN minus ViT at each size; empty with one model."""
        return list(self.estimates.get("difference", ()))

    def leader_at(self, place: int) -> ModelName | None:
        """Who is ahead at a size: beside other sizes only if it is shown for all of them together."""
        found = self.difference[place]
        if self.crossover is None or found.interval is None:
            return leader(found)
        return self.crossover.leads[place]


def analyse(sweep: Sweep, metric: Metric = "best") -> Efficiency:
    """Means, paired differences, crossover and power laws."""
    values, sizes = sweep.values(metric), sweep.sizes
    estimates: dict[str, list[Estimate]] = {
        model: [estimate_fraction(column.tolist()) for column in table.T] for model, table in values.items()
    }
    errors = {model: 1 - table for model, table in values.items()}
    fitted = len(sizes) >= 3 and all((table > 0).all() for table in errors.values())
    laws = {model: fit_power_law(sizes, table) for model, table in errors.items()} if fitted else {}
    crossover = None
    if len(values) > 1:
        differences = values["cnn"] - values["vit"]
        estimates["difference"] = [estimate(column.tolist()) for column in differences.T]
    if len(values) > 1 and len(sizes) > 1:
        # Half a wrong image more in one image more: an error of 0 has no logarithm.
        images = sweep.first.test_images
        counted = {model: (images * table + 0.5) / (images + 1) for model, table in errors.items()}
        crossover = crossover_size(sizes, counted["cnn"], counted["vit"])
    return Efficiency(sweep, metric, pd.DataFrame(estimates, index=sizes), crossover, laws)


@dataclasses.dataclass(frozen=True)
class Gains:
    """What more images bring, with as many epochs and with as many optimiser steps at both sizes."""

    few: int
    many: int
    """Training images."""
    of_model: dict[ModelName, tuple[Estimate, Estimate]]
    """Best accuracy at `many` less that at `few`, a fraction, paired by seed: of equal epochs, of equal steps."""


def compare_gains(sweeps: Sequence[Sweep]) -> Gains | None:
    """Of the first sweep and the first one of the other budget with the same subsets, over the sizes of both; None
    without two such."""
    first = sweeps[0]

    def budget(sweep: Sweep) -> tuple[str, bool]:
        return sweep.first.config.data.subsets, sweep.first.config.epoch_images is not None

    subsets, equal_steps = budget(first)
    other = next((one for one in sweeps if budget(one) == (subsets, not equal_steps)), None)
    sizes = sorted({*first.sizes} & {*other.sizes}) if other else []
    if not other or len(sizes) < 2:
        return None
    few, many = sizes[0], sizes[-1]
    pair = (other, first) if equal_steps else (first, other)

    def gain(model: ModelName) -> tuple[Estimate, Estimate]:
        values = [pd.DataFrame(one.values("best")[model], columns=one.sizes) for one in pair]
        of_epochs, of_steps = (estimate((table[many] - table[few]).tolist()) for table in values)
        return of_epochs, of_steps

    return Gains(few, many, {model: gain(model) for model in first.models if model in other.models})


def summarise_sweep(sweep: Sweep) -> dict[str, Any]:
    """The numbers of a sweep: `summary.json`. Accuracies and differences are fractions, times seconds; leads are in the
    order of the sizes looked at, and a change is the two sizes that it lies between, and the new leader."""
    config, seconds = sweep.first.config, sweep.seconds.reindex(index=sweep.sizes, columns=sweep.models)
    summary = {
        "dataset": sweep.first.dataset,
        "epochs": config.training.epochs,
        "epoch_images": config.epoch_images,
        "subsets": config.data.subsets,
        "sizes": sweep.sizes,
        "seeds": sweep.seeds,
        "left_out": sweep.left_out.to_dict("records"),
        "training_time_s": seconds.to_dict(),
    }
    for metric, found in sweep.analyses.items():
        summary[metric] = {
            "accuracy": {model: found.estimates[model].to_dict() for model in sweep.models},
            "difference": found.estimates.get("difference", pd.Series(dtype=object)).to_dict(),
            "crossover": found.crossover,
            "power_law": found.power_law,
        }
    return plain(summary)
