"""What experiments that train in JAX share: the machine described, runs with progress, records after every epoch."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxcompare.config import InputError, RunConfig
from jaxcompare.records import Experiment, Prediction

if TYPE_CHECKING:
    from rich.console import Console

    from jaxcompare.data.split import Dataset
    from jaxcompare.records import RunRecord


def describe(screen: "Console", environment: dict, seeds: Sequence[int]) -> None:
    """Device, memory, versions, seeds; a warning where there is no GPU."""
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    cpu = f"{environment['cpu']}, {environment['cpu_cores']} cores, {environment['memory_gib']} GiB"
    gpu = "" if environment["backend"] == "cpu" else f"{environment['devices']} x {environment['device']}, "
    screen.print(f"[bold]Machine[/]   {gpu}{cpu}")
    screen.print(f"[bold]Versions[/]  python {environment['python']}, {versions}")
    screen.print(f"[bold]Seed[/]      {', '.join(map(str, seeds))}")
    if environment["backend"] == "cpu":
        screen.print("[yellow]No GPU: this runs on the CPU. `python -m jaxcompare` says whether one could be used.[/]")


def train(
    screen: "Console",
    experiment: Experiment,
    config: RunConfig,
    seeds: Sequence[int],
    dataset: "Dataset",
    path: Path,
    prediction: Prediction | None = None,
) -> list["RunRecord"]:
    """The runs of one model and size, in one program, with a progress bar; their records are on disk after every epoch.

    Runs found complete in `path` are not repeated.

    Raises:
        InputError: there is something to train, and `path` holds complete runs of another commit.
    """
    from jaxcompare.records import find_complete, save_records
    from jaxcompare.report.text import LABELS
    from jaxcompare.training.fit import fit_seeds

    size, epochs = config.data.train_size, config.training.epochs
    label = LABELS[config.model] + (f" {size:,} images" if size else "")
    found = {seed: find_complete(path, experiment, config.with_seed(seed), dataset.fingerprint) for seed in seeds}
    done = [seed for seed, record in found.items() if record]
    if done:
        screen.print(f"{label}, seed {', '.join(map(str, done))}: complete in {path}; not repeated")
    missing = [seed for seed in seeds if seed not in done]
    records: list[RunRecord] = []
    if missing:
        _check_one_commit(path)
        shown = config.epoch_images or size or len(dataset.train)
        with Training(screen, label, epochs, -(-shown // config.training.batch_size)) as progress:

            def on_epoch(so_far: list["RunRecord"]) -> None:
                nonlocal records
                records = [dataclasses.replace(r, experiment=experiment, prediction=prediction) for r in so_far]
                save_records(path, records)
                progress.show_epoch(records)

            try:
                fit_seeds(config, dataset, missing, on_epoch=on_epoch, on_step=progress.show_step)
            except KeyboardInterrupt:
                running = [r for r in records if r.status == "running"]
                message = "interrupted by the user"
                if running:
                    stopped = [dataclasses.replace(r, status="interrupted", message=message) for r in running]
                    save_records(path, stopped)
                    screen.print(f"{label}: the history so far is kept in {path}; the same command begins anew")
                raise
    for record in records:
        if record.status == "diverged":
            screen.print(f"[red]{label}, seed {record.config.training.seed} stopped: {record.message}[/]")
    trained = {record.config.training.seed: record for record in records}
    return [found[seed] or trained[seed] for seed in seeds]


def _check_one_commit(path: Path) -> None:
    """Refuse to add runs to a file of complete ones that another commit trained: they could not stand side by side."""
    from jaxcompare.measure.environment import git_commit
    from jaxcompare.records import load_records

    for record in load_records(path) if path.exists() else []:
        if record.status == "complete" and record.git_commit != git_commit():
            raise InputError(
                f"--out: {path} holds runs of commit {record.git_commit}, this is {git_commit()}; "
                "give another --out, or go back to that commit"
            )


class Training:
    """The progress bar of one model's runs, and a line for each epoch."""

    def __init__(self, screen: "Console", label: str, epochs: int, batches: int):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("batches"))
        self._bar = Progress(*columns, TimeRemainingColumn(), console=screen, transient=True, refresh_per_second=2)
        self._label, self._epochs, self._batches, self._epoch = label, epochs, batches, 0
        self._task = self._bar.add_task(f"{label} compiling", total=epochs * batches)

    def show_step(self, done: int) -> None:
        description = f"{self._label} epoch {self._epoch + 1}/{self._epochs}"
        self._bar.update(self._task, completed=self._epoch * self._batches + done, description=description)

    def show_epoch(self, records: Sequence["RunRecord"]) -> None:
        """Of several seeds, their mean."""
        from statistics import fmean

        if not self._epoch:
            compile_time_s, compiled = records[0].compile_time_s, records[0].compiled
            self._bar.console.print(f"{self._label} compiled in {compile_time_s:.1f} s ({compiled} cache)")
        self._epoch += 1
        last = {name: fmean(getattr(r.history, name)[-1] for r in records) for name in vars(records[0].history)}
        self._bar.console.print(
            f"{self._label} epoch {self._epoch:>{len(str(self._epochs))}}/{self._epochs}  "
            f"loss {last['train_loss']:.4f}  train {100 * last['train_accuracy']:5.2f} %  "
            f"test {100 * last['test_accuracy']:5.2f} %  {last['epoch_time_s'] * len(records):.1f} s"
        )

    def __enter__(self) -> "Training":
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()


def check_folder(path: Path, experiment: Experiment, config: RunConfig, fingerprint: str, *but: str) -> None:
    """Refuse a file of records that holds another experiment's runs, or this one's of another recipe: no report could
    be made of both. What is named in `but` may differ between the runs of the experiment.
    """
    from jaxcompare.analysis.comparison import differing
    from jaxcompare.records import load_records
    from jaxcompare.run_frame import recipe_of

    asked = recipe_of(config, fingerprint)
    for record in load_records(path) if path.exists() else []:
        if record.experiment != experiment:
            raise InputError(f"--out: {path} holds runs of {record.experiment}; give another --out")
        if found := differing(recipe_of(record.config, record.data_fingerprint), asked, *but):
            name, there, here = found
            raise InputError(f"--out: {path} holds runs whose {name} is {there}, here it is {here}; give another --out")


def check_converged(records: Sequence["RunRecord"], path: Path) -> None:
    """Raise InputError, after everything is saved, if a run's loss did not stay finite."""
    for record in records:
        if record.status == "diverged":
            raise InputError(f"{record.config.model}: {record.message}; its record is kept in {path}")
