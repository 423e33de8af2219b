"""Doors to JAX's distributed runtime, where it does not promise them: several processes that are one."""

import ctypes
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable
from typing import Any

_at_abort: list[Any] = []
"""C's handler must not be collected."""


def join_processes(
    coordinator: str | None, processes: int | None, process: int | None, timeout_s: int
) -> tuple[int, int]:
    """Make this process one of several that JAX knows as one, by address or as their launcher has it. Its number, and
    theirs.

    Relies on `jax.distributed` for all of that, on its taking a process that hangs for dead later than this project
    does, and on a private module for the numbers, which JAX tells once it has started. Seen with jax 0.10.2 on CPUs.
    """
    import jax
    from jax._src import distributed

    jax.distributed.initialize(
        coordinator,
        processes,
        process,
        # What is given decides alone: in a Slurm job JAX would take one GPU of the host's.
        cluster_detection_method="deactivate" if coordinator else None,
        initialization_timeout=timeout_s,
        shutdown_timeout_seconds=5,
    )
    return distributed.global_state.process_id, distributed.global_state.num_processes


def when_aborted(end: Callable[[str], object]) -> Callable[[], None]:
    """Have `end` called in place of an abort, and leave out the many lines that are written before: its argument is
    empty where the runtime ends a process that has lost process 0, or has not found the others, and else the line of
    what was fatal.

    Relies on abort(), on writing to the file of number 2, which Python's standard error no longer is, on what the
    runtime says of itself there, and on a fatal line's first letter. Seen with jax 0.10.2.

    Returns:
        What undoes it.
    """
    before = sys.stderr
    before.flush()
    written = os.dup(2)
    sys.stderr = os.fdopen(written, "w", buffering=1, errors="replace", closefd=False)
    lines = tempfile.TemporaryFile()  # noqa: SIM115 (until the process ends)
    os.dup2(lines.fileno(), 2)

    def aborted(number: int) -> None:
        said = os.pread(2, 2**20, 0).decode(errors="replace")
        fatal = re.findall(r"^F\d.*", said, re.MULTILINE) or said.strip().splitlines() or ["nothing was said"]
        end("" if "JAX distributed service" in said else fatal[0])

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)
    _at_abort.append(handler(aborted))
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = [ctypes.c_int, handler], handler
    handled = libc.signal(signal.SIGABRT, _at_abort[-1])

    def undo() -> None:
        libc.signal(signal.SIGABRT, handled)
        os.dup2(written, 2)
        sys.stderr = before

    return undo


def _store() -> Any:
    from jax._src import distributed

    return distributed.global_state.client


def store_set(name: str, value: str) -> None:
    """Set a value that all processes read.

    Relies, as the two below do, on the store of JAX's distributed runtime, which is private. Seen with jax 0.10.2.
    """
    _store().key_value_set(name, value, allow_overwrite=True)


def store_list(folder: str) -> dict[str, str]:
    """All values whose names begin with `folder/`, by the rest of the name."""
    return {name.rpartition("/")[2]: value for name, value in _store().key_value_dir_get(folder)}


def store_meet(name: str, timeout_s: float) -> None:
    """Wait until all processes are here."""
    _store().wait_at_barrier(name, round(1000 * timeout_s))


def broadcast(content: bytes) -> bytes:
    """Process 0's, on each.

    Relies on an experimental module. Seen with jax 0.10.2.
    """
    import numpy as np
    from jax.experimental import multihost_utils

    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    if not size:
        return b""
    padded = np.frombuffer(content.ljust(size, b"\0")[:size], np.uint8)
    return multihost_utils.broadcast_one_to_all(padded).tobytes()


def is_lost_peer(error: BaseException) -> bool:
    """Whether XLA failed because another process has closed its connection.

    Relies on the error's text: JAX has one class for all of XLA's errors. Seen with jax 0.10.2, Gloo's collectives.
    """
    import jax

    words = ("Gloo", "UNAVAILABLE", "ABORTED", "Connection reset", "Socket closed")
    return isinstance(error, jax.errors.JaxRuntimeError) and any(word in str(error) for word in words)
