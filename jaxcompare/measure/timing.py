"""Ahead-of-time compilation with every phase timed apart, and a guard that sees every compilation."""

import dataclasses
import itertools
import logging
import re
import time
from collections.abc import Callable
from typing import Any

import jax

COMPILED = "/jax/core/compile/backend_compile_duration"
CACHE_HIT = "/jax/compilation_cache/cache_hits"


@dataclasses.dataclass(frozen=True)
class CompileTimes:
    """Seconds from a Python function to an executable, by phase."""

    trace_s: float
    lower_s: float
    compile_s: float
    """With `from_cache`: the time to read the executable."""
    from_cache: bool
    """Whether the persistent cache held the executable (warm) or XLA compiled it (cold)."""


def compile_ahead(function: Callable, *args: Any, **jit_options: Any) -> tuple[jax.stages.Compiled, CompileTimes]:
    """Compile `function` for the shapes of `args` (arrays or `jax.ShapeDtypeStruct`s), without running it.

    The result accepts those shapes only: another shape is a TypeError, never a silent recompilation.
    """
    hits = []

    def listen(event: str, **_: Any) -> None:
        if event == CACHE_HIT:
            hits.append(event)

    clock = [time.perf_counter()]
    traced = jax.jit(function, **jit_options).trace(*args)
    clock.append(time.perf_counter())
    lowered = traced.lower()
    clock.append(time.perf_counter())
    jax.monitoring.register_event_listener(listen)
    try:
        compiled = lowered.compile()
    finally:
        jax.monitoring.unregister_event_listener(listen)
    clock.append(time.perf_counter())
    return compiled, CompileTimes(*(end - start for start, end in itertools.pairwise(clock)), from_cache=bool(hits))


class CompileGuard:
    """Sees every program that XLA compiles or reads from its cache while it is entered, whoever asks for it."""

    def __init__(self) -> None:
        self.programs: list[str] = []
        """What was compiled, in order: a program's name and, where JAX tells, the shapes it was compiled for."""
        self._shapes = _ShapeLog()

    def check(self, declared: int = 0, during: str = "the run") -> None:
        """Raise RuntimeError if more programs than `declared` were compiled, naming the last and its shapes."""
        if len(self.programs) > declared:
            extra = "; ".join(self.programs[declared:])
            raise RuntimeError(
                f"{len(self.programs)} program(s) compiled during {during}, {declared} expected: a shape, a dtype or "
                f"a function changed; compiled anew: {extra}"
            )

    def _listen(self, event: str, duration_secs: float, **info: Any) -> None:
        del duration_secs
        if event == COMPILED:
            name = str(info.get("fun_name", "a program"))
            self.programs.append(f"{name} for {self._shapes.last}" if self._shapes.last else name)

    def __enter__(self) -> "CompileGuard":
        self.programs = []
        jax.monitoring.register_event_duration_secs_listener(self._listen)
        self._shapes.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._shapes.stop()
        jax.monitoring.unregister_event_duration_listener(self._listen)


class _ShapeLog(logging.Handler):
    """The argument shapes of the program being compiled: JAX tells them to its log only."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.last = ""
        self._logger = logging.getLogger("jax._src.interpreters.pxla")

    def start(self) -> None:
        self._before = self._logger.level, self._logger.propagate
        self._logger.addHandler(self)
        self._logger.setLevel(logging.DEBUG)
        self._logger.propagate = False

    def stop(self) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._before[0])
        self._logger.propagate = self._before[1]

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message.startswith("Compiling"):
            self.last = ", ".join(re.findall(r"ShapedArray\(([^)]*)\)", message))
