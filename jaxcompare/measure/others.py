"""Other work on this process's cores while something was timed."""

import os
import time
from collections.abc import Callable
from pathlib import Path

STAT = Path("/proc/stat")

BUSY = (0, 1, 2, 5, 6, 7)
"""Of a core's times in /proc/stat: user, nice, system, both kinds of interrupts, and steal, the hypervisor's."""


def watch_others() -> Callable[[], float | None]:
    """Begin to watch. The result, when called, is the share of this process's cores that others, the hypervisor among
    them, have taken since; None where the system does not say.

    The system counts in hundredths of a second: of a tenth of a second a share is good to some 5 %.
    """
    wall_s, busy_s, own_s = time.perf_counter(), _busy_s(), time.process_time()

    def share() -> float | None:
        now = _busy_s()
        if busy_s is None or now is None:
            return None
        cores_s = len(os.sched_getaffinity(0)) * (time.perf_counter() - wall_s)
        return max(0.0, (now - busy_s - (time.process_time() - own_s)) / cores_s)

    return share


def _busy_s() -> float | None:
    """Seconds that the cores which this process may run on have been busy since the system began."""
    try:
        lines = STAT.read_text().splitlines()
        cores = {f"cpu{core}" for core in os.sched_getaffinity(0)}
        times = [line.split()[1:] for line in lines if line.split()[0] in cores]
        return sum(int(of_core[i]) for of_core in times for i in BUSY) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return None
