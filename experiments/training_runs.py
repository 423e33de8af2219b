"""What experiments that train in JAX share: the machine described, runs with progress, records after every epoch."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import console
import guard
import peers
from jaxcompare.config import InputError, RunConfig
from jaxcompare.records import Experiment, Prediction
from progress import ProgressBar

if TYPE_CHECKING:
    from rich.console import Console

    from jaxcompare.data.split import Dataset
    from jaxcompare.records import RunRecord
    from jaxcompare.training.step import Params


@dataclasses.dataclass(frozen=True)
class Keep:
    """What is kept of a run beside its record."""

    checkpoint_every: float = 60
    """Seconds between checkpoints, 0 or more, which are written at the end of an epoch (0: of each); from the last one
    a run that was stopped goes on."""
    keep_weights: bool = True
    """Keep the parameters that each run ends with, in OUT/weights/, 3 MB a run."""
    fresh: bool = False
    """Move what OUT holds to a folder beside it, OUT.1 or the next that is free, and begin anew."""
    log_dir: Path | None = None
    """Folder for a CSV of each run that is trained, a row an epoch, written after every epoch: loss, accuracies,
    seconds (docs/records.md)."""

    def __post_init__(self) -> None:
        if not 0 <= self.checkpoint_every < math.inf:
            raise InputError(
                f"--checkpoint-every: must be a finite number of at least 0, not {self.checkpoint_every:g}"
            )


def describe(screen: "Console", environment: dict, seeds: Sequence[int]) -> None:
    """Device, memory, versions, seeds; a warning where there is no GPU."""
    from jaxcompare.report.text import cores_text

    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    cpu = f"{cores_text(environment)}, {environment['memory_gib']} GiB"
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
    keep: "Keep",
    prediction: Prediction | None = None,
) -> list["RunRecord"]:
    """The runs of one model and size, in one program, with a progress bar; their records are on disk after every epoch.

    Runs found complete in `path` are not repeated.

    Raises:
        InputError: there is something to train, and `path` holds complete runs of another commit.
    """
    import jax

    from jaxcompare.records import complete_runs, save_records
    from jaxcompare.report.text import LABELS
    from jaxcompare.training.checkpoints import Checkpoints
    from jaxcompare.training.fit import fit_seeds
    from jaxcompare.training.weights import save_weights, weights_path

    size, epochs = config.data.train_size, config.training.epochs
    label = LABELS[config.model] + (f" {size:,} images" if size else "")
    complete = complete_runs(path)
    found = {seed: complete.get((experiment, config.with_seed(seed), dataset.fingerprint)) for seed in seeds}
    done = [seed for seed, record in found.items() if record]
    if done:
        screen.print(f"{label}, seed {', '.join(map(str, done))}: complete in {path}; not repeated", markup=False)
    missing = [seed for seed in seeds if seed not in done]
    # A process may have been killed between the last record and this.
    for first in range(0 if missing else len(seeds)):
        Checkpoints(checkpoints_of(path, config, seeds[first:], dataset.fingerprint)).remove()
    records: list[RunRecord] = []
    if missing:
        check_one_commit(path)
        if keep.log_dir:
            console.check_writable(keep.log_dir, "--log-dir")
        checkpoints = Checkpoints(checkpoints_of(path, config, missing, dataset.fingerprint), keep.checkpoint_every)
        shown = config.epoch_images or size or len(dataset.train)
        with ProgressBar(screen, label, epochs, -(-shown // config.training.batch_size)) as progress:

            def on_epoch(so_far: list["RunRecord"]) -> None:
                nonlocal records
                records = [dataclasses.replace(r, experiment=experiment, prediction=prediction) for r in so_far]
                save_records(path, records)
                if keep.log_dir:
                    write_logs(keep.log_dir, records)
                progress.show_epoch(records)

            def on_end(ended: list["RunRecord"], params: "Params") -> list["RunRecord"]:
                for index, record in enumerate(ended if keep.keep_weights else ()):
                    own = jax.tree.map(lambda stacked, index=index: stacked[index], params)
                    digest = save_weights(weights_path(path.parent, record), own)
                    ended[index] = dataclasses.replace(record, execution=record.execution | {"weights": digest})
                return ended

            try:
                fit_seeds(
                    config,
                    dataset,
                    missing,
                    on_epoch=on_epoch,
                    on_step=progress.show_step,
                    on_end=on_end,
                    checkpoints=checkpoints,
                )
            except (Exception, KeyboardInterrupt) as error:
                if by_user := isinstance(error, KeyboardInterrupt):
                    guard.hold_interrupts()
                message = peers.why(error) or ("interrupted by the user" if by_user else str(error))
                running = [r for r in records if r.status == "running"]
                if running:
                    checkpoints.flush()
                    save_records(path, [dataclasses.replace(r, status="interrupted", message=message) for r in running])
                    screen.print(f"{label}: kept in {path.parent}; the same command goes on from here", markup=False)
                raise
        checkpoints.remove()
    for record in records:
        if record.status == "diverged":
            message = f"{label}, seed {record.config.training.seed} stopped: {record.message}"
            screen.print(message, style="red", markup=False)
    trained = {record.config.training.seed: record for record in records}
    return [found[seed] or trained[seed] for seed in seeds]


def write_logs(folder: Path, records: Sequence["RunRecord"]) -> None:
    """Each run so far as CSV, named as its weights are."""
    from jaxcompare.lines import write_atomically
    from jaxcompare.run_frame import SERIES, to_frame
    from jaxcompare.training.weights import weights_path

    for record in records:
        frame = to_frame([record])[["model", "train_images", "seed", *SERIES]]
        path = folder / weights_path(folder, record).with_suffix(".csv").name
        write_atomically(path, frame.to_csv(index=False, lineterminator="\n"))


def checkpoints_of(path: Path, config: RunConfig, seeds: Sequence[int], fingerprint: str) -> Path:
    """The folder of a program's checkpoints: another config, other seeds or other images have another."""
    values = dataclasses.asdict(
        dataclasses.replace(
            config,
            data=dataclasses.replace(config.data, data_dir=Path(), skip_bad_images=False),
            execution=dataclasses.replace(config.execution, devices=None),
        )
    )
    text = json.dumps([values, list(seeds), fingerprint], default=str, sort_keys=True)
    name = f"{config.model}-{config.data.train_size or 'all'}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return path.parent / "checkpoints" / name


