"""Starting and following a command's jobs: processes on this machine, or an array on a Slurm cluster, by submitit."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import guard
from jaxcompare.config import InputError

if TYPE_CHECKING:
    import submitit

Executor = Literal["local", "slurm"]
POLL_S = 0.5
NO_LIMIT_MIN = 10**6
TRIES = 3
"""So often in a row Slurm may end a job before it has recorded anything new."""


class Job:
    """A process of the experiment. Pickled: submitit calls it in another process, perhaps on another machine."""

    def __init__(self, command: Sequence[str], folder: Path, parent: int | None, fruitless: int = 0):
        self.command = list(command)
        self.folder = folder
        """Has its records."""
        self.parent = parent
        """Without this process it ends too; None: of another machine."""
        self.fruitless = fruitless
        """So often in a row it has been ended without anything new on record."""
        self.recorded = -1
        """When its process began."""
        self.child: subprocess.Popen[str] | None = None

    def __call__(self) -> tuple[int, str]:
        """Exit status, and the last line of standard error."""
        if self.fruitless == TRIES:
            return 1, f"error: ended {TRIES} times with nothing new on record; give a longer --time-limit"
        self.recorded = self._on_record()
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
        while self.parent is None and self.child.returncode in (-signal.SIGTERM, guard.INTERRUPTED):
            # Slurm ends the job, perhaps to start it anew: a result would say that it is done.
            signal.pause()
        return self.child.returncode, (errors.strip().splitlines() or [""])[-1]

    def checkpoint(self) -> "submitit.helpers.DelayedSubmission":
        """Called by submitit where the job is to make room: the process saves what it has, and goes on later."""
        from submitit.helpers import DelayedSubmission

        # It may have ended already: Slurm can say it to the process itself first.
        if self.child and self.child.returncode is None:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self.child.pid, signal.SIGTERM)
                # Not reaped here: the call above may be about to.
                os.waitid(os.P_PID, self.child.pid, os.WEXITED | os.WNOWAIT)
        fruitless = self.fruitless + 1 if self._on_record() == self.recorded else 0
        return DelayedSubmission(Job(self.command, self.folder, self.parent, fruitless))

    def _on_record(self) -> int:
        """How much: epochs of runs, bytes of anything else."""
        from jaxcompare.records import load_records

        if (runs := self.folder / "runs.jsonl").exists():
            with contextlib.suppress(InputError):  # the process says what is wrong with them
                return sum(len(run.history.train_loss) for run in load_records(runs))
        return sum(path.stat().st_size for path in self.folder.glob("*.jsonl"))


def is_alive(process: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(process, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def prepare(
    where: Executor,
    names: Sequence[str],
    out: Path,
    *,
    at_once: int | None,
    time_limit: int,
    slurm: Sequence[str],
    alone: bool,
) -> "tuple[Starter, int]":
    """What is to start this command's jobs, and at how many places. Nothing is written yet.

    Args:
        names: of the jobs; the others are `grid.Grid`'s.
        alone: each needs a machine to itself.

    Raises:
        InputError: it cannot be.
    """
    try:
        import submitit
    except ImportError:
        raise InputError('--executor: needs submitit; pip install -e ".[grid]"') from None
    if alone and where == "local" and (at_once or 1) > 1:
        raise InputError("--at-once: what is timed needs the machine to itself; leave it out")
    # Where jobs find this module.
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    if where == "slurm":
        from slurm import Array

        options = {name: value if equals else True for name, equals, value in (one.partition("=") for one in slurm)}
        limits = {"at_once": at_once, "time_limit": time_limit, "alone": alone}
        return Array(names, out / "jobs", options, **limits), len(names)
    gpus = visible_gpus()
    places = 1 if alone else at_once or max(1, len(gpus))
    executor = submitit.AutoExecutor(out / "jobs" / "logs", "local")
    executor.update_parameters(timeout_min=NO_LIMIT_MIN)
    return Here(executor, out / "jobs", gpus, shared=places > len(gpus)), places


Started: TypeAlias = "submitit.Job[tuple[int, str]]"


class Starter(Protocol):
    """What starts a command's jobs."""

    def start(self, name: str, place: int) -> Started:
        """A job, in a place that is free."""
        ...

    def cancel(self) -> None:
        """End all that have not ended."""
        ...


class Here:
    """Jobs as processes of this machine.

    Args:
        folder: has a folder for each.
        gpus: each job has that of its place.
        shared: several may have one.
    """

    def __init__(self, executor: "submitit.AutoExecutor", folder: Path, gpus: Sequence[str], *, shared: bool):
        self.executor, self.folder, self.gpus, self.shared = executor, folder, gpus, shared
        self.started: list[Started] = []

    def start(self, name: str, place: int) -> Started:
        # submitit hides all GPUs from a local job that asks for none.
        gpu = self.gpus[place % len(self.gpus)] if self.gpus else os.environ.get("CUDA_VISIBLE_DEVICES")
        words = ["env", *(["-u", "CUDA_VISIBLE_DEVICES"] if gpu is None else [f"CUDA_VISIBLE_DEVICES={gpu}"])]
        # By default the first of a GPU takes three quarters of its memory.
        words += ["XLA_PYTHON_CLIENT_PREALLOCATE=false"] if self.gpus and self.shared else []
        job = Job([*words, *command_of(name)], self.folder / name, os.getpid())
        self.started.append(self.executor.submit(job))
        return self.started[-1]

    def cancel(self) -> None:
        for job in self.started:
            if not job.done():
                job.cancel(check=False)


def follow(names: Sequence[str], starter: Starter, places: int) -> dict[str, str]:
    """Start each job in the first place that is free, until all have ended, and print how each ends: why those failed
    that did. If this is interrupted or fails, the jobs end too, and save what they have."""
    waiting, free = list(names), list(range(places))
    running: dict[str, tuple[Started, int]] = {}
    begun: set[str] = set()
    failed: dict[str, str] = {}
    try:
        while waiting or running:
            while waiting and free:
                name, place = waiting.pop(0), free.pop(0)
                running[name] = starter.start(name, place), place
            for name, (job, place) in list(running.items()):
                if name not in begun and job.state == "RUNNING":
                    begun.add(name)
                    print(f"{name}: begun", flush=True)
                if not job.done():
                    continue
                del running[name]
                free.append(place)
                if reason := why_failed(job):
                    failed[name] = reason
                ended = len(names) - len(waiting) - len(running)
                print(f"[{ended}/{len(names)}] {name}: {f'failed: {reason}' if reason else 'complete'}", flush=True)
            time.sleep(POLL_S)
    except BaseException:
        guard.hold_interrupts()
        starter.cancel()
        end = time.monotonic() + guard.GRACE_S
        while time.monotonic() < end and not all(job.done() for job, _ in running.values()):
            time.sleep(POLL_S)
        raise
    return failed


def why_failed(job: Started) -> str:
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
