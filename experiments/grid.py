"""An experiment as a list of independent jobs: their names, flags and records.

A job is one program of the experiment: the plain command's, with a name that stays, in a folder of its own,
OUT/jobs/NAME. It goes on from its checkpoint, and what is complete is not repeated. Then OUT holds what the plain
command would have written.
"""

import dataclasses
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import console
import jobs
import training_runs
from jaxcompare.config import InputError, RunConfig

if TYPE_CHECKING:
    from jaxcompare.records import Experiment, RunRecord


TIME_LIMIT_MIN = 60


@dataclasses.dataclass(frozen=True)
class Grid:
    """The experiment as independent jobs (docs/clusters.md)."""

    list_jobs: bool = False
    """Print the jobs' names, one a line, and run nothing."""
    job: str | None = None
    """Run this one alone, in OUT/jobs/JOB."""
    executor: jobs.Executor | None = None
    """Run all of them, as processes here or as a Slurm array, then merge their records into OUT. Needs
    pip install -e ".[grid]"."""
    seeds_per_job: int | None = None
    """How many of its seeds a job trains, 1 or more; by default all, as the plain command does."""
    at_once: int | None = None
    """Jobs that run at the same time, 1 or more. By default here one for each GPU, or one; of Slurm as many as it
    runs."""
    time_limit: int | None = None
    """Minutes that Slurm gives a job, 5 or more, by default 60; one that needs more is put into the queue again, and
    goes on."""
    slurm: tuple[str, ...] = ()
    """More of sbatch's options, for example: partition=gpu gres=gpu:1 cpus-per-task=8."""

    def __post_init__(self) -> None:
        for flag, value in (("--at-once", self.at_once), ("--seeds-per-job", self.seeds_per_job)):
            if value is not None and value < 1:
                raise InputError(f"{flag}: must be at least 1, not {value}")
        if self.time_limit is not None and self.time_limit < 5:
            raise InputError(f"--time-limit: must be at least 5 minutes, not {self.time_limit}")
        for one in self.slurm:
            name, equals, value = one.partition("=")
            if not name or (equals and not value):
                raise InputError(f"--slurm {one}: give NAME=VALUE or NAME, for example partition=gpu")

    def folder_in(self, out: Path) -> Path:
        """Where this command writes: OUT, or the job's folder."""
        return out if self.job is None else folder_of(out, self.job)

    def merged_into(self, out: Path, *, several: bool) -> Path | None:
        """The runs that a job's, written to `out`, will stand among; None: this is no job, or one of several processes,
        which do not all see them."""
        return None if self.job is None or several else out.parents[1] / "runs.jsonl"


Program = tuple[RunConfig, list[int]]
"""What trains in one: a config, and its seeds."""


def list_programs(grid: Grid, configs: Sequence[RunConfig], seeds: list[int]) -> dict[str, Program]:
    """By name: the program of each job."""
    size, found = grid.seeds_per_job or len(seeds), {}
    for config in configs:
        name = f"{config.model}-{config.data.train_size or 'all'}"
        for own in (seeds[first : first + size] for first in range(0, len(seeds), size)):
            of_seeds = f"-seed{own[0]}" + (f"-{own[-1]}" if own[1:] else "")
            found[name + (of_seeds if grid.seeds_per_job else "")] = config, own
    return found


def choose_programs(grid: Grid, configs: Sequence[RunConfig], seeds: list[int]) -> list[Program]:
    """Those of this process: the plain command's, or the job's."""
    if grid.job is None:
        return [(config, seeds) for config in configs]
    return [list_programs(grid, configs, seeds)[grid.job]]


def take_complete(
    programs: Sequence[Program], experiment: "Experiment", images: str, path: Path, into: Path | None
) -> None:
    """Add to a job's records in `path` those of its runs that `into`, see `Grid.merged_into`, has complete.

    Raises:
        InputError: what is left to train would be merged with runs of another commit.
    """
    if into is None:
        return
    from jaxcompare.records import complete_runs, save_records

    there, own = complete_runs(into), complete_runs(path)
    runs = [(experiment, config.with_seed(seed), images) for config, seeds in programs for seed in seeds]
    if found := [there[run] for run in runs if run in there and run not in own]:
        save_records(path, found)
    if any(run not in there and run not in own for run in runs):
        training_runs.check_one_commit(into)


