"""An experiment as independent jobs: processes on this machine, or an array on a Slurm cluster, both through submitit.

A job is one program of the experiment: the plain command's, with a name that stays, in a folder of its own,
OUT/jobs/NAME. It goes on from its checkpoint, and what is complete is not repeated. Then OUT holds what the plain
command would have written.
"""

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

import console
import guard
from jaxcompare.config import InputError, RunConfig

if TYPE_CHECKING:
    import submitit

    from jaxcompare.records import RunRecord

POLL_S = 0.5
NO_LIMIT_MIN = 10**6
TIMEOUTS = 1000
"""How often a job may need more than its time limit."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """The experiment as independent jobs (docs/clusters.md)."""

    list_jobs: bool = False
    """Print the jobs' names, one a line, and run nothing."""
    job: str | None = None
    """Run this one alone, in OUT/jobs/JOB."""
    executor: Literal["local", "slurm"] | None = None
    """Run all of them, as processes here or as a Slurm array, then merge their records into OUT. Needs
    pip install -e ".[grid]"."""
    seeds_per_job: int | None = None
    """How many of its seeds a job trains, 1 or more; by default all, as the plain command does."""
    at_once: int | None = None
    """Jobs that run at the same time, 1 or more. By default here one for each GPU, or one; of Slurm as many as it
    runs."""
    time_limit: int = 60
    """Minutes that Slurm gives a job, 5 or more; one that needs more is put into the queue again, and goes on."""
    slurm: tuple[str, ...] = ()
    """More of sbatch's options, for example: partition=gpu gres=gpu:1 cpus-per-task=8."""

    def __post_init__(self) -> None:
        for flag, value in (("--at-once", self.at_once), ("--seeds-per-job", self.seeds_per_job)):
            if value is not None and value < 1:
                raise InputError(f"{flag}: must be at least 1, not {value}")
        if self.time_limit < 5:
            raise InputError(f"--time-limit: must be at least 5 minutes, not {self.time_limit}")
        for one in self.slurm:
            if not one.partition("=")[2]:
                raise InputError(f"--slurm {one}: give NAME=VALUE, for example partition=gpu")


Program = tuple[RunConfig, list[int]]
"""What trains in one: a config, and its seeds."""


def list_programs(grid: Grid, configs: Sequence[RunConfig], seeds: list[int]) -> dict[str, Program]:
    """By name: the program of each job."""
    size, found = grid.seeds_per_job or len(seeds), {}
    for config in configs:
        name = f"{config.model}-{config.data.train_size or 'all'}"
        for own in (seeds[first : first + size] for first in range(0, len(seeds), size)):
            found[name if own == seeds else f"{name}-seed{own[0]}"] = config, own
    return found


def choose_programs(grid: Grid, configs: Sequence[RunConfig], seeds: list[int]) -> list[Program]:
    """Those of this process: the plain command's, or the job's."""
    if grid.job is None:
        return [(config, seeds) for config in configs]
    return [list_programs(grid, configs, seeds)[grid.job]]


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
    args: Args, names: Sequence[str], holds: str, merge: Callable[[Args, Sequence[str]], None], *, alone: bool = False
) -> Args | None:
    """What the experiment is to go on with: its flags, or those of --job. None: the jobs were listed, or run and
    merged, and that is all.

    Args:
        names: of the jobs.
        holds: the experiment's own file of records.
        merge: brings what the jobs have left to OUT, and shows it.
        alone: each job needs a machine to itself.

    Raises:
        InputError: --job is none of the jobs, or some failed.
    """
    grid = args.jobs
    if grid.list_jobs:
        print("\n".join(names))
        return None
    if grid.job is not None:
        if grid.job not in names:
            raise InputError(f"--job {grid.job}: is none of this command's jobs: {', '.join(names)}")
        return dataclasses.replace(args, out=folder_of(args.out, grid.job))  # type: ignore[type-var]
    if grid.executor is None:
        return args
    fresh = "--fresh" in sys.argv
    console.check_out(args.out, holds, fresh=fresh)
    if fresh:
        console.move_aside(args.out)
    failed = run(grid, names, args.out, alone=alone)
    try:
        merge(args, names)
    finally:
        if failed:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
            raise InputError(f"{len(failed)} of {len(names)} jobs failed ({reasons}); the same command tries them again")
    return None


