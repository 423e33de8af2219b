"""Which way to run a step is the fastest here: a search for each model and framework, by successive halving.

Every candidate trains few steps in a fresh process; the better half goes on with twice as many, until two are left
(Jamieson and Talwalkar 2016). What compiles finds its programs in the cache of the round before. The finalists become
cells of the study, whose repeats decide between them, and pass the gate as any other.
"""

import dataclasses
import functools
import math
import statistics
import tempfile
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

from jaxcompare.cell_records import Timing
from jaxcompare.cells import Cell, CellEngine
from jaxcompare.config import ModelName
from jaxcompare.options import Option
from jaxcompare.side import Setup
from jaxcompare.study import worker
from jaxcompare.study.measured import Measured, as_json, check_one_commit, search_facts
from jaxcompare.study.process import CellFailed, in_fresh_process

Options = tuple[Option, ...]
FINALISTS = 2

DISTURBED = 0.05
"""Of the cores, taken by other work: a candidate is timed again, in up to ATTEMPTS processes."""
ATTEMPTS = 3

Time = Callable[[Cell, int], float | None]
"""Of a candidate in a round, from 0 on: seconds an image, None where it failed."""

OF_MODEL: dict[ModelName, tuple[Options, ...]] = {"cnn": ((), ("channels-last",)), "vit": ((), ("sdpa",))}
"""PyTorch's, with every engine."""

ON_CORES: tuple[Options, ...] = (("replicas",), ("replicas", "slices-32"), ("replicas", "slices-16"))
"""PyTorch's on CPUs, run as this package runs JAX there."""

EAGER_OF_MODEL: dict[ModelName, tuple[Options, ...]] = {"cnn": (), "vit": (("dropout-bits",),)}
"""PyTorch's with eager alone: torch.compile does not take them."""

EAGER: tuple[Options, ...] = ((), ("for-loop",), ("foreach",), ("fused",))
COMPILED: tuple[Options, ...] = (
    ("fused",),
    ("compiled-optimiser",),
    ("fused", "max-autotune-no-cudagraphs"),
    ("fused", "reduce-overhead"),
    ("fused", "max-autotune"),
)

JAX_ENGINES: tuple[CellEngine, ...] = ("step", "chunk")
"""As this package trains; with options, whole epochs."""

MICRO_BATCHES: dict[ModelName, tuple[Options, ...]] = {
    "cnn": ((), ("slices-4",), ("slices-16",)),
    "vit": ((), ("slices-2",), ("slices-8",)),
}
"""On CPUs; elsewhere a batch is whole."""

WAYS: dict[ModelName, tuple[Options, ...]] = {"cnn": ((), ("im2col",)), "vit": ((), ("threefry",))}


def list_candidates(like: Cell, *, gpu: bool) -> list[list[Cell]]:
    """PyTorch's and JAX's, with resident input, as far as the machine can run them. Of what PyTorch chooses by itself,
    a loop on CPUs and foreach on GPUs, it is one.

    Args:
        like: gives model, precision and batch size.
    """
    place = functools.partial(dataclasses.replace, like, input="resident")
    chosen = "foreach" if gpu else "for-loop"
    updates = [update for update in EAGER if chosen not in update]
    model = like.model
    of_eager = OF_MODEL[model] + EAGER_OF_MODEL[model]
    theirs = [place(engine="eager", options=a + b) for a, b in product(of_eager, updates)]
    if not gpu:
        theirs += [place(engine="eager", options=(*a, "fused", *b)) for a, b in product(of_eager, ON_CORES)]
    theirs += [place(engine="compile", options=a + b) for a, b in product(OF_MODEL[model], COMPILED)]
    ours = [place(engine=engine) for engine in JAX_ENGINES]
    slices = ((),) if gpu else MICRO_BATCHES[model]
    ours += [place(engine="epoch", options=a + b) for a, b in product(WAYS[model], slices)]
    return [[cell for cell in cells if not cell.refusal(gpu)] for cells in (theirs, ours)]


def tune(likes: Sequence[Cell], setup: Setup, measured: Measured, log: Callable[[str], None]) -> list[Cell]:
    """The finalists of each search, of which there may be none. What was timed before is not timed again.

    Raises:
        InputError: another commit began the measurement.
    """
    found = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as caches:
        for cells in (cells for like in likes for cells in list_candidates(like, gpu=setup.gpu) if cells):
            log(f"search: {len(cells)} candidates of {cells[0].framework}'s {cells[0].model}")
            finalists = halve(cells, functools.partial(_time, setup, measured, log, Path(caches)))
            log(f"search: the fastest are {'; '.join(cell.execution for cell in finalists)}")
            found += finalists
    return found


def halve(cells: Sequence[Cell], time: Time) -> list[Cell]:
    """The FINALISTS that are left of some, the fastest first; fewer, if fewer could be timed."""
    left, number = list(cells), 0
    while len(left) > FINALISTS or not number:
        times = {cell: seconds for cell in left if (seconds := time(cell, number)) is not None}
        better = max(FINALISTS, math.ceil(len(times) / 2))
        left, number = sorted(times, key=times.__getitem__)[:better], number + 1
    return left


def _time(
    setup: Setup, measured: Measured, log: Callable[[str], None], caches: Path, cell: Cell, number: int
) -> float | None:
    """A candidate's seconds an image over 2 ** `number` epochs, the round's, or more; measured now or before."""
    place = {"cell": as_json(cell), "round": number}
    if not measured.has("search", place):
        check_one_commit(measured, [cell])
        training = dataclasses.replace(setup.training, epochs=1 + 2**number)
        of_round = dataclasses.replace(setup, training=training)
        cache = caches / "-".join((cell.model, cell.precision, cell.engine, *cell.options))
        seconds, share, message = None, None, ""
        try:
            timing = _undisturbed(functools.partial(in_fresh_process, worker.time_epochs, cell, of_round, cache, False))
            seconds, share = statistics.median(timing.epoch_time_s) / len(setup.dataset.train), timing.others_share
            log(f"  {cell.execution}: {1e6 * seconds:,.0f} µs per image")
        except CellFailed as error:
            message = str(error)
            log(f"  {cell.execution}: {message}")
        found = {"image_time_s": seconds, "others_share": share, "message": message}
        measured.add("search", place | search_facts(setup), found)
    return next(line["image_time_s"] for line in measured.others["search"] if place.items() <= line.items())


def _undisturbed(time: Callable[[], Timing]) -> Timing:
    """The first timing with little other work beside it; of ATTEMPTS, the one with the least."""
    timings: list[Timing] = []
    while len(timings) < ATTEMPTS and not any((one.others_share or 0.0) <= DISTURBED for one in timings):
        timings.append(time())
    return min(timings, key=lambda one: one.others_share or 0.0)
