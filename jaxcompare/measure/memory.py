"""Memory: what XLA plans to use, what was used at most, what there is."""

from typing import NamedTuple

import jax

from jaxcompare.compat import jax as compat
from jaxcompare.measure.environment import available_host_bytes, process_peak_bytes


class MemoryPlan(NamedTuple):
    """Bytes that a program takes, by XLA's static plan."""

    arguments: int
    more: int
    """Results and temporaries, but for results that take over a donated argument's place."""


def plan_memory(compiled: jax.stages.Compiled) -> MemoryPlan | None:
    """XLA's plan for one run of a program, on one device; None where the backend has none."""
    plan = compat.program_memory(compiled)
    if plan is None:
        return None
    return MemoryPlan(plan.arguments, plan.results + plan.temporaries - plan.reused)


def peak_bytes() -> dict[str, int | None]:
    """The most memory in use at once since this process began: of the first device, by its allocator, and of the
    process. What ran in it before counts too: `planned_bytes` in a record is a program's own."""
    return {"device": compat.device_memory(jax.local_devices()[0]).peak, "process": process_peak_bytes()}


def available_bytes() -> int | None:
    """Memory that a program may still take: of the first device, or of the machine where that is the device. None:
    not known."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return compat.device_memory(device).free
    return available_host_bytes()
