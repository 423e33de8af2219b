"""Training runs as a data frame, a row a run and epoch: what every comparison of runs is computed from."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from jaxcompare.config import UNWRITTEN, RunConfig
from jaxcompare.records import History, RunRecord

RUN: dict[str, Callable[[RunRecord], Any]] = {
    "experiment": lambda r: r.experiment,
    "framework": lambda r: r.config.framework,
    "model": lambda r: r.config.model,
    "engine": lambda r: r.config.execution.engine,
    "input": lambda r: r.config.execution.input,
    "precision": lambda r: r.config.execution.precision,
    "seed": lambda r: r.config.training.seed,
    "batch_size": lambda r: r.config.training.batch_size,
    "epochs": lambda r: r.config.training.epochs,
    "status": lambda r: r.status,
    "params": lambda r: r.params,
    "train_images": lambda r: r.train_images,
    "test_images": lambda r: r.test_images,
    "num_classes": lambda r: r.num_classes,
    "shown_images": lambda r: r.config.epoch_images or r.train_images,
    "dataset": lambda r: r.dataset_title,
    "data_fingerprint": lambda r: r.data_fingerprint,
    "compile_time_s": lambda r: r.compile_time_s,
    "compiled": lambda r: r.compiled,
    "shared_by": lambda r: r.execution.get("seeds", 1),
    "devices": lambda r: r.execution.get("devices", 1),
    "processes": lambda r: r.execution.get("processes", 1),
    "cpu": lambda r: r.environment["cpu"],
    "cpu_cores": lambda r: r.environment["cpu_cores"],
    "device": lambda r: r.environment["device"],
    "jax": lambda r: r.environment["versions"].get("jax"),
    "skipped_images": lambda r: len(r.execution.get("skipped_images", ())),
    "first_of_epochs": lambda r: r.execution.get("first_of_epochs"),
    "git_commit": lambda r: r.git_commit,
    "started_at": lambda r: r.started_at,
    "config": lambda r: r.config,
    "environment": lambda r: r.environment,
    "prediction": lambda r: r.prediction,
}
"""What a run has one of, by column; the last three are objects."""

SERIES = ("epoch", *(field.name for field in dataclasses.fields(History)))
"""What it has one of an epoch."""


def to_frame(records: Sequence[RunRecord]) -> pd.DataFrame:
    """A row a run and epoch, in the order of the records; a run without an epoch has one row, of epoch 0 and NaN.

    Accuracies are fractions, times seconds; docs/records.md has every column. Times are those
    of `History.times_alone`, NaN where a run that was stopped went on with other devices.
    """
    rows: list[dict[str, Any]] = []
    for run, record in enumerate(records):
        constant = {"run": run, **{name: value(record) for name, value in RUN.items()}}
        series = vars(record.history) | {"epoch_time_s": _times(record)}
        epochs = [dict(zip(series, values, strict=True)) for values in zip(*series.values(), strict=True)]
        rows += [constant | {"epoch": i, **values} for i, values in enumerate(epochs, 1)] or [constant | {"epoch": 0}]
    return pd.DataFrame(rows, columns=["run", *RUN, *SERIES]).astype(dict.fromkeys(SERIES[1:], "float64"))


def _times(record: RunRecord) -> list[float]:
    """Of each epoch in seconds."""
    there = {"devices": RUN["devices"](record), "processes": RUN["processes"](record)}
    alone = record.history.times_alone(RUN["shared_by"](record))
    times = list(alone)
    for resumed in record.execution.get("resumed", []):
        after = resumed["after_epoch"]
        as_begun = all(resumed.get(name, value) == value for name, value in there.items())
        times[after:] = alone[after:] if as_begun else [math.nan] * len(alone[after:])
    return times


def per_run(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a run: what it has one of, and of its epochs how many there are, `best` and `final` test accuracy (the best
    is the recipe's: chosen on the test images, hence optimistic), the last one's `in_training`, the median
    `epoch_time_s` of those that have one (NaN: none has), and as many times that as there are epochs, `time_s`."""
    of = frame.groupby("run", sort=False)
    found = {
        "done": of.epoch.max(),
        "best": of.test_accuracy.max(),
        "final": of.test_accuracy.last(),
        "in_training": of.train_accuracy.last(),
        "epoch_time_s": of.epoch_time_s.median(),
    }
    found["time_s"] = found["done"] * found["epoch_time_s"]
    return frame.drop_duplicates("run").set_index("run").drop(columns=list(SERIES)).assign(**found)


def recipe_of(config: RunConfig, fingerprint: str) -> Mapping[str, object]:
    """What decides a run's numbers, but for the model, the framework and the seed. The fingerprint has which images;
    how many processes prepare them changes none."""
    values = dataclasses.asdict(config)
    execution = {name: values["execution"][name] for name in ("input", "precision")}
    recipe = {"images": fingerprint, "epoch_images": config.epoch_images}
    recipe |= values["training"] | values["data"] | execution
    return {name: value for name, value in recipe.items() if name not in (*UNWRITTEN, "workers", "seed")}
