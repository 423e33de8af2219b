"""The processes of one run: how they meet, and how each learns in one line why another has ended.

What they compute they exchange in XLA's collectives. What they have to say goes through the store of JAX's distributed
runtime, which process 0 serves.
"""

import _thread
import contextlib
import socket
import sys
import threading
import time
from collections.abc import Mapping

import guard
from jaxcompare.compat import jax_processes as compat
from jaxcompare.config import InputError

MEET_S = 45
"""Within this all have to be there."""
AGREE_S = 10
"""How long one may then take to say what it was given."""
SILENT_S = 15
"""Without a sign for as long, a process is taken for dead."""
READ_S = 600
"""How long another may take to read its images."""
SAVE_S = 5
"""What is left to save when another process has ended."""
POLL_S = 0.5
FAILURES = 4
"""So often in a row the store may fail before process 0, which serves it, is taken to have ended."""

LOST = "another process of this run has ended; the same commands go on"


class _Company:
    """This process among the others."""

    def __init__(self, process: int, count: int):
        self.process, self.count = process, count
        self.reason = ""
        """Why another has ended."""
        self.heard = time.monotonic()
        """When the store answered last."""
        self.leaving = threading.Event()
        self.said = threading.Lock()
        """Taken by the first thread that has the last line."""


_company: _Company | None = None


def join(coordinator: str | None, processes: int | None, process: int | None) -> int:
    """Meet the others; without arguments as Slurm, Open MPI or Kubernetes has it. Returns this process's number.

    Raises:
        InputError: they do not meet.
    """
    global _company
    end = time.monotonic() + MEET_S
    if coordinator is not None:
        _check_address(coordinator, end, serves=process == 0)
    flag = "--coordinator" if coordinator else "--distributed"
    late = f"{flag}: the processes did not meet within {MEET_S} s"
    ending = f"{late}; are all of them started, each once?", 2
    undo = compat.when_aborted(lambda fatal: _end_now(*((f"aborted: {fatal}", 1) if fatal else ending)))
    try:
        left = max(1, round(end - time.monotonic()))
        _company = _Company(*compat.join_processes(coordinator, processes, process, left))
    except Exception as error:
        undo()
        if coordinator is None and isinstance(error, ValueError):  # nothing says to JAX who the others are
            reason = 'JAX finds no Slurm, Open MPI or Kubernetes (which needs "jax[k8s]"); give --coordinator'
            raise InputError(f"{flag}: {reason}") from None
        what = late if time.monotonic() > end - 1 else f"{flag}: the processes cannot meet"
        raise InputError(f"{what} ({' '.join(str(error).split())[:150]})") from None
    if _company.process:
        ending = "process 0 has ended; the same commands go on", 1
    else:
        undo()
    for task in (_listen, _judge):
        threading.Thread(target=task, args=(_company,), daemon=True).start()
    return _company.process


def _check_address(coordinator: str, end: float, *, serves: bool) -> None:
    """Find what is wrong with it before JAX does, which has many lines for it; at `end`, by `time.monotonic`, too."""
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise InputError(f"--coordinator {coordinator}: is no HOST:PORT, for example node1:1234")
    if serves:
        try:
            return socket.create_server(("", int(port))).close()
        except OSError as error:
            reason = f"port {port} cannot be served here ({error.strerror}); give another"
            raise InputError(f"--coordinator {coordinator}: {reason}") from None
    while True:
        try:
            return socket.create_connection((host, int(port)), timeout=5).close()
        except OSError as error:
            if time.monotonic() > end:
                reason = f"not reached within {MEET_S} s ({error.strerror or error}); is process 0 started there?"
                raise InputError(f"--coordinator {coordinator}: {reason}") from None
        time.sleep(POLL_S)


def agree(values: Mapping[str, str], within_s: float = AGREE_S) -> None:
    """Raise InputError in every process if one has other values of these names than process 0, or none in time."""
    if not _company:
        return
    for name, value in values.items():
        compat.store_set(f"{name}/{_company.process}", value)
    for name in values:
        end = time.monotonic() + within_s
        while len(given := compat.store_list(name)) < _company.count:
            if time.monotonic() > end:
                raise InputError(
                    f"{name}: {_company.count - len(given)} of {_company.count} processes do not say theirs"
                )
            time.sleep(POLL_S)
        for process, value in sorted(given.items()):
            if value != given["0"]:
                raise InputError(f"{name}: process {process} has {value}, process 0 has {given['0']}")


def why(error: BaseException) -> str:
    """Of another process's making: one line for this one's error. Empty: it is this one's own."""
    if not _company:
        return ""
    lost = compat.is_lost_peer(error)
    if lost and not _company.reason:
        time.sleep(2 * POLL_S)  # it may be about to say why
    return _company.reason or (LOST if lost else "")


def leave() -> None:
    """Wait for the others, who are done too."""
    if _company:
        with contextlib.suppress(Exception):
            compat.store_meet("end", READ_S)
        _company.leaving.set()


def fail(line: str, status: int) -> None:
    """End this process, and have the others end with this line."""
    if not _company:
        return
    guard.hold_interrupts()
    _company.leaving.set()
    if not _company.reason:
        with contextlib.suppress(Exception):
            compat.store_set(f"ended/{_company.process}", line)
            # The store ends with process 0: until then the others are to have read it.
            time.sleep(4 * POLL_S if _company.process == 0 else 0)
    guard.release()
    # JAX would wait for the others before it lets the interpreter end.
    guard.leave(status)


def _listen(company: _Company) -> None:
    """Say that this process lives, and hear what the others say."""
    seen: dict[str, tuple[str, float]] = {}
    beat = failures = 0
    while not company.leaving.wait(POLL_S):
        beat += 1
        try:
            compat.store_set(f"alive/{company.process}", str(beat))
            said, signs = compat.store_list("ended"), compat.store_list("alive")
            failures = 0
        except Exception:
            failures += 1
            if failures < FAILURES:
                continue
            said, signs = {"0": "has ended; the same commands go on"}, {}
        company.heard = now = time.monotonic()
        seen |= {process: (sign, now) for process, sign in signs.items() if seen.get(process, ("", 0))[0] != sign}
        silent = {p: "gives no sign; the same commands go on" for p, (_, at) in seen.items() if now - at > SILENT_S}
        for process, line in (said | silent).items():
            _end(company, f"process {process}{'' if process in silent else ':'} {line}")


def _judge(company: _Company) -> None:
    """The store does not answer while process 0 hangs."""
    while not company.leaving.wait(POLL_S):
        if time.monotonic() - company.heard > SILENT_S:
            _end(company, "process 0 gives no sign; the same commands go on")


def _end(company: _Company, reason: str) -> None:
    """Interrupt the main thread, which saves what it has; where XLA has it, end without."""
    if company.leaving.is_set() or company.reason:
        return
    company.reason = reason
    _thread.interrupt_main()
    if not company.leaving.wait(SAVE_S):
        _end_now(reason)


def _end_now(reason: str, status: int = 1) -> None:
    say(reason)
    guard.leave(status)


def say(line: str) -> None:
    """The last line of this process, of which there is one."""
    if not _company or _company.said.acquire(blocking=False):
        print(f"error: {line}", file=sys.stderr)
