"""Other work on this process's cores while something was timed."""

import os
import time
from collections.abc import Callable
from pathlib import Path

PROC = Path("/proc")

WORKING = (0, 1, 2, 5, 6, 7)
"""Of a core's times in /proc/stat: user, nice, system, both kinds of interrupts, and steal, the hypervisor's."""


def watch_others() -> Callable[[], float | None]:
    """Begin to watch. The result, when called, is the share of this process's cores that others have taken since, the
    hypervisor among them; None where the system does not say.

    Loaders' workers are no others: all processes of this one's group are its own. The system counts in hundredths of a
    second, so of less than a second the share says little.
    """
    start = time.perf_counter(), _busy_s()

    def share() -> float | None:
        seconds, busy = time.perf_counter() - start[0], _busy_s()
        if start[1] is None or busy is None:
            return None
        return max(0.0, (busy - start[1]) / (seconds * len(os.sched_getaffinity(0))))

    return share


def _busy_s() -> float | None:
    """Seconds for which the cores that this process may run on have worked for others since the system began."""
    try:
        cores = {f"cpu{core}" for core in os.sched_getaffinity(0)}
        times = [line.split()[1:] for line in (PROC / "stat").read_text().splitlines() if line.split()[0] in cores]
        busy = sum(int(of_core[i]) for of_core in times for i in WORKING)
        return (busy - sum(map(_own_ticks, PROC.glob("[0-9]*/stat")))) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return None


def _own_ticks(stat: Path) -> int:
    """User and system time of a process of this group; 0 of others, and of one that has ended."""
    try:
        # The name, in brackets, may hold spaces: fields are counted from behind it.
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12]) if int(fields[2]) == os.getpgrp() else 0
