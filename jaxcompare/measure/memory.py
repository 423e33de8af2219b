"""Memory: what XLA plans to use, what was used at most, what there is."""

import resource
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax


class MemoryPlan(NamedTuple):
    """Bytes that a program takes, by XLA's static plan."""

    arguments: int
    more: int
    """Results and temporaries, but for results that take over a donated argument's place."""


def plan_memory(compiled: jax.stages.Compiled) -> MemoryPlan:
    """XLA's plan for one run of a program, on one device."""
    plan: Any = compiled.memory_analysis()
    more = plan.output_size_in_bytes + plan.temp_size_in_bytes - plan.alias_size_in_bytes
    return MemoryPlan(plan.argument_size_in_bytes, more)


def peak_bytes() -> dict[str, int | None]:
    """The most memory in use at once so far: of the first device, by its allocator, and of this process."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return {"device": stats.get("peak_bytes_in_use"), "process": process_peak_bytes()}


def process_peak_bytes() -> int:
    """The largest resident set of this process so far, by the operating system."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def available_bytes() -> int | None:
    """Memory that a program may still take: of the first device, or of the machine where that is the device."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), None)
