"""Which numbers a record can hold: checked where records are read, so that no table shows what cannot be."""

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Range = tuple[str, Callable[[Any], bool]]
"""In words, and whether a number lies in it."""

ABOVE_0: Range = ("above 0", lambda value: 0 < value < math.inf)
FROM_0: Range = ("0 or more", lambda value: 0 <= value < math.inf)
FROM_0_OR_NONE: Range = ("0 or more, or null", lambda value: value is None or FROM_0[1](value))
FINITE: Range = ("finite", math.isfinite)
FROM_0_OR_NAN: Range = ("0 or more, or null", lambda value: FROM_0[1](value) or math.isnan(value))
FRACTION: Range = ("from 0 to 1", lambda value: 0 <= value <= 1)
POINTS: Range = ("from 0 to 100", lambda value: 0 <= value <= 100)
COUNT: Range = ("a whole number, 1 or more", lambda value: isinstance(value, int) and value >= 1)
CLASSES: Range = ("a whole number, 2 or more", lambda value: isinstance(value, int) and value >= 2)

RUN: Mapping[str, Range] = {
    "params": COUNT,
    "train_images": COUNT,
    "test_images": COUNT,
    "num_classes": CLASSES,
    "history.train_loss": FROM_0_OR_NAN,  # null: of the epoch in which a run diverged
    "history.train_accuracy": FRACTION,
    "history.test_accuracy": FRACTION,
    "history.epoch_time_s": ABOVE_0,
    "history.evaluation_time_s": FROM_0,
    "history.input_wait_s": FROM_0_OR_NAN,  # null: not measured
    "compile_times": FROM_0,
}
"""Of a `records.RunRecord`, by field."""

TIMED_CELL: Mapping[str, Range] = {
    "cell.batch_size": COUNT,
    "cell.seeds": COUNT,
    "epochs": COUNT,
    "repeat": FROM_0,
    "train_images": COUNT,
    "epoch_images": COUNT,
    "num_classes": CLASSES,
    "epoch_time_s": ABOVE_0,
    "warm_up_time_s": ABOVE_0,
    "first_step_time_s": ABOVE_0,
    "input_wait_s": FROM_0,
    "page_faults": FROM_0,
    "programs": FROM_0,
    "compile_times": FROM_0,
    "warm_compile_times": FROM_0,
    "ceiling_flops_per_s": ABOVE_0,
    "copy_bytes_per_s": ABOVE_0,
    "parity": FROM_0,
    "memory": FROM_0_OR_NONE,
}
"""Of a `cells.CellRecord` that was timed, by field."""

BESIDE_CELLS: Mapping[str, Mapping[str, Range]] = {
    "inputs": {"workers": FROM_0, "images": COUNT, "images_per_s": ABOVE_0},
    "phases": dict.fromkeys(("input_ms", "copy_ms", "forward_ms", "step_ms", "dispatch_ms", "evaluation_ms"), FROM_0)
    | dict.fromkeys(("backward_ms", "update_ms"), FINITE),  # of JAX, differences
    "costs": {"image_size": COUNT, "num_classes": CLASSES, "batch_size": COUNT}
    | {
        f"{by}_{name}": ABOVE_0
        for by in ("formula", "xla")
        for name in ("forward_flops", "training_flops", "training_bytes")
    },
}
"""Of the lines of a speed study's other files, by file and field."""


def check_run(record: Any) -> None:
    """Raise ValueError unless a `records.RunRecord` can be: its numbers, and how many epochs and images it has."""
    check_ranges(record, RUN)
    losses, epochs, size = record.history.train_loss, record.config.training.epochs, record.config.data.train_size
    if len(losses) > epochs or (record.status == "complete" and len(losses) < epochs):
        raise ValueError(f"history has {len(losses)} epochs of {epochs}, status is {record.status!r}")
    if any(map(math.isnan, losses[:-1] if record.status == "diverged" else losses)):
        raise ValueError(f"history.train_loss holds null, status is {record.status!r}")
    if size is not None and record.train_images != size:
        raise ValueError(f"train_images is {record.train_images}, config.data.train_size {size}")


def check_ranges(record: Any, ranges: Mapping[str, Range]) -> None:
    """Raise ValueError for the first number of a record, a dataclass or a dict, that lies outside its field's range."""
    for name, (words, holds) in ranges.items():
        found = record[name] if isinstance(record, dict) else functools.reduce(getattr, name.split("."), record)
        for value in _numbers(found):
            number = isinstance(value, int | float) or (value is None and holds is FROM_0_OR_NONE[1])
            if not number or not holds(value):
                raise ValueError(f"{name} holds {value!r}, which is not {words}")


def _numbers(value: Any) -> Iterator[Any]:
    """A number, or all those in nested lists and dicts."""
    if isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _numbers(one)
    else:
        yield value
