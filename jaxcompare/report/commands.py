"""The commands that would measure again what a report holds: rebuilt from its records."""

import dataclasses
import shlex
from typing import Any

import pandas as pd

from jaxcompare.analysis.speed_study import SpeedStudy
from jaxcompare.config import DataConfig, ExecutionConfig, TrainingConfig

ALWAYS_NAMED = ("dataset", "data_dir", "skip_bad_images", "train_size", "epochs", "seed")
"""Fields whose flags a command always holds, or never."""


def training_commands(runs: pd.DataFrame, comparison: str = "runs/full_comparison") -> list[str]:
    """A command line for each unbroken range of seeds of one experiment's runs; DIR stands for the images' place.

    Args:
        comparison: the folder of longer runs, of which a sweep's may be the beginning.
    """
    script, config = runs.experiment.iloc[0], runs.config.iloc[0]
    words = ["python", f"experiments/{script}.py"]
    words += ["--dataset", config.data.dataset, *(["--data-dir", "DIR"] if config.data.dataset == "folder" else [])]
    words += ["--skip-bad-images"] if runs.skipped_images.any() else []
    # Under a budget of steps the largest size decides the images per epoch, whether or not its own runs are here.
    sizes = sorted({*runs.train_images, *filter(None, [config.epoch_images])})
    if script == "data_efficiency":
        words += ["--sizes", *map(str, sizes), *(["--budget", "steps"] if config.epoch_images else [])]
    elif config.data.train_size or script == "framework_agreement":
        words += ["--train-size", str(config.data.train_size)]
    if runs.model.nunique() == 1:
        words += ["--models", runs.model.iloc[0]]
    words += ["--epochs", str(config.training.epochs)]
    words += ["--reuse", comparison] if runs.first_of_epochs.notna().any() else []
    # Without a size nothing is drawn, and the agreement draws independently unless asked otherwise.
    drawn = config.data.train_size and script != "framework_agreement"
    default = DataConfig() if drawn else DataConfig(subsets="independent")
    words += _changed(config.data, default) + _changed(config.training, TrainingConfig())
    if script != "framework_agreement":
        words += _changed(config.execution, ExecutionConfig())
    seeds = pd.Series(sorted(runs.seed.unique()))
    # What goes up by 1 like its place is one range.
    ranges = seeds.groupby(seeds - seeds.index)
    return [shlex.join([*words, "--seed", str(of.min()), "--seeds", str(len(of))]) for _, of in ranges]


def _changed(config: Any, default: Any) -> list[str]:
    """Flags of what differs from the default."""
    words = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != getattr(default, field.name) and field.name not in ALWAYS_NAMED:
            words += [f"--{field.name.replace('_', '-')}", str(value)]
    return words


def speed_commands(study: SpeedStudy) -> list[str]:
    """Each study in a folder of its own: one folder holds one measurement."""
    frames = {"": study.frame, "_again": study.again, "_malloc": study.other_malloc}
    return [
        f"{command} --out runs/training_speed{name}"
        for name, frame in frames.items()
        if len(frame)
        for command in frame.command.unique()
    ]
