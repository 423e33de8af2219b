"""The commands that would train saved runs again: rebuilt from their records."""

import dataclasses
import shlex
from collections.abc import Sequence
from typing import Any

from jaxcompare.config import DataConfig, ExecutionConfig, TrainingConfig
from jaxcompare.records import RunRecord

STATED = ("dataset", "data_dir", "skip_bad_images", "train_size", "epochs", "seed")
"""Fields whose flags a command always holds, or never."""


def rebuild_commands(records: Sequence[RunRecord]) -> list[str]:
    """A command line for each unbroken range of seeds of one experiment's records; DIR stands for the images' place."""
    if not records:
        return []
    script, config = records[0].experiment, records[0].config
    words = ["python", f"experiments/{script}.py"]
    words += ["--dataset", config.data.dataset, *(["--data-dir", "DIR"] if config.data.dataset == "folder" else [])]
    words += ["--skip-bad-images"] if any(record.execution.get("skipped_images") for record in records) else []
    # Under a budget of steps the largest size decides the images per epoch, whether or not its own runs are here.
    sizes = sorted({*(record.train_images for record in records), *filter(None, [config.epoch_images])})
    if script == "data_efficiency":
        words += ["--sizes", *map(str, sizes)]
        words += ["--budget", "steps"] if config.epoch_images else []
    else:
        words += ["--train-size", str(config.data.train_size)] if config.data.train_size else []
    models = list(dict.fromkeys(record.config.model for record in records))
    if script != "framework_agreement" and len(models) == 1:
        words += ["--models", *models]
    words += ["--epochs", str(config.training.epochs)]
    # Without a size nothing is drawn, and the agreement draws independently unless told otherwise.
    drawn = config.data.train_size and script != "framework_agreement"
    default = DataConfig() if drawn else DataConfig(subsets="independent")
    words += _changed(config.data, default) + _changed(config.training, TrainingConfig())
    if script != "framework_agreement":
        words += _changed(config.execution, ExecutionConfig())
    return [
        shlex.join([*words, "--seed", str(first), "--seeds", str(count)])
        for first, count in _ranges(sorted({record.config.training.seed for record in records}))
    ]


def _changed(config: Any, default: Any) -> list[str]:
    """Flags of what differs from the default."""
    words = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != getattr(default, field.name) and field.name not in STATED:
            words += [f"--{field.name.replace('_', '-')}", str(value)]
    return words


def _ranges(seeds: Sequence[int]) -> list[tuple[int, int]]:
    """First and count of each run of consecutive numbers."""
    ranges: list[tuple[int, int]] = []
    for seed in seeds:
        if ranges and seed == sum(ranges[-1]):
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + 1)
        else:
            ranges.append((seed, 1))
    return ranges
