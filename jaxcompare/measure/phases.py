"""Where a training step's time goes, by phase."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

STEPS = 20
WARM_UP = 3


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