def check_one_commit(path: Path) -> None:
    """Refuse to add runs to a file of complete ones that another commit trained: they could not stand side by side."""
    from jaxcompare.measure.environment import git_commit
    from jaxcompare.records import load_records

    for record in load_records(path) if path.exists() else []:
        if record.status == "complete" and record.git_commit != git_commit():
            raise InputError(
                f"--out: {path} holds runs of commit {record.git_commit}, this is {git_commit()}; "
                "give another --out, or go back to that commit"
            )


def start_records(
    path: Path,
    experiment: Experiment,
    config: RunConfig,
    fingerprint: str,
    *but: str,
    fresh: bool = False,
    into: Path | None = None,
) -> None:
    """Refuse a file of records that holds another experiment's runs, or this one's of another recipe: no report could
    be made of both. What is named in `but` may differ between the runs of the experiment.

    Args:
        fresh: what the folder holds moves aside instead: nothing is left to refuse the work for.
        into: a file that these records are to be merged into, of which the same holds.
    """
    peers.agree({"images": fingerprint, "execution": str(config.execution)}, peers.READ_S)
    if fresh:
        console.move_aside(path.parent)
    from jaxcompare.analysis.comparison import differing
    from jaxcompare.records import load_records
    from jaxcompare.run_frame import recipe_of

    asked = recipe_of(config, fingerprint)
    for file in filter(None, (path, into)):
        for record in load_records(file) if file.exists() else []:
            if record.experiment != experiment:
                raise InputError(f"--out: {file} holds runs of {record.experiment}; give another --out")
            if found := differing(recipe_of(record.config, record.data_fingerprint), asked, *but):
                of_name = "{} is {}, here it is {}".format(*found)
                raise InputError(f"--out: {file} holds runs whose {of_name}; give another --out")


def check_converged(records: Sequence["RunRecord"], path: Path) -> None:
    """Raise InputError, after everything is saved, if a run's loss did not stay finite."""
    for record in records:
        if record.status == "diverged":
            raise InputError(f"{record.config.model}: {record.message}; its record is kept in {path}")
