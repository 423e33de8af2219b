"""A fresh process for one call, and its end in one line, however it ends."""

import errno
import os
import signal
import tempfile
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from jaxcompare.compat import torch as compat
from jaxcompare.config import InputError
from jaxcompare.parent import end_with_parent

KILLED = "its process was killed: out of memory, or stopped from outside"


class CellFailed(InputError):
    """A process did not come to its end; one line of why. Where no cell can say it (a reference, the search for a GPU)
    it ends the command as any mistake does."""


def in_fresh_process(function: Callable, *arguments: Any) -> Any:
    """Call `function` in a process of its own, which ends with this call, however that ends.

    Raises:
        CellFailed: it raised an exception, or was killed.
    """
    spawn = get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_call, args=(theirs, function, arguments))
    process.start()
    theirs.close()
    try:
        result, failure = ours.recv()
    except EOFError:
        raise CellFailed(KILLED) from None
    finally:
        process.terminate()
        process.join()
    if failure:
        raise CellFailed(failure)
    return result


def _call(results: Connection, function: Callable, arguments: tuple[Any, ...]) -> None:
    """In the fresh process: send the result, and why there is none. Exceptions stay here: not every one can be sent."""
    # Ctrl-C reaches every process of a terminal; the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    # Memory is taken as it is needed, so that the allocator's peak is the program's.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    compat.quiet_loggers()
    results.send(_outcome(function, arguments))


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
