"""Which way to run a step is the fastest here: a search for each model and framework, by successive halving.

Every candidate trains few steps in a fresh process, all in turn; the better half goes on with twice as many, until two
are left (Jamieson and Talwalkar 2016). What compiles finds its programs in the cache of the round before. The finalists
become cells of the study, whose repeats decide between them, and pass the gate as any other.
"""

import dataclasses
import functools
import math
import tempfile
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

from jaxcompare.cell_records import Timing
from jaxcompare.cells import Cell, CellEngine
from jaxcompare.config import ModelName
from jaxcompare.options import Option
from jaxcompare.side import Setup
from jaxcompare.study.measured import Measured, as_json, check_one_commit, search_facts
from jaxcompare.study.turns import time_in_turns

Options = tuple[Option, ...]
FINALISTS = 2

Time = Callable[[Sequence[Cell], int], dict[Cell, float]]
"""Of candidates in a round, from 0 on: seconds an image, of those that did not fail."""

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
        times = time(left, number)
        better = max(FINALISTS, math.ceil(len(times) / 2))
        left, number = sorted(times, key=times.__getitem__)[:better], number + 1
    return left


def _time(
    setup: Setup, measured: Measured, log: Callable[[str], None], caches: Path, cells: Sequence[Cell], number: int
) -> dict[Cell, float]:
    """Seconds an image in the quickest of 2 ** `number` turns, the round's; measured now or before."""
    missing = [cell for cell in cells if not measured.has("search", {"cell": as_json(cell), "round": number})]
    check_one_commit(measured, missing)
    of_round = dataclasses.replace(setup, training=dataclasses.replace(setup.training, epochs=1 + 2**number))

    def cache_of(cell: Cell) -> Path:
        return caches / "-".join((cell.model, cell.precision, cell.engine, *cell.options))

    # On a GPU, where none waits for its turn, what is timed is on disk before the next begins.
    for group in [[cell] for cell in missing] if setup.gpu else [missing]:
        outcomes = time_in_turns(group, of_round, cache_of, lambda cell: log(f"  {cell.execution}"), cold=False)
        for cell, outcome in outcomes.items():
            values = {"image_time_s": None, "others_share": None, "message": str(outcome)}
            if isinstance(outcome, Timing):
                seconds = outcome.quickest_epoch_s / len(setup.dataset.train)
                values = {"image_time_s": seconds, "others_share": outcome.others_share, "message": ""}
                log(f"  {cell.execution}: {1e6 * seconds:,.0f} µs per image")
            else:
                log(f"  {cell.execution}: {outcome}")
            measured.add("search", {"cell": as_json(cell), "round": number} | search_facts(setup), values)
    by_cell = {cell: as_json(cell) for cell in cells}
    lines = [line for line in measured.others["search"] if line["round"] == number and line["image_time_s"] is not None]
    return {cell: line["image_time_s"] for line in lines for cell in cells if line["cell"] == by_cell[cell]}
