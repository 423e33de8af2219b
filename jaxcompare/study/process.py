"""A fresh process for one call, which may pause in its midst, and its end in one line, however it ends."""

import contextlib
import errno
import functools
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

from jaxcompare.compat import torch as compat
from jaxcompare.config import InputError
from jaxcompare.parent import end_with_parent

KILLED = "its process was killed: out of memory, or stopped from outside"


class CellFailed(InputError):
    """A process did not come to its end; one line of why. Where no cell can say it (a reference, the search for a GPU)
    it ends the command as any mistake does."""


class FreshProcess:
    """A call in a process of its own. Made by `fresh_process`."""

    def __init__(self, connection: Connection):
        self._connection = connection
        self._paused = False
        self.result: Any = None
        """What the call returned, once it has."""

    def work(self) -> bool:
        """Let it work until it pauses or ends. Returns whether it has ended.

        Raises:
            CellFailed: it raised an exception, or was killed.
        """
        try:
            if self._paused:
                self._connection.send(GO_ON)
            said = self._connection.recv()
        except (EOFError, ConnectionError):
            raise CellFailed(KILLED) from None
        self._paused = said == PAUSED
        if self._paused:
            return False
        self.result, failure = said
        if failure:
            raise CellFailed(failure)
        return True


PAUSED, GO_ON = "paused", "go on"


@contextlib.contextmanager
def fresh_process(function: Callable, *arguments: Any, pausing: bool = False) -> Iterator[FreshProcess]:
    """Call `function` in a process that ends with this context, however that ends.

    Args:
        pausing: `function` is given `pause`, to call wherever others may have their turn.
    """
    spawn = get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_call, args=(theirs, function, arguments, pausing))
    try:
        with _signals_wait():
            process.start()
        theirs.close()
        yield FreshProcess(ours)
    finally:
        if process.pid is not None:
            process.terminate()
            process.join()
        ours.close()


def in_fresh_process(function: Callable, *arguments: Any) -> Any:
    """What `function` returns, called in a process of its own.

    Raises:
        CellFailed: it raised an exception, or was killed.
    """
    with fresh_process(function, *arguments) as process:
        process.work()
        return process.result


@contextlib.contextmanager
def _signals_wait() -> Iterator[None]:
    """While a process is started: with half of what it is to do, it would end in a traceback. Ctrl-C, which reaches
    every process of a terminal, is blocked in it from its beginning."""
    resource_tracker.ensure_running()  # which would unblock it
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        came.append(number)

    interrupted = threading.current_thread() is threading.main_thread()  # handlers run there alone
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if interrupted else ()
    before = {number: signal.signal(number, note) for number in numbers}
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came[:1]:
            signal.raise_signal(number)


def _call(connection: Connection, function: Callable, arguments: tuple[Any, ...], pausing: bool) -> None:
    """In the fresh process: send the result, and why there is none. Exceptions stay here: not every one can be sent."""
    end_with_parent()
    # What it starts is of its group, and other processes of the study are not: see `measure.others`.
    os.setpgrp()
    # Memory is taken as it is needed, so that the allocator's peak is the program's.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    compat.quiet_loggers()

    def pause() -> None:
        connection.send(PAUSED)
        connection.recv()

    connection.send(_outcome(functools.partial(function, pause=pause) if pausing else function, arguments))
    # To the end of the context: leaving an interpreter is work, and others have their turn.
    signal.pause()


def _outcome(function: Callable, arguments: tuple[Any, ...]) -> tuple[Any, str]:
    try:
        return function(*arguments), ""
    except Exception as error:
        return None, _explain(error)


def _explain(error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"no space left in {tempfile.gettempdir()}; free some, or set TMPDIR to another folder"
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first[:200]}"