class Job:
    """A process of the experiment. Pickled: submitit calls it in another process, perhaps on another machine."""

    def __init__(self, command: Sequence[str], parent: int | None):
        self.command = list(command)
        self.parent = parent
        """Without this process it ends too; None: of another machine."""

    def __call__(self) -> tuple[int, str]:
        """Exit status, and the last line of standard error."""
        # Slurm may tell every process of a job, not this one alone: blocked here, it stays blocked there.
        preemption = {signal.SIGUSR2}
        signal.pthread_sigmask(signal.SIG_BLOCK, preemption)
        self.child = subprocess.Popen(self.command, env=guard.child_environment(), stderr=subprocess.PIPE, text=True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, preemption)
        while True:
            try:
                _, errors = self.child.communicate(timeout=1)
                break
            except subprocess.TimeoutExpired:
                if self.parent is not None and not is_alive(self.parent):
                    self.child.terminate()
        print(errors, end="", file=sys.stderr, flush=True)
        return self.child.returncode, (errors.strip().splitlines() or [""])[-1]

    def checkpoint(self) -> "submitit.helpers.DelayedSubmission":
        """Called by submitit where the job is to make room: the process saves what it has, and goes on later."""
        from submitit.helpers import DelayedSubmission

        os.kill(self.child.pid, signal.SIGTERM)
        # Not reaped here: the call above may be about to.
        os.waitid(os.P_PID, self.child.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(Job(self.command, self.parent))


def is_alive(process: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(process, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def run(grid: Grid, names: Sequence[str], out: Path, *, alone: bool = False) -> dict[str, str]:
    """Run this command's jobs, and print how each ends. However this process ends, they end too, and save what they
    have.

    Returns:
        Why those failed that did.
    """
    try:
        import submitit
    except ImportError:
        raise InputError('--executor: needs submitit; pip install -e ".[grid]"') from None
    if alone and grid.executor == "local" and (grid.at_once or 1) > 1:
        raise InputError("--at-once: what is timed needs the machine to itself; leave it out")
    # Where jobs find this module.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    try:
        executor = submitit.AutoExecutor(out / "jobs" / "logs", grid.executor, slurm_max_num_timeout=TIMEOUTS)
    except RuntimeError:
        raise InputError("--executor slurm: there is no srun here; run this where sbatch works") from None
    jobs = (
        start_on_slurm(executor, grid, names, alone)
        if grid.executor == "slurm"
        else start_here(executor, dataclasses.replace(grid, at_once=1) if alone else grid, names)
    )
    return follow(jobs, len(names))


Jobs = dict[str, "submitit.Job[tuple[int, str]]"]


def start_on_slurm(executor: "submitit.AutoExecutor", grid: Grid, names: Sequence[str], alone: bool) -> Iterator[Jobs]:
    """Each time: the jobs whose end was not seen yet. The caller takes out of it what has ended."""
    executor.update_parameters(
        name="jaxcompare",
        timeout_min=grid.time_limit,
        slurm_array_parallelism=grid.at_once or len(names),
        slurm_additional_parameters=dict(one.split("=", 1) for one in grid.slurm),
        **({"slurm_exclusive": True} if alone else {}),
    )
    with executor.batch():
        jobs = {name: executor.submit(Job(command_of(name), None)) for name in names}
    print(f"{len(jobs)} jobs are in Slurm's queue", flush=True)
    while True:
        yield jobs


def start_here(executor: "submitit.AutoExecutor", grid: Grid, names: Sequence[str]) -> Iterator[Jobs]:
    """The same; a job begins when there is room for it."""
    executor.update_parameters(timeout_min=NO_LIMIT_MIN)
    gpus, before = visible_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES")
    waiting, free = list(names), list(range(grid.at_once or max(1, len(gpus))))
    jobs: Jobs = {}
    places: dict[str, int] = {}
    while True:
        free += [places.pop(name) for name in list(places) if name not in jobs]
        while waiting and free:
            name, place = waiting.pop(0), free.pop(0)
            # submitit hides all GPUs from a local job that asks for none.
            gpu = gpus[place % len(gpus)] if gpus else before
            words = ["env", *(["-u", "CUDA_VISIBLE_DEVICES"] if gpu is None else [f"CUDA_VISIBLE_DEVICES={gpu}"])]
            jobs[name], places[name] = executor.submit(Job([*words, *command_of(name)], os.getpid())), place
            print(f"{name}: begun", flush=True)
        yield jobs


def follow(started: Iterator[Jobs], count: int) -> dict[str, str]:
    """Until so many jobs have ended: why those failed that did."""
    failed: dict[str, str] = {}
    jobs: Jobs = {}
    ended = 0
    try:
        while ended < count:
            jobs = next(started)
            for name in [name for name, job in jobs.items() if job.done()]:
                ended += 1
                if reason := why_failed(jobs.pop(name)):
                    failed[name] = reason
                print(f"[{ended}/{count}] {name}: {f'failed: {reason}' if reason else 'complete'}", flush=True)
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        guard.hold_interrupts()
        for job in jobs.values():
            job.cancel(check=False)
        end = time.monotonic() + guard.GRACE_S
        while time.monotonic() < end and not all(job.done() for job in jobs.values()):
            time.sleep(POLL_S)
        raise
    return failed


def why_failed(job: "submitit.Job[tuple[int, str]]") -> str:
    """Of a job that has ended; empty: it did not fail."""
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        status, line = job.result()
    except (FailedJobError, UncompletedJobError):
        return f"its process was killed, see {job.paths.stderr}"
    return "" if status == 0 else line.removeprefix("error: ") or f"exit status {status}, see {job.paths.stderr}"


def command_of(name: str) -> list[str]:
    """What to run for one job of the command that this process is."""
    words = [word for word in sys.argv[1:] if word != "--fresh"]
    return [sys.executable, str(Path(sys.argv[0]).resolve()), *words, "--job", name]


def visible_gpus() -> list[str]:
    """NVIDIA's, as CUDA_VISIBLE_DEVICES names them."""
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [one for one in chosen.split(",") if one]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        words = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    return []


def merge_runs(out: Path, names: Sequence[str]) -> list["RunRecord"]:
    """Bring the jobs' records and weights to OUT, each in place of what an earlier call brought.

    Returns:
        All that OUT holds then.
    """
    from jaxcompare.records import load_records, save_records

    for folder in (folder_of(out, name) for name in names):
        if (path := folder / "runs.jsonl").exists():
            save_records(out / "runs.jsonl", load_records(path))
        for weights in sorted((folder / "weights").glob("*.npz")):
            (out / "weights").mkdir(exist_ok=True)
            shutil.copy2(weights, out / "weights")
    return load_records(out / "runs.jsonl") if (out / "runs.jsonl").exists() else []
