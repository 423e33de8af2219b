"""What surrounds every command: streams, signals and locks that cannot cost a result, and one line for any failure."""

import contextlib
import io
import json
import logging
import multiprocessing
import os
import shlex
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from jaxcompare.config import InputError
from jaxcompare.lines import write_atomically

GRACE_S = 8.0
"""From a signal to the end, whatever the command does meanwhile: batch schedulers kill after 10 s or more."""

AGAIN_S = 2.0

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

INTERRUPTED = 130
"""Exit status of a command that a signal ended."""

PARENT = "JAXCOMPARE_PARENT"
"""The process that a command ends with, in its environment."""

FIGURES = {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}
"""Figures go to files, in this project's style, whatever a notebook or a user's matplotlibrc asks for."""


@contextlib.contextmanager
def process() -> Iterator[None]:
    """Make this process safe to interrupt, and its output safe to write. To be entered first, by the main thread."""
    try:
        _protect()
        yield
    except KeyboardInterrupt:
        leave(INTERRUPTED)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            leave(INTERRUPTED)
        raise


def _protect() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    os.environ |= FIGURES
    # Where it keeps its list of fonts.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    # An interrupted command leaves semaphores, which multiprocessing's tracker ends, and would speak of.
    sys.warnoptions.append("ignore:resource_tracker")
    # A shell's `&` has SIGINT ignored, so it is set whatever it was; `nohup` means that SIGHUP stays ignored.
    for number in SIGNALS:
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    # Python runs a handler between two of its own instructions: not while XLA compiles. This thread does not wait.
    ear, mouth = os.pipe()
    os.set_blocking(mouth, False)
    signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
    threading.Thread(target=_end_late, args=(ear,), daemon=True).start()
    if parent := os.environ.get(PARENT):
        threading.Thread(target=_end_with, args=(int(parent),), daemon=True).start()


def _interrupt(number: int, frame: object) -> None:
    end_children()
    raise KeyboardInterrupt


_caught = threading.Event()

discard: list[Path] = []
"""Folders that are of use to this process alone."""


def hold_interrupts() -> None:
    """Let no further signal disturb what a command that was interrupted has left to do."""
    _caught.set()
    for number in SIGNALS:
        if signal.getsignal(number) == _interrupt:
            signal.signal(number, signal.SIG_IGN)


def end_children() -> None:
    """End every process that this one has started through multiprocessing."""
    for child in multiprocessing.active_children():
        child.terminate()


def _end_late(ear: int) -> None:
    while os.read(ear, 1)[0] not in SIGNALS:
        pass
    for _ in range(round(GRACE_S / AGAIN_S)):
        # An exception that a finaliser or a callback happens to raise is lost: it is raised again until it is caught.
        if not _caught.wait(AGAIN_S):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        else:
            time.sleep(AGAIN_S)
    end_children()
    leave(INTERRUPTED)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def remove_discarded() -> None:
    """Once."""
    while discard:
        shutil.rmtree(discard.pop(), ignore_errors=True)


def leave(status: int) -> None:
    """End at once. An interpreter that shuts down while XLA compiles ends in a crash."""
    remove_discarded()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(status)


def explain(error: Exception, out: Path) -> str:
    """One line for what nobody foresaw; the traceback goes into a file of the command's folder."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    line = f"{type(error).__name__}: {first[:300]}"
    try:
        write_atomically(out / "error.txt", "".join(traceback.format_exception(error)))
    except InputError:
        return line
    return f"{line}; the traceback is in {out / 'error.txt'}"


LOCK = ".lock"

_held: list[tuple[FileLock, bool]] = []


def own(out: Path, *, made: bool = False) -> None:
    """Be the one process that writes to a folder, until `release`.

    The operating system gives the lock back however a process ends: none is ever stale.

    Args:
        made: by this process: if it is still empty then, it is removed.

    Raises:
        InputError: another process is, and goes on to be.
    """
    path = out / LOCK
    if any(Path(lock.lock_file) == path for lock, _ in _held):
        return
    lock = FileLock(path)
    try:
        # Where a command was interrupted and started again, its process of before may still be about to end.
        lock.acquire(timeout=GRACE_S + AGAIN_S if PARENT in os.environ else 0)
    except Timeout:
        raise InputError(f"--out {out}: {_holder(path)} writes there; wait for it, or give another folder") from None
    _held.append((lock, made))
    path.write_text(json.dumps([os.getpid(), socket.gethostname(), shlex.join(sys.argv)]))


def release() -> None:
    """Give back what `own` took, and remove what is of no use to others."""
    remove_discarded()
    while _held:
        lock, made = _held.pop()
        path = Path(lock.lock_file)
        path.unlink(missing_ok=True)
        lock.release()
        if made and not any(path.parent.iterdir()):
            path.parent.rmdir()


def _holder(path: Path) -> str:
    try:
        process, host, command = json.loads(path.read_text())
    except (OSError, ValueError):
        return "another process"
    return f"process {process} on {host} ({command})"


def child_environment() -> dict[str, str]:
    """For a command that this one starts and that is to end with it."""
    return {**os.environ, PARENT: str(os.getpid())}