def folder_of(out: Path, name: str) -> Path:
    """A job's."""
    return out / "jobs" / name


class GridArgs(Protocol):
    """An experiment's flags."""

    @property
    def jobs(self) -> Grid: ...

    @property
    def out(self) -> Path: ...


Args = TypeVar("Args", bound=GridArgs)


def begin(
    args: Args,
    names: Sequence[str],
    holds: str,
    merge: Callable[[Args, Sequence[str]], None],
    *,
    alone: bool = False,
    several: bool = False,
) -> Args | None:
    """What the experiment is to go on with: its flags, or those of --job. None: the jobs were listed, or run and
    merged, and that is all.

    Args:
        names: of the jobs.
        holds: the experiment's own file of records.
        merge: brings what the jobs have left to OUT, and shows it.
        alone: each job needs a machine to itself.
        several: this is one of the processes of a run.

    Raises:
        InputError: --job is none of the jobs, some failed, or each of several processes would run them.
    """
    grid = args.jobs
    if grid.list_jobs:
        print("\n".join(names))
        return None
    if grid.job is not None:
        if grid.job not in names:
            raise InputError(f"--job {grid.job}: is none of this command's jobs: {', '.join(names)}")
        return dataclasses.replace(args, out=grid.folder_in(args.out))  # type: ignore[type-var]
    of_slurm = {"--time-limit": grid.time_limit, "--slurm": grid.slurm}
    of_jobs = {"--at-once": grid.at_once, "--seeds-per-job": grid.seeds_per_job, **of_slurm}
    if grid.executor is None:
        for flag in (flag for flag, value in of_jobs.items() if value):
            raise InputError(f"{flag}: is of jobs; give it with --executor")
        return args
    if grid.executor != "slurm":
        for flag in (flag for flag, value in of_slurm.items() if value):
            raise InputError(f"{flag}: give it with --executor slurm")
    if several:
        raise InputError("--executor: each process of this run would start the jobs; give it without the others")
    fresh = "--fresh" in sys.argv
    console.check_out(args.out, holds, fresh=fresh)
    starter, places = jobs.prepare(
        grid.executor,
        names,
        args.out,
        at_once=grid.at_once,
        time_limit=grid.time_limit or TIME_LIMIT_MIN,
        slurm=grid.slurm,
        alone=alone,
    )
    if fresh:
        console.move_aside(args.out)
    failed = jobs.follow(names, starter, places)
    try:
        merge(args, names)
    except InputError:
        if not failed:  # else what failed is why
            raise
    if failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise InputError(f"{len(failed)} of {len(names)} jobs failed ({reasons}); the same command tries them again")
    return None


def merge_runs(out: Path, names: Sequence[str]) -> list["RunRecord"]:
    """Bring the jobs' records and weights to OUT, each in place of what it has of the run, unless that alone is
    complete.

    Returns:
        All that OUT holds then.

    Raises:
        InputError: the jobs' complete runs are of several commits.
    """
    from jaxcompare.records import complete_runs, load_records, save_records

    folders, path = [folder_of(out, name) for name in names], out / "runs.jsonl"
    complete = complete_runs(path)
    of_jobs = [
        [run for run in load_records(file) if run.status == "complete" or run.identity not in complete]
        for folder in folders
        if (file := folder / "runs.jsonl").exists()
    ]
    asked = {run.identity for runs in of_jobs for run in runs}
    there = [run for run in load_records(path) if run.identity not in asked] if path.exists() else []
    commits = {str(run.git_commit) for runs in (*of_jobs, there) for run in runs if run.status == "complete"}
    if len(commits) > 1:
        of = f"{out} and its jobs hold runs of several commits: {', '.join(sorted(commits))}"
        raise InputError(f"--out: {of}; remove those of one, and the same command trains them anew")
    for runs in of_jobs:
        save_records(path, runs)
    for folder in folders:
        for weights in sorted((folder / "weights").glob("*.npz")):
            (out / "weights").mkdir(exist_ok=True)
            shutil.copy2(weights, out / "weights")
    return load_records(path) if path.exists() else []
