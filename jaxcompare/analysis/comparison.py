"""Runs beside each other: which may be compared, and what a full comparison comes to."""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxcompare.config import InputError, ModelName
from jaxcompare.records import RunRecord


def by_model(records: Sequence[RunRecord]) -> dict[ModelName, list[RunRecord]]:
    """Records by model, in their order."""
    grouped: dict[ModelName, list[RunRecord]] = {}
    for record in records:
        grouped.setdefault(record.config.model, []).append(record)
    return grouped


def mean(values: Iterable[float]) -> float:
    """Mean over seeds; NaN if a value is missing."""
    return statistics.fmean(values)


def finite(value: float) -> float | None:
    """As JSON has it: None for what was not measured."""
    return value if math.isfinite(value) else None


def check_comparable(records: Sequence[RunRecord]) -> None:
    """Raise InputError, naming what differs, unless the records are one comparison: one recipe, the same seeds for
    each model, each once."""
    check_one_recipe(records)
    seeds = {model: [r.config.training.seed for r in runs] for model, runs in by_model(records).items()}
    for model, of_model in seeds.items():
        if len(set(of_model)) < len(of_model):
            raise InputError(f"several runs of {model} from one seed; use one --out for each comparison")
        if sorted(of_model) != sorted(next(iter(seeds.values()))):
            raise InputError(f"runs of different recipes: seeds are {seeds}; train the missing ones")


def check_one_recipe(records: Sequence[RunRecord], *but: str) -> None:
    """Raise InputError, naming what differs, unless all records share everything that decides a run's numbers: all but
    the model, the framework, the seed, and the fields named in `but`."""
    recipes = [{name: value for name, value in _recipe(record).items() if name not in but} for record in records]
    for other in recipes[1:]:
        for name, value in other.items():
            if value != recipes[0][name]:
                raise InputError(f"runs of different recipes: {name} is {recipes[0][name]} in one, {value} in another")


def _recipe(record: RunRecord) -> Mapping[str, object]:
    config = dataclasses.asdict(record.config)
    execution = {name: config["execution"][name] for name in ("input", "precision")}
    recipe = {"images": record.data_fingerprint} | config["training"] | config["data"] | execution
    # Where images lie and how many processes prepare them changes no number; the seed is no part of a recipe.
    return {name: value for name, value in recipe.items() if name not in ("data_dir", "workers", "seed")}


def executed_alike(records: Sequence[RunRecord]) -> bool:
    """Whether the times of runs can stand beside each other: one engine, one machine, as many seeds in a program."""
    ways = {
        (
            r.config.execution.engine,
            r.execution.get("seeds", 1),
            r.execution.get("devices", 1),
            *(r.environment[name] for name in ("cpu", "cpu_cores", "device")),
        )
        for r in records
    }
    return len(ways) == 1


def summarise(records: Sequence[RunRecord]) -> dict[str, Any]:
    """What a full comparison comes to, by model: `summary.json`. Accuracies are fractions, means over seeds; None:
    nothing was measured."""
    return {
        "models": {
            model: {
                "params": runs[0].params,
                "best_test_accuracy": finite(mean(r.best_test_accuracy for r in runs)),
                "final_test_accuracy": finite(mean(r.final_test_accuracy for r in runs)),
                "epoch_time_s": finite(mean(r.epoch_time_s for r in runs)),
                "compile_time_s": finite(mean(r.compile_time_s for r in runs)),
                "compiled": runs[0].compiled,
                "epochs": min(len(r.history.test_accuracy) for r in runs),
                "status": next((r.status for r in runs if r.status != "complete"), "complete"),
                "seeds": {str(r.config.training.seed): finite(r.best_test_accuracy) for r in runs},
            }
            for model, runs in by_model(records).items()
        },
        "dataset": records[0].dataset_title if records else None,
        "train_images": records[0].train_images if records else None,
    }
