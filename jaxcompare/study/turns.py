"""Cells that are timed in turn: their processes are started one after another, and each trains to the end of its
warm-up; then one after another trains a turn's epochs, until none is left.

What slows a machine for a while slows every cell alike: ratios hold where times do not. Processes of a GPU, which is
nobody else's, and those with the recipe's loader, whose workers would go on meanwhile, run from end to end.
"""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxcompare.cell_records import Timing
from jaxcompare.cells import Cell
from jaxcompare.measure.environment import available_host_bytes
from jaxcompare.measure.malloc import single_arena
from jaxcompare.side import Setup
from jaxcompare.study import worker
from jaxcompare.study.process import CellFailed, FreshProcess, fresh_process

SPARE = 1 / 3
"""Of the memory that there was, what a process is to find that is started beside others. Where it does not, those have
their turns before."""


def time_in_turns(
    cells: Sequence[Cell],
    setup: Setup,
    cache_of: Callable[[Cell], Path],
    begin: Callable[[Cell], None],
    *,
    cold: bool = True,
) -> dict[Cell, Timing | CellFailed]:
    """Time each cell in a process of its own.

    Args:
        cache_of: a cell's folder of compiled programs.
        begin: called before a cell's process is started.
        cold: that folder is empty, which is checked.
    """
    found: dict[Cell, Timing | CellFailed] = {}

    def work(cell: Cell, process: FreshProcess) -> bool:
        """Whether there is more to do."""
        try:
            if not process.work():
                return True
            found[cell] = process.result
        except CellFailed as error:
            found[cell] = error
        return False

    waiting = list(cells)
    while waiting:
        with contextlib.ExitStack() as stack:
            alive: dict[Cell, FreshProcess] = {}
            before = available_host_bytes()
            while waiting and (not alive or _is_spare(before)):
                cell = waiting.pop(0)
                begin(cell)
                with arena_of(cell, setup):
                    pausing = not setup.gpu and cell.input != "recipe"
                    call = fresh_process(worker.time_epochs, cell, setup, cache_of(cell), cold, pausing=pausing)
                    process = stack.enter_context(call)
                if work(cell, process):
                    alive[cell] = process
                elif not alive:
                    break  # its memory is given back before the next begins
            while alive:
                alive = {cell: process for cell, process in alive.items() if work(cell, process)}
    return found


def arena_of(cell: Cell, setup: Setup) -> contextlib.AbstractContextManager[None]:
    """In which a cell's process is started, with the allocator that it needs: on a GPU any."""
    return single_arena() if cell.engine == "jit" and not setup.gpu else contextlib.nullcontext()


def _is_spare(before: int | None) -> bool:
    now = available_host_bytes()
    return now is None or before is None or now > SPARE * before
