"""Ahead-of-time compilation with every phase timed apart, and a guard that sees every compilation."""

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable
from typing import Any

import jax

from jaxcompare.compat import jax as compat


@dataclasses.dataclass(frozen=True)
class CompileTimes:
    """Seconds from a Python function to an executable, by phase."""

    trace_s: float
    lower_s: float
    compile_s: float
    """With `from_cache`: the time to read the executable."""
    from_cache: bool
    """Whether the persistent cache held the executable (warm) or XLA compiled it (cold)."""

    @property
    def total_s(self) -> float:
        return self.trace_s + self.lower_s + self.compile_s


def compile_ahead(function: Callable, *args: Any, **jit_options: Any) -> tuple[jax.stages.Compiled, CompileTimes]:
    """Compile `function` for the shapes of `args` (arrays or `jax.ShapeDtypeStruct`s), without running it.

    The result accepts those shapes only: another shape is a TypeError, never a silent recompilation.
    """
    clock = [time.perf_counter()]
    traced = jax.jit(function, **jit_options).trace(*args)
    clock.append(time.perf_counter())
    lowered = traced.lower()
    clock.append(time.perf_counter())
    with compat.watch_cache() as hits:
        compiled = lowered.compile()
    clock.append(time.perf_counter())
    return compiled, CompileTimes(*(end - start for start, end in itertools.pairwise(clock)), from_cache=bool(hits))


class CompileGuard:
    """Sees every program that XLA compiles or reads from its cache while it is entered, whoever asks for it."""

    def __init__(self) -> None:
        self.programs: list[str] = []
        """What was compiled, in order: a program's name and, where JAX says so, the shapes it was compiled for."""
        self._watch = contextlib.ExitStack()

    def check(self, declared: int = 0, during: str = "the run") -> None:
        """Raise RuntimeError if more programs than `declared` were compiled, naming the last and its shapes."""
        if len(self.programs) > declared:
            extra = "; ".join(self.programs[declared:])
            raise RuntimeError(
                f"{len(self.programs)} program(s) compiled during {during}, {declared} expected: a shape, a dtype or "
                f"a function changed; compiled anew: {extra}"
            )

    def __enter__(self) -> "CompileGuard":
        self.programs = []
        self._watch.enter_context(compat.watch_compilation(self.programs.append))
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.close()
