"""A command's jobs as an array on a Slurm cluster, by submitit. How they stand is read from the queue, which every
cluster has; submitit's own way is the accounting, which some have not."""

import contextlib
import io
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import submitit
from submitit.core.utils import FailedJobError
from submitit.slurm.slurm import SlurmInfoWatcher

import jobs
from jaxcompare.config import InputError

TIMEOUTS = 1000
"""How often a job may need more than its time limit."""
POLL_S = 10
"""Between two looks at the queue."""
LEFT = "LEFT"
"""The state of a job that the queue has no more."""

ARRAY = "array"
"""OUT/jobs has a file of this name, with the number of the last array."""


class Queue(SlurmInfoWatcher):
    """How jobs stand in Slurm's queue. Of one that has left it, its result says how it ended, or that nothing does."""

    def _make_command(self) -> list[str]:
        return ["squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i %T"]

    def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
        text = string if isinstance(string, str) else string.decode()
        states = dict(line.split() for line in text.splitlines())
        return {job: {"State": states.get(job, LEFT)} for job in self._registered}

    def is_done(self, job_id: str, mode: str = "standard") -> bool:
        return self.get_state(job_id, mode) == LEFT


class Array:
    """A command's jobs, all in the queue once the first is to start."""

    def __init__(
        self,
        names: Sequence[str],
        folder: Path,
        options: Mapping[str, str | bool],
        *,
        at_once: int | None,
        time_limit: int,
        alone: bool,
    ):
        """See `jobs.prepare`.

        Args:
            folder: OUT/jobs.
            options: sbatch's.

        Raises:
            InputError: there is no Slurm, or it still has the jobs of an earlier command.
        """
        try:
            self._executor = submitit.AutoExecutor(folder / "logs", "slurm", slurm_max_num_timeout=TIMEOUTS)
        except RuntimeError:
            raise InputError("--executor slurm: there is no srun here; run this where sbatch works") from None
        submitit.SlurmJob.watcher = Queue(POLL_S)
        self._file = folder / ARRAY
        self._refuse_a_second()
        self._executor.update_parameters(
            name="jaxcompare",
            timeout_min=time_limit,
            slurm_array_parallelism=at_once or len(names),
            slurm_additional_parameters={"requeue": True, **options},
            # Since Slurm 22.05 srun does not take over what the job was given.
            slurm_setup=['[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"'],
            **({"slurm_exclusive": True} if alone else {}),
        )
        self._names, self._folder = names, folder.resolve()
        self._jobs: dict[str, jobs.Started] = {}
        self._number = ""

    def _refuse_a_second(self) -> None:
        """Its jobs would find those of the first in their folders."""
        if not self._file.exists():
            return
        before = self._file.read_text().strip()
        there = subprocess.run(["squeue", "--noheader", f"--jobs={before}"], capture_output=True, text=True)
        if there.returncode == 0 and there.stdout.strip():
            reason = f"array {before} of an earlier command is in the queue; wait for its end, or scancel {before}"
            raise InputError(f"--executor slurm: {reason}")

    def start(self, name: str, place: int) -> "jobs.Started":
        """With all others.

        Raises:
            InputError: Slurm refuses them.
        """
        if not self._jobs:
            self._submit()
        return self._jobs[name]

    def _submit(self) -> None:
        logs = self._executor.folder
        before = set(logs.iterdir()) if logs.exists() else set()
        own = {name: jobs.Job(jobs.command_of(name), self._folder / name, None) for name in self._names}
        try:
            with contextlib.redirect_stderr(io.StringIO()), self._executor.batch():
                self._jobs = {name: self._executor.submit(job) for name, job in own.items()}
        except FailedJobError as error:
            for file in set(logs.iterdir()) - before:
                file.unlink()
            with contextlib.suppress(OSError):  # what is not empty stays
                os.removedirs(logs)
            reason = (str(error).strip().splitlines() or ["it says nothing"])[-1]
            raise InputError(f"--slurm: sbatch refuses the jobs ({reason})") from None
        self._number = next(iter(self._jobs.values())).job_id.partition("_")[0]
        self._file.write_text(self._number)
        print(f"{len(self._jobs)} jobs are in Slurm's queue, as array {self._number}", flush=True)

    def cancel(self) -> None:
        """All at once: there may be many, and little time."""
        if self._number:
            subprocess.run(["scancel", self._number], check=False, capture_output=True)
