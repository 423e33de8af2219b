"""Ahead-of-time compilation with every phase timed apart, and a counter that sees every compilation."""

import dataclasses
import itertools
import time
from collections.abc import Callable
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class CompileTimes:
    """Seconds from a Python function to an executable, by phase."""

    trace_s: float
    lower_s: float
    compile_s: float


def compile_ahead(function: Callable, *args: Any, **jit_options: Any) -> tuple[Callable, CompileTimes]:
    """Compile `function` for the shapes of `args`, without running it.

    The result accepts those shapes only: another shape is a TypeError, never a silent recompilation.
    """
    clock = [time.perf_counter()]
    traced = jax.jit(function, **jit_options).trace(*args)
    clock.append(time.perf_counter())
    lowered = traced.lower()
    clock.append(time.perf_counter())
    compiled = lowered.compile()
    clock.append(time.perf_counter())
    return compiled, CompileTimes(*(end - start for start, end in itertools.pairwise(clock)))


class CompileCounter:
    """Counts the programs that XLA compiles while it is entered, whoever asks for them."""

    def __init__(self) -> None:
        self.count = 0

    def _listen(self, event: str, duration_secs: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            self.count += 1

    def __enter__(self) -> "CompileCounter":
        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        jax.monitoring.unregister_event_duration_listener(self._listen)
