"""One run of several processes, on one host or many, all given the same command.

Each works on a copy of what OUT holds for process 0, whose OUT it is that stays: the file system need not be shared,
and the code is that of one process.
"""

import contextlib
import dataclasses
import io
import os
import sys
import tarfile
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import console
import guard
import peers
import training_runs
from jaxcompare.compat import jax_processes as compat
from jaxcompare.config import ExecutionConfig, InputError

CARRIED = ("runs.jsonl", "checkpoints")
"""Of OUT, what decides how a command goes on."""

TASKS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
"""Where srun and mpirun say how many processes they have started."""


@dataclasses.dataclass(frozen=True)
class Hosts:
    """One run of several processes, each with devices of its own (docs/clusters.md)."""

    distributed: bool = False
    """Join the processes that Slurm, Open MPI or Kubernetes has started. Tasks of one srun or mpirun do so anyway."""
    coordinator: str | None = None
    """Elsewhere: HOST:PORT of process 0, with a port that is free there."""
    processes: int | None = None
    """Number of processes, with --coordinator."""
    process: int | None = None
    """Number of this process, from 0 on, with --coordinator."""

    def __post_init__(self) -> None:
        named = (self.coordinator, self.processes, self.process)
        if None in named and named != (None,) * 3:
            raise InputError("--coordinator, --processes, --process: give all three, or none")
        if self.processes is not None and not 0 <= (self.process or 0) < self.processes:
            raise InputError(f"--process {self.process}: must be from 0 to {self.processes - 1}, below --processes")

    @property
    def are_several(self) -> bool:
        """Whether there are others, by the flags or by what started this process."""
        started = any(os.environ.get(name, "1") != "1" for name in TASKS)
        return self.distributed or self.coordinator is not None or started


class HostsArgs(Protocol):
    """An experiment's flags."""

    @property
    def cluster(self) -> Hosts: ...

    @property
    def execution(self) -> ExecutionConfig: ...

    @property
    def keep(self) -> training_runs.Keep: ...

    @property
    def out(self) -> Path: ...


Args = TypeVar("Args", bound=HostsArgs)


def begin(args: Args, holds: str) -> Args:
    """Meet the other processes, if there are any. Returns the flags that this one goes on with.

    Args:
        holds: the experiment's own file of records.

    Raises:
        InputError: they do not meet, or were given different commands, versions or devices.
    """
    if not args.cluster.are_several:
        return args
    import jax

    from jaxcompare.measure.environment import cpu_kind, git_commit, package_versions, start_jax
    from jaxcompare.measure.runtime import configure_jax

    configure_jax(deterministic=args.execution.deterministic)
    process = peers.join(args.cluster.coordinator, args.cluster.processes, args.cluster.process)
    peers.agree(dict(flags_of(args)) | {"commit": str(git_commit())} | package_versions())
    if process == 0:
        console.check_out(args.out, holds, fresh=args.keep.fresh)
    with unheard():
        start_jax()
        # Each computes the parameters for itself: on other hardware they would drift apart, and nobody would see it.
        kind = jax.local_devices()[0].device_kind
        place = {"device": cpu_kind() if kind == "cpu" else kind, "devices of a process": str(jax.local_device_count())}
        peers.agree(place, peers.MEET_S)
        content = compat.broadcast(pack(args.out) if process == 0 and not args.keep.fresh else b"")
    if process == 0:
        return args
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # process 0 says it all
    warnings.simplefilter("ignore")
    out = Path(tempfile.mkdtemp(prefix="jaxcompare-"))
    guard.discard.append(out)
    unpack(content, out)
    keep = dataclasses.replace(args.keep, log_dir=None)
    return dataclasses.replace(args, out=out, keep=keep)  # type: ignore[type-var]


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Without what libraries in C write to standard output, as Gloo does of its connections."""
    sys.stdout.flush()
    before, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    try:
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)
        os.close(nothing)


APART = ("cluster", "out", "data_dir", "log_dir")
"""Flags that may differ from process to process."""


def flags_of(args: Any) -> Iterator[tuple[str, str]]:
    """Name and value of each that decides what is computed."""
    for field in dataclasses.fields(args):
        value = getattr(args, field.name)
        if field.name in APART:
            continue
        if dataclasses.is_dataclass(value):
            yield from flags_of(value)
        else:
            yield f"--{field.name.replace('_', '-')}", str(value)


def pack(out: Path) -> bytes:
    """Those files of a folder that are carried."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in CARRIED:
            if (out / name).exists():
                archive.add(out / name, name)
    return content.getvalue()


def unpack(content: bytes, out: Path) -> None:
    """What `pack` packed."""
    if content:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            archive.extractall(out, filter="data")
