"""Runs that need no training: a longer one of the same config passed through them.

The learning rate is constant, and nothing that is drawn depends on the number of epochs: the first epochs of a longer
run are a shorter one's.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import training_runs
from jaxcompare.config import InputError, RunConfig
from jaxcompare.records import Experiment

if TYPE_CHECKING:
    from rich.console import Console

    import grid
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
    screen: "Console",
    folders: Sequence[Path],
    path: Path,
    experiment: Experiment,
    programs: "Sequence[grid.Program]",
    dataset: "Dataset",
) -> None:
    """Add to `path` the programs' runs that it lacks and that one of the folders' runs passed through. A program that
    was stopped goes on instead.

    Raises:
        InputError: another commit trained them, and this one has to train others beside them.
    """
    if not folders:
        return
    from jaxcompare.measure.environment import git_commit
    from jaxcompare.records import complete_runs, load_records, save_records

    missing, wanted, images = 0, dict[RunConfig, RunConfig](), len(dataset.train)
    done = complete_runs(path)
    for config, seeds in programs:
        runs = {seed: config.with_seed(seed) for seed in seeds}
        runs = {seed: run for seed, run in runs.items() if (experiment, run, dataset.fingerprint) not in done}
        missing += len(runs)
        if not training_runs.checkpoints_of(path, config, list(runs), dataset.fingerprint).exists():
            wanted |= {_of_any_length(run, images): run for run in runs.values()}
    taken: dict[RunConfig, RunRecord] = {}
    for folder in folders:
        before = len(taken)
        for record in load_records(folder / "runs.jsonl"):
            run = wanted.get(_of_any_length(record.config, images))
            longer = run and len(record.history.train_loss) > run.training.epochs
            if longer and record.data_fingerprint == dataset.fingerprint:
                taken.setdefault(run, _first_epochs(record, run, experiment))
        screen.print(f"Taken from {folder}: {len(taken) - before} of {missing} runs", markup=False)
    others = {record.git_commit for record in taken.values()} - {git_commit()}
    if others and len(taken) < missing:
        raise InputError(
            f"--reuse: runs of commit {others.pop()} cannot stand beside {missing - len(taken)} to be trained by "
            f"{git_commit()}; leave it out, or go back to that commit"
        )
    if taken:
        save_records(path, list(taken.values()))


def _of_any_length(config: RunConfig, images: int) -> RunConfig:
    """All that decides a run's numbers but its length. All images are one subset, however they are named."""
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
    execution.setdefault("first_of_epochs", record.config.training.epochs)
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
