"""A fresh process for one call, and its end in one line, however it ends."""

import errno
import os
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import Any

from jaxcompare.compat import torch as compat
from jaxcompare.config import InputError

FAILURES = (InputError, RuntimeError, MemoryError, OSError)
"""What ends a cell but not the study. RuntimeError: torch's and XLA's."""

KILLED = "its process was killed: out of memory, or stopped from outside"


class CellFailed(InputError):
    """A process did not come to its end; one line of why. Where no cell can say it (a reference, the search for a GPU)
    it ends the command as any mistake does."""


def in_fresh_process(function: Callable, *arguments: Any) -> Any:
    """Call `function` in a process of its own.

    Raises:
        CellFailed: it raised one of FAILURES, or was killed.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        try:
            result, failure = fresh.submit(_call, function, arguments).result()
        except BrokenProcessPool:
            raise CellFailed(KILLED) from None
    if failure:
        raise CellFailed(failure)
    return result


def _end_with_parent() -> None:
    """However the parent ends: its processes would wait for it, gigabytes in hand."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _call(function: Callable, arguments: tuple[Any, ...]) -> tuple[Any, str]:
    """In the fresh process: the result, and why there is none. Exceptions stay here: not every one can be sent."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Memory is taken as it is needed, so that the allocator's peak is the program's.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    compat.quiet_cuda_search()
    try:
        return function(*arguments), ""
    except InputError as error:
        return None, str(error)
    except FAILURES as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return None, f"no space left in {tempfile.gettempdir()}; free some, or set TMPDIR to another folder"
        first = next((line for line in str(error).splitlines() if line.strip()), "")
        return None, f"{type(error).__name__}: {first.strip()[:200]}"
