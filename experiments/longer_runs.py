"""Runs that need no training: a longer one of the same config passed through them.

The learning rate is constant, and nothing that is drawn depends on the number of epochs: the first epochs of a longer
run are a shorter one's.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxcompare.config import InputError, RunConfig
from jaxcompare.records import Experiment

if TYPE_CHECKING:
    from jaxcompare.data.split import Dataset
    from jaxcompare.records import RunRecord


def check(folders: Sequence[Path], *, several: bool) -> None:
    """Refuse folders without records, and more than one process, of which each would have to read them."""
    if folders and several:
        raise InputError("--reuse: goes with a run of one process; leave it out")
    for folder in folders:
        if not (folder / "runs.jsonl").is_file():
            raise InputError(f"--reuse: {folder} holds no runs.jsonl; give a folder that an experiment wrote")


def take(
    folders: Sequence[Path],
    path: Path,
    experiment: Experiment,
    config: RunConfig,
    seeds: Sequence[int],
    dataset: "Dataset",
) -> None:
    """Add to `path`, of each seed that it lacks, the run of `config` through which one of the folders' runs passed."""
    from jaxcompare.records import find_complete, load_records, save_records

    images, epochs = len(dataset.train), config.training.epochs
    lacking = [
        own for own in map(config.with_seed, seeds) if not find_complete(path, experiment, own, dataset.fingerprint)
    ]
    wanted = {_of_any_length(own, images): own for own in lacking}
    taken: list[RunRecord] = []
    for record in (record for folder in folders for record in load_records(folder / "runs.jsonl")):
        own = wanted.get(_of_any_length(record.config, images))
        if own and record.data_fingerprint == dataset.fingerprint and len(record.history.train_loss) > epochs:
            taken.append(_first_epochs(record, own, experiment))
    if taken:
        save_records(path, taken)


def _of_any_length(config: RunConfig, images: int) -> RunConfig:
    """What two runs share of which one passes through the other. All images are one subset, however they are named."""
    data = config.data
    if data.train_size in (None, images):
        data = dataclasses.replace(data, train_size=None, subsets="independent")
    return dataclasses.replace(config, data=data, training=dataclasses.replace(config.training, epochs=1))


def _first_epochs(record: "RunRecord", config: RunConfig, experiment: Experiment) -> "RunRecord":
    """A longer run's record as it was after `config`'s epochs. Its weights are of a later one."""
    epochs = config.training.epochs
    series = dataclasses.asdict(record.history).items()
    history = dataclasses.replace(record.history, **{name: values[:epochs] for name, values in series})
    execution = {name: value for name, value in record.execution.items() if name != "weights"}
    if resumed := [each for each in execution.pop("resumed", []) if each["after_epoch"] < epochs]:
        execution["resumed"] = resumed
    execution["first_of_epochs"] = record.config.training.epochs
    return dataclasses.replace(
        record,
        config=config,
        status="complete",
        message="",
        history=history,
        execution=execution,
        experiment=experiment,
        prediction=None,
    )
