"""Programs compiled ahead of time, and what becomes of one that the device has no memory for."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from jaxcompare.compat import jax as compat
from jaxcompare.config import InputError, Precision
from jaxcompare.measure.memory import MemoryPlan, available_bytes, plan_memory
from jaxcompare.measure.runtime import MATMUL_PRECISION
from jaxcompare.measure.timing import CompileTimes, compile_ahead

PLAN_MARGIN = 1.25
"""Of what a CPU's program takes over what XLA plans: a ViT at 224 pixels took 18 GB, 15 planned."""


class Programs:
    """Programs of one precision by name, with what compiling each took and the memory that XLA plans for it."""

    def __init__(self, precision: Precision, devices: Sequence[jax.Device]):
        self._precision: Precision = precision
        self._devices = [device for device in devices if device.process_index == jax.process_index()]
        self.compiled: dict[str, jax.stages.Compiled] = {}
        self.times: dict[str, CompileTimes] = {}
        self.plans: dict[str, MemoryPlan] = {}

    def compile(self, name: str, function: Callable, *args: Any, **jit_options: Any) -> jax.stages.Compiled:
        """Compile for the shapes of `args`, and keep the program; a name's earlier one gives way.

        Raises:
            InputError: it needs more memory than this machine's CPU has free. There the system would kill the process.
        """
        with jax.default_matmul_precision(MATMUL_PRECISION[self._precision]):
            compiled, times = compile_ahead(function, *args, **jit_options)
        self.compiled[name], self.times[name] = compiled, times
        if plan := plan_memory(compiled):
            self.plans[name] = plan
            self._check_room(name, plan)
        return compiled

    def describe_times(self) -> dict[str, dict[str, Any]]:
        """What each took to compile, as a record has it."""
        return {name: dataclasses.asdict(times) for name, times in self.times.items()}

    def _check_room(self, name: str, plan: MemoryPlan) -> None:
        # XLA plans for each device; on CPUs all of them share one memory. Arguments are there already.
        needed, room = PLAN_MARGIN * plan.more * len(self._devices), available_bytes()
        if self._devices[0].platform == "cpu" and room is not None and needed > room:
            raise InputError(
                f"--batch-size: {name} needs {needed / 1e9:,.1f} GB of memory beyond the images, {room / 1e9:,.1f} GB "
                "are free; lower it, or --image-size"
            )


@contextlib.contextmanager
def explain_memory(seeds: int) -> Iterator[None]:
    """Turn running out of device memory into one line that says what to lower."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not compat.is_out_of_memory(error):
            raise
        lower = "--batch-size, --seeds-per-call or --seeds" if seeds > 1 else "--batch-size, or use --input host"
        raise InputError(f"out of memory on {jax.local_devices()[0].device_kind}; lower {lower}") from error
