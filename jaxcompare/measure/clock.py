"""Clocks that are read only when the work is done: of epochs, of a step's phases, of batches."""

import dataclasses
import functools
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from jaxcompare.cell_records import Timing
from jaxcompare.compat import jax as compat
from jaxcompare.measure.energy import gpu_joules
from jaxcompare.measure.environment import cpu_cores, page_faults
from jaxcompare.measure.others import watch_others

T = TypeVar("T")

STEPS = 5
"""Calls of which a median is taken."""

WARM_UP = 2
"""Calls before them."""

TURN_S = 0.5
"""Seconds of epochs that a turn has at the least: of a fast cell, more than one."""


@dataclasses.dataclass(frozen=True)
class Phases:
    """Median milliseconds of a step, each phase alone and the device waited for after it.

    What a program overlaps or fuses cannot be seen so: the sum may be more than a step takes.
    """

    input_ms: float
    """The next batch from the host's input pipeline."""
    copy_ms: float
    """From host to device."""
    forward_ms: float
    """Loss of a batch, dropout on."""
    backward_ms: float
    update_ms: float
    """The optimiser's."""
    step_ms: float
    """Forward, backward and update as they run in training, in one call."""
    dispatch_ms: float
    """Of the step's call, until it returns; the device may be at work still."""
    evaluation_ms: float
    """Correct predictions of a test batch, dropout off."""


def time_epoch(run: Callable[[], T], wait: Callable[[T], Any], settle: Callable[[], Any]) -> tuple[T, float]:
    """What `run` returns, and the seconds until `wait` says that it is done.

    Args:
        settle: waits for everything that the device was given before.

    Raises:
        RuntimeError: there was work left after `wait`: the time is not one of the whole epoch.
    """
    settle()
    start = time.perf_counter()
    result = run()
    wait(result)
    seconds = time.perf_counter() - start
    if left := count_unfinished():
        raise RuntimeError(
            f"the clock was read before the work was done: {left} result(s) under way after {1e3 * seconds:.1f} ms"
        )
    return result, seconds


def count_unfinished() -> int:
    """JAX's arrays that are not there yet, and PyTorch's stream if the GPU is at work on it. Does not wait for them.

    Asked, not timed: a process that is kept waiting by others has no work left for that.
    """
    left = 0
    # What was never imported has given a device nothing.
    if "jax" in sys.modules:
        import jax

        left += sum(not compat.is_ready(array) for array in jax.live_arrays())
    if "torch" in sys.modules:
        import torch

        left += torch.cuda.is_initialized() and not torch.cuda.current_stream().query()
    return left


def time_epochs(
    epochs: int,
    run: Callable[[int], tuple[T, float]],
    wait: Callable[[Any], Any],
    settle: Callable[[], Any],
    check: Callable[[int, T], Any],
    pause: Callable[[], Any],
) -> Timing:
    """Train and time epochs, by `time_epoch`. The first is warm-up; each other is a turn, which has more epochs until
    TURN_S seconds are timed, and counts as their mean.

    Args:
        run: trains the epoch of a number; its result, perhaps under way still, and the input wait in seconds.
        check: raises where an epoch's result, or what happened in it, is not as it should be. Off the clock.
        pause: before each turn; returns when it has come.
    """
    times: list[float] = []
    waits: list[float] = []
    faults: list[int] = []
    shares: list[float | None] = []
    joules: list[float] = []
    trained = 0

    def train() -> tuple[float, float]:
        nonlocal trained
        (result, waited), seconds = time_epoch(functools.partial(run, trained), wait, settle)
        check(trained, result)
        trained += 1
        return seconds, waited

    warm_up_s, _ = train()
    for _ in range(epochs - 1):
        pause()
        others, before, energy = watch_others(), page_faults(), gpu_joules()
        turn = [train()]
        while sum(seconds for seconds, _ in turn) < TURN_S:
            turn.append(train())
        if energy is not None and (after := gpu_joules()) is not None:
            joules.append((after - energy) / len(turn))
        faults.append((page_faults() - before) // len(turn))
        shares.append(others())
        times.append(statistics.mean(seconds for seconds, _ in turn))
        waits.append(statistics.mean(waited for _, waited in turn))
    known = [share for share in shares if share is not None]
    return Timing(
        warm_up_time_s=[warm_up_s],
        epoch_time_s=times,
        input_wait_s=waits,
        page_faults=faults,
        energy_j=joules,
        others_share=statistics.mean(known) if known else None,
    )


def ceiling_sizes(on_cpu: bool) -> tuple[int, int]:
    """Of what the machine's ceilings are measured with: the side of square matrices, at which cores reach their rate,
    and the values of a float32 array, far more than the caches hold."""
    if not on_cpu:
        return 8192, 2**28
    return (1024, 2**25) if cpu_cores() <= 8 else (2048, 2**26)


def time_calls(call: Callable[[], Any], wait: Callable[[Any], Any]) -> tuple[float, float]:
    """Median milliseconds of STEPS calls after WARM_UP more: until a call's result is there, and until it returns."""
    done, returned = [], []
    for _ in range(WARM_UP + STEPS):
        start = time.perf_counter()
        result = call()
        returned.append(time.perf_counter() - start)
        wait(result)
        done.append(time.perf_counter() - start)
    return median_ms(done[WARM_UP:]), median_ms(returned[WARM_UP:])


def time_batches(batches: Iterator[Any]) -> tuple[list[Any], float]:
    """WARM_UP + STEPS items of an iterator, fewer if it ends, and the median milliseconds that one took."""
    items, times = [], []
    while len(items) < WARM_UP + STEPS:
        start = time.perf_counter()
        item = next(batches, None)
        if item is None:
            break
        times.append(time.perf_counter() - start)
        items.append(item)
    return items, median_ms(times[WARM_UP:] or times)


def median_ms(seconds: Sequence[float]) -> float:
    """In milliseconds."""
    return 1e3 * statistics.median(seconds)
